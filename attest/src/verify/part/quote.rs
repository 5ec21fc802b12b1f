//! Quotes judged alone. SHA-1 is taken here, since recordings have it; what may pass is policy's to say.

use std::collections::BTreeMap;

use rustls_pki_types::UnixTime;

use super::{
    claims::{QuoteClaims, QuotesClaims},
    error::PartError,
    key::AttestationKey,
};
use crate::{
    eventlog::{EventLog, Limits, LogError, replay},
    evidence::Binder,
    part::{PcrValues, QuotePart, QuoteSignature, SignedQuote},
    tpm::{
        attest::{AttestError, Quote},
        hash::Hash,
        signature::{Signature, Value},
    },
    verify::{
        Collateral, Roots,
        ak::{self, AkVerdict},
        signature,
        vtpm::quote::bank_name,
    },
};

/// A quote that was parsed, and the digest of its signature.
struct Checked {
    quote: Quote,
    hash: Hash,
}

pub(super) fn verify(
    part: &QuotePart,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<QuotesClaims, PartError> {
    let key = AttestationKey::of(part)?;
    if part.quotes.is_empty() {
        return Err(PartError::NoQuote);
    }
    let mut checked = Vec::with_capacity(part.quotes.len());
    for (number, signed) in part.quotes.iter().enumerate() {
        checked.push(check(number, signed, &key)?);
    }
    key.check_attributes()?;
    let (certificate, chain) = (&part.ak_certificate, &part.ak_chain);
    let certificate = ak::judge(certificate, chain, &key.key, roots, collateral, now);
    let certificate = certificate.map_err(PartError::AkCertificate)?;
    for (number, one) in checked.iter().enumerate() {
        check_pcrs(number, &one.quote, &part.pcrs)?;
    }
    if let Some(wanted) = binder.qualifying_data() {
        for (number, one) in checked.iter().enumerate() {
            check_nonce(number, &one.quote, &wanted)?;
        }
    }
    let quotes: Vec<&Quote> = checked.iter().map(|one| &one.quote).collect();
    let log = replayed(part).map_err(PartError::QuotedLog)?;
    if let Some(log) = &log {
        check_log(log, &quotes, &part.pcrs)?;
    }
    let claims = checked
        .iter()
        .map(|one| QuoteClaims::new(&one.quote, Some(one.hash.name().to_owned())));
    Ok(assemble(
        claims.collect(),
        &key,
        certificate,
        log.map(|_| true),
    ))
}

/// What quotes say, and whether the log fits the values, without looking at a signature.
pub(super) fn read(part: &QuotePart) -> Result<QuotesClaims, PartError> {
    let key = AttestationKey::of(part)?;
    let mut quotes = Vec::with_capacity(part.quotes.len());
    for (number, signed) in part.quotes.iter().enumerate() {
        quotes.push(
            Quote::parse(&signed.message).map_err(|source| PartError::Quote { number, source })?,
        );
    }
    let borrowed: Vec<&Quote> = quotes.iter().collect();
    let log = replayed(part).map_err(PartError::QuotedLog)?;
    let matches = log.map(|log| check_log(&log, &borrowed, &part.pcrs).is_ok());
    let claims = quotes.iter().zip(&part.quotes).map(|(quote, signed)| {
        let signature = signature_of(signed, quote).ok();
        let hash = signature.and_then(|signature| Hash::from_id(signature.hash));
        QuoteClaims::new(quote, hash.map(|hash| hash.name().to_owned()))
    });
    Ok(assemble(
        claims.collect(),
        &key,
        AkVerdict::default(),
        matches,
    ))
}

fn assemble(
    quotes: Vec<QuoteClaims>,
    key: &AttestationKey,
    certificate: AkVerdict,
    log_matches_pcrs: Option<bool>,
) -> QuotesClaims {
    QuotesClaims {
        quotes,
        ak: key.claims(),
        ak_spki_sha256: Some(hex::encode(key.key.spki_sha256())),
        ak_certificate: certificate.certificate,
        ak_certificate_problem: certificate.problem,
        log_matches_pcrs,
    }
}

/// Parses one quote and checks its signature. An attestation of another type is refused only after its signature
/// held, so that the refusal tells a misused key from a forgery.
fn check(number: usize, signed: &SignedQuote, key: &AttestationKey) -> Result<Checked, PartError> {
    let refuse = |source| PartError::Quote { number, source };
    let parsed = Quote::parse(&signed.message);
    if let Err(error @ (AttestError::Magic { .. } | AttestError::Malformed(_))) = parsed {
        return Err(refuse(error));
    }
    let signature = match &parsed {
        Ok(quote) => signature_of(signed, quote),
        Err(_) => structured(signed),
    };
    let signature = signature.map_err(|source| PartError::MalformedSignature { number, source })?;
    key.check_scheme(number, &signature)?;
    let hash = signature::check_down_to(Hash::Sha1, &key.key, &signed.message, &signature)
        .map_err(|source| PartError::Signature { number, source })?;
    let quote = parsed.map_err(refuse)?;
    Ok(Checked { quote, hash })
}

fn structured(signed: &SignedQuote) -> Result<Signature, crate::reader::ReadError> {
    match &signed.signature {
        QuoteSignature::Tpmt(bytes) => Signature::parse(bytes),
        QuoteSignature::Bare(value) => Ok(bare(value, Hash::Sha256)),
    }
}

fn signature_of(
    signed: &SignedQuote,
    quote: &Quote,
) -> Result<Signature, crate::reader::ReadError> {
    match &signed.signature {
        QuoteSignature::Tpmt(bytes) => Signature::parse(bytes),
        QuoteSignature::Bare(value) => {
            let all = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
            let fits = |hash: &Hash| hash.size() == quote.pcr_digest.len();
            Ok(bare(
                value,
                all.into_iter().find(fits).unwrap_or(Hash::Sha256),
            ))
        }
    }
}

/// A bare value: too long for a curve, it is RSA's.
fn bare(value: &[u8], hash: Hash) -> Signature {
    let value = match value.len() {
        64 | 96 | 132 => {
            let (r, s) = value.split_at(value.len() / 2);
            Value::Ecdsa {
                r: r.to_vec(),
                s: s.to_vec(),
            }
        }
        _ => Value::RsaSsa(value.to_vec()),
    };
    Signature {
        hash: hash.id(),
        value,
    }
}

/// Checks the PCR digest, over the values of all selections in order.
fn check_pcrs(number: usize, quote: &Quote, pcrs: &PcrValues) -> Result<(), PartError> {
    if pcrs.is_empty() {
        return Ok(());
    }
    let mut values: Vec<&[u8]> = Vec::new();
    for selection in &quote.selections {
        let bank = Hash::from_id(selection.bank).and_then(|bank| pcrs.get(&bank));
        for pcr in &selection.pcrs {
            let value = bank.and_then(|bank| bank.get(pcr));
            values.push(value.ok_or_else(|| PartError::PcrMissing {
                bank: bank_name(selection.bank),
                pcr: *pcr,
            })?);
        }
    }
    let found = digest_like(&quote.pcr_digest, &values);
    if found == quote.pcr_digest {
        return Ok(());
    }
    Err(PartError::PcrDigest {
        number,
        found: hex::encode(found),
        quoted: hex::encode(&quote.pcr_digest),
    })
}

/// Digest of `parts` by the algorithm that makes digests as long as `like`; empty if there is none.
pub(super) fn digest_like(like: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let all = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
    let hash = all.into_iter().find(|hash| hash.size() == like.len());
    hash.map(|hash| hash.digest(parts)).unwrap_or_default()
}

fn check_nonce(number: usize, quote: &Quote, wanted: &[u8]) -> Result<(), PartError> {
    if quote.extra_data == wanted {
        return Ok(());
    }
    Err(PartError::Nonce {
        number,
        found: hex::encode(&quote.extra_data),
        wanted: hex::encode(wanted),
    })
}

/// What the log gives each bank it can be replayed in; `None` without a log.
fn replayed(part: &QuotePart) -> Result<Option<PcrValues>, LogError> {
    if part.event_log.is_empty() {
        return Ok(None);
    }
    let log = EventLog::parse(&part.event_log, Limits::default())?;
    let banks = log.hashes();
    let values = banks.filter_map(|bank| Some((bank, replay::replay(&log, bank).ok()?)));
    Ok(Some(values.collect()))
}

/// Compares the log with the values of quoted PCRs, in every quoted bank that it has digests for.
fn check_log(log: &PcrValues, quotes: &[&Quote], pcrs: &PcrValues) -> Result<(), PartError> {
    let mut compared = false;
    for selection in quotes.iter().flat_map(|quote| &quote.selections) {
        let Some(bank) = Hash::from_id(selection.bank) else {
            continue;
        };
        let (Some(replayed), Some(values)) = (log.get(&bank), pcrs.get(&bank)) else {
            continue;
        };
        compared = true;
        let quoted: BTreeMap<u8, Vec<u8>> = values
            .iter()
            .filter(|(pcr, _)| selection.pcrs.contains(pcr))
            .map(|(pcr, value)| (*pcr, value.clone()))
            .collect();
        let pcrs = replay::mismatches(replayed, &quoted);
        if !pcrs.is_empty() {
            return Err(PartError::QuotedLogMismatch {
                bank: bank.name(),
                pcrs,
            });
        }
    }
    if compared || pcrs.is_empty() {
        return Ok(());
    }
    Err(PartError::QuotedLogBank)
}
