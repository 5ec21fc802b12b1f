//! A quote by itself: signature, binding, selection, PCR digest. Later kinds of evidence that carry a TPM quote
//! (Azure, SVSM) use the same functions.

use std::collections::BTreeMap;

use super::VtpmError;
use crate::{
    tpm::{
        attest::{AttestError, Quote, Selection},
        hash::{self, Hash},
        public::Key,
        signature::Signature,
    },
    verify::signature,
};

/// A quote whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub quote: Quote,
    /// Digest of the signature scheme, which is the digest of the PCR values too.
    pub hash: Hash,
}

/// Parses `message` (`TPMS_ATTEST`) as a quote and checks its signature.
pub fn check(key: &Key, message: &[u8], signature: &Signature) -> Result<Signed, VtpmError> {
    let quote = Quote::parse(message).map_err(|error| match error {
        AttestError::Magic { found } => VtpmError::Magic { found },
        AttestError::NotAQuote { found } => VtpmError::NotAQuote { found },
        AttestError::Malformed(error) => VtpmError::MalformedQuote(error),
    })?;
    let hash = signature::check(key, message, signature).map_err(VtpmError::Signature)?;
    Ok(Signed { quote, hash })
}

/// Checks that the quote carries exactly `wanted` as qualifying data.
pub fn check_binding(signed: &Signed, wanted: &[u8]) -> Result<(), VtpmError> {
    if signed.quote.extra_data == wanted {
        return Ok(());
    }
    Err(VtpmError::BinderMismatch {
        found: hex::encode(&signed.quote.extra_data),
        wanted: hex::encode(wanted),
    })
}

/// Checks that the quote covers exactly `pcrs` (ascending) of `bank`, and no other bank.
pub fn check_selection(signed: &Signed, bank: Hash, pcrs: &[u8]) -> Result<(), VtpmError> {
    match signed.quote.selections.as_slice() {
        [one] if one.bank == bank.id() && one.pcrs == pcrs && bank.is_strong() => Ok(()),
        other => Err(VtpmError::Selection {
            found: selections(other),
            wanted: format!("{} {pcrs:?}", bank.name()),
        }),
    }
}

/// Checks that `values` are the quoted ones: the selected PCRs and no others, with the quoted digest.
pub fn check_pcrs(
    signed: &Signed,
    bank: Hash,
    values: &BTreeMap<u8, Vec<u8>>,
) -> Result<(), VtpmError> {
    let selected = signed
        .quote
        .selections
        .iter()
        .filter(|one| one.bank == bank.id());
    let selected: Vec<u8> = selected.flat_map(|one| one.pcrs.iter().copied()).collect();
    let refuse = |index: &u8, problem| VtpmError::MalformedPcr {
        bank: bank.name(),
        index: u32::from(*index),
        problem,
    };
    let mut parts = Vec::with_capacity(selected.len());
    for index in &selected {
        let value = values.get(index);
        parts.push(
            value
                .ok_or_else(|| refuse(index, "it is quoted but its value is absent"))?
                .as_slice(),
        );
    }
    if let Some(index) = values.keys().find(|index| !selected.contains(index)) {
        return Err(refuse(index, "its value is given but not quoted"));
    }
    let found = signed.hash.digest(&parts);
    if found == signed.quote.pcr_digest {
        return Ok(());
    }
    Err(VtpmError::PcrDigestMismatch {
        bank: bank.name(),
        found: hex::encode(found),
        quoted: hex::encode(&signed.quote.pcr_digest),
    })
}

/// The bank of a quote that covers one bank, which must be one that can carry a verdict.
pub fn single_bank(signed: &Signed) -> Result<Hash, VtpmError> {
    let bank = match signed.quote.selections.as_slice() {
        [one] => Hash::from_id(one.bank).filter(|bank| bank.is_strong()),
        _ => None,
    };
    bank.ok_or_else(|| VtpmError::Selection {
        found: selections(&signed.quote.selections),
        wanted: "one bank of SHA-256 or wider".to_owned(),
    })
}

fn selections(selections: &[Selection]) -> String {
    let texts = selections
        .iter()
        .map(|one| format!("{} {:?}", bank_name(one.bank), one.pcrs));
    texts.collect::<Vec<_>>().join(", ")
}

/// Name of a bank, or its number.
pub fn bank_name(id: u16) -> String {
    hash::name_of(id)
}
