//! Judges a TPM's evidence: attestation key, quote, PCR values, event log, endorsement.
//!
//! The checks run from what costs the forger most to what needs most parsing; every refusal is a variant of
//! [`VtpmError`]. Trust class is always `hypervisor`: nothing here tells a vTPM the hypervisor runs from hardware.

mod endorsement;
mod log;
pub mod quote;

use std::collections::BTreeMap;

use rustls_pki_types::UnixTime;

use super::{Collateral, Roots, signature::SignatureError};
use crate::{
    claims::{Claims, TpmState, TrustClass},
    eventlog::{LogError, ReplayError},
    evidence::{Binder, KIND_VTPM, VtpmEvidence},
    reader::ReadError,
    tpm::{PCR_COUNT, hash::Hash, name, public::Public, signature::Signature},
};

/// Why a TPM's evidence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VtpmError {
    /// The attestation key is malformed.
    #[error("attestation key is malformed: {0}")]
    MalformedAttestationKey(ReadError),
    /// The key could sign things that are no quotes, or could leave its TPM.
    #[error(
        "attestation key has attributes {found:#010x}; restricted, sign, fixedTPM, fixedParent, \
         sensitiveDataOrigin and not decrypt are needed"
    )]
    AttestationKeyAttributes {
        /// `TPMA_OBJECT` found.
        found: u32,
    },
    /// The endorsement key is malformed.
    #[error("endorsement key is malformed: {0}")]
    MalformedEndorsementKey(ReadError),
    /// The quote is malformed.
    #[error("quote is malformed: {0}")]
    MalformedQuote(ReadError),
    /// The quote was not made by a TPM.
    #[error("quote has magic {found:#010x}, only TPM_GENERATED 0xff544347 comes from a TPM")]
    Magic {
        /// Magic found.
        found: u32,
    },
    /// The attestation is of another type.
    #[error("attestation has type {found:#06x}, a quote is 0x8018")]
    NotAQuote {
        /// Type found.
        found: u16,
    },
    /// The signature structure is malformed.
    #[error("quote signature is malformed: {0}")]
    MalformedSignature(ReadError),
    /// The signature uses another scheme than the key is bound to.
    #[error(
        "quote is signed with scheme {found:#06x} and digest {found_hash:#06x}, the key is bound to \
         {bound:#06x} and {bound_hash:#06x}"
    )]
    SchemeMismatch {
        /// Scheme of the signature.
        found: u16,
        /// Digest of the signature.
        found_hash: u16,
        /// Scheme of the key.
        bound: u16,
        /// Digest of the key's scheme.
        bound_hash: u16,
    },
    /// The signature is not the key's, or too weak.
    #[error("quote signature refused: {0}")]
    Signature(SignatureError),
    /// The quote was made for another exchange.
    #[error("quote carries the qualifying data {found}, this exchange needs {wanted}")]
    BinderMismatch {
        /// Hex of what was quoted.
        found: String,
        /// Hex of SHA-256 of the binder.
        wanted: String,
    },
    /// The quote names another place of the key than under the evidence's endorsement key.
    #[error(
        "quote was signed by {found}, an attestation key under this endorsement key is {wanted}"
    )]
    QualifiedSigner {
        /// Hex of the quote's Qualified Name.
        found: String,
        /// Hex of the Qualified Name computed from both keys.
        wanted: String,
    },
    /// Another bank or other PCRs are quoted.
    #[error("quote covers {found}, needed is {wanted}")]
    Selection {
        /// Banks and PCRs of the quote.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// The PCR values of the quoted bank are absent.
    #[error("evidence has no {bank} PCR values")]
    BankMissing {
        /// Bank needed.
        bank: &'static str,
    },
    /// PCR values are twice there, out of range, of a wrong length, or some are missing.
    #[error("{bank} PCR {index}: {problem}")]
    MalformedPcr {
        /// Bank.
        bank: &'static str,
        /// PCR.
        index: u32,
        /// What is wrong.
        problem: &'static str,
    },
    /// The PCR values are not the quoted ones.
    #[error("the {bank} PCR values have digest {found}, the quote vouches for {quoted}")]
    PcrDigestMismatch {
        /// Bank.
        bank: &'static str,
        /// Hex digest of the values.
        found: String,
        /// Hex digest of the quote.
        quoted: String,
    },
    /// The event log is malformed.
    #[error(transparent)]
    MalformedEventLog(LogError),
    /// The event log cannot be replayed.
    #[error("event log cannot be replayed: {0}")]
    Replay(ReplayError),
    /// The event log does not explain a PCR.
    #[error("event log gives PCR {pcr} the value {replayed}, the quote vouches for {quoted}")]
    LogMismatch {
        /// PCR.
        pcr: u8,
        /// Hex value of the replay.
        replayed: String,
        /// Hex value that was quoted.
        quoted: String,
    },
}

/// The bank that is quoted and judged.
pub const BANK: Hash = Hash::Sha256;

/// Verifies `evidence`; the order of the checks is part of the contract (tests assert which refusal comes first).
pub(super) fn verify(
    evidence: &VtpmEvidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Claims, VtpmError> {
    let key = attestation_key(&evidence.ak_public)?;
    let ek = Public::parse(&evidence.ek_public).map_err(VtpmError::MalformedEndorsementKey)?;
    let signature = Signature::parse(&evidence.signature).map_err(VtpmError::MalformedSignature)?;
    check_scheme(&key, &signature)?;
    let quote = quote::check(&key.key, &evidence.quote, &signature)?;
    quote::check_binding(&quote, &binder.qualifying_data())?;
    check_signer(&quote.quote.qualified_signer, &key, &ek)?;
    let all: Vec<u8> = (0..PCR_COUNT).collect();
    quote::check_selection(&quote, BANK, &all)?;
    let pcrs = bank_values(evidence, BANK)?;
    quote::check_pcrs(&quote, BANK, &pcrs)?;
    let events = log::check(&evidence.event_log, BANK, &pcrs)?;
    let (endorsement, endorsement_problem) =
        match endorsement::judge(evidence, &ek, roots, collateral, now) {
            Ok(endorsement) => (Some(endorsement), None),
            Err(problem) => (None, Some(problem.to_string())),
        };
    Ok(Claims {
        kind: KIND_VTPM.to_owned(),
        trust_class: TrustClass::Hypervisor,
        attestation_key_name: hex::encode(key.name()),
        endorsement,
        endorsement_problem,
        pcrs,
        events,
        tpm: TpmState {
            clock: quote.quote.clock,
            reset_count: quote.quote.reset_count,
            restart_count: quote.quote.restart_count,
            safe: quote.quote.safe,
            firmware_version: quote.quote.firmware_version,
        },
    })
}

/// Parses an attestation key (`TPMT_PUBLIC`) and checks its attributes.
pub fn attestation_key(public: &[u8]) -> Result<Public, VtpmError> {
    let key = Public::parse(public).map_err(VtpmError::MalformedAttestationKey)?;
    if !key.attributes.is_attestation_key() {
        return Err(VtpmError::AttestationKeyAttributes {
            found: key.attributes.0,
        });
    }
    Ok(key)
}

fn check_scheme(key: &Public, signature: &Signature) -> Result<(), VtpmError> {
    match key.scheme {
        Some(bound) if (bound.scheme, bound.hash) != (signature.value.scheme(), signature.hash) => {
            Err(VtpmError::SchemeMismatch {
                found: signature.value.scheme(),
                found_hash: signature.hash,
                bound: bound.scheme,
                bound_hash: bound.hash,
            })
        }
        _ => Ok(()),
    }
}

/// The signer must be the attestation key as a child of the endorsement key, itself a primary key.
fn check_signer(signer: &[u8], key: &Public, ek: &Public) -> Result<(), VtpmError> {
    let parent = name::qualified_under_endorsement(ek.name_alg, &ek.name());
    let wanted = name::qualified(key.name_alg, &parent, &key.name());
    if signer == wanted {
        return Ok(());
    }
    Err(VtpmError::QualifiedSigner {
        found: hex::encode(signer),
        wanted: hex::encode(wanted),
    })
}

fn bank_values(evidence: &VtpmEvidence, bank: Hash) -> Result<BTreeMap<u8, Vec<u8>>, VtpmError> {
    let mut banks = evidence
        .pcrs
        .iter()
        .filter(|found| found.alg == u32::from(bank.id()));
    let values = banks
        .next()
        .ok_or(VtpmError::BankMissing { bank: bank.name() })?;
    let refuse = |index, problem| VtpmError::MalformedPcr {
        bank: bank.name(),
        index,
        problem,
    };
    if banks.next().is_some() {
        return Err(refuse(0, "the bank is given twice"));
    }
    let mut out = BTreeMap::new();
    for value in &values.values {
        let index = u8::try_from(value.index)
            .ok()
            .filter(|index| *index < PCR_COUNT);
        let index = index.ok_or_else(|| refuse(value.index, "the index is above 23"))?;
        if value.digest.len() != bank.size() {
            return Err(refuse(
                value.index,
                "the value has not the bank's digest length",
            ));
        }
        if out.insert(index, value.digest.clone()).is_some() {
            return Err(refuse(value.index, "the value is given twice"));
        }
    }
    Ok(out)
}
