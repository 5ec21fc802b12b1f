//! Quotes to be judged alone, and judging them.
#![allow(
    dead_code, // each test binary uses its part
    clippy::unwrap_used,
    clippy::panic
)]

use std::{collections::BTreeMap, time::Duration};

use dawnkey_attest::{
    claims::Claims,
    evidence::{Binder, Evidence},
    part::{Part, PublicKey, QuotePart, QuoteSignature, SignedQuote},
    tpm::{attest, hash::Hash},
    verify::{Collateral, Roots, UnixTime, VerifyError, part::PartError, verify},
};

pub fn judge_bound(part: Part, binder: &Binder) -> Result<Claims, PartError> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000));
    let evidence = Evidence::Part(Box::new(part));
    match verify(
        &evidence,
        binder,
        &Roots::default(),
        &Collateral::default(),
        now,
    ) {
        Ok(verified) => Ok(verified.claims().clone()),
        Err(VerifyError::Part(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

pub fn judge(part: QuotePart) -> Result<Claims, PartError> {
    judge_bound(Part::Quote(part), &Binder::Unknown)
}

pub fn values(bank: Hash) -> BTreeMap<u8, Vec<u8>> {
    (0..3)
        .map(|pcr| (pcr, vec![pcr + 1; bank.size()]))
        .collect()
}

/// `TPMS_ATTEST` over PCR 0 to 2 of `bank`, as a signature with `hash` has it.
pub fn message(kind: u16, bank: Hash, hash: Hash) -> Vec<u8> {
    let values: Vec<Vec<u8>> = values(bank).into_values().collect();
    let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let digest = hash.digest(&parts);
    let mut out = attest::GENERATED.to_be_bytes().to_vec();
    out.extend(kind.to_be_bytes());
    for sized in [[0u8; 34].as_slice(), b"nonce"] {
        out.extend((sized.len() as u16).to_be_bytes());
        out.extend(sized);
    }
    out.extend([0; 8 + 4 + 4]);
    out.push(1);
    out.extend([0; 8]);
    out.extend(1u32.to_be_bytes());
    out.extend(bank.id().to_be_bytes());
    out.extend([3, 0b111, 0, 0]);
    out.extend((digest.len() as u16).to_be_bytes());
    out.extend(digest);
    out
}

pub fn quote(bank: Hash, hash: Hash) -> Vec<u8> {
    message(attest::ST_QUOTE, bank, hash)
}

pub fn part(key: PublicKey, message: Vec<u8>, signature: QuoteSignature, bank: Hash) -> QuotePart {
    QuotePart {
        keys: vec![key],
        quotes: vec![SignedQuote { message, signature }],
        pcrs: BTreeMap::from([(bank, values(bank))]),
        ..QuotePart::default()
    }
}
