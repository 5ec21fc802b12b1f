//! Pieces of evidence judged alone: the first byte says which, the second where its parts are cut.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_attest::evidence::{Binder, Evidence};
use dawnkey_attest::part::{
    CertificatePart, EventLogPart, ImaPart, Part, PublicKey, QuotePart, QuoteSignature,
    RtmrLogPart, SignedQuote,
};
use dawnkey_attest::tpm::hash::Hash;
use dawnkey_attest::verify::{Collateral, Roots, UnixTime, part::read, verify};
use libfuzzer_sys::fuzz_target;

static NOBODY: LazyLock<(Roots, Collateral)> = LazyLock::new(Default::default);

fn quote(key: fn(Vec<u8>) -> PublicKey, one: &[u8], two: &[u8]) -> Part {
    let (message, signature) = two.split_at(two.len() / 2);
    Part::Quote(QuotePart {
        keys: vec![key(one.to_vec())],
        quotes: vec![SignedQuote {
            message: message.to_vec(),
            signature: QuoteSignature::Tpmt(signature.to_vec()),
        }],
        ..QuotePart::default()
    })
}

fuzz_target!(|bytes: &[u8]| {
    let [kind, cut, rest @ ..] = bytes else {
        return;
    };
    let (one, two) = rest.split_at(rest.len() * usize::from(*cut) / 256);
    let part = match kind % 7 {
        0 => quote(PublicKey::Tpmt, one, two),
        1 => quote(PublicKey::Tpm2b, one, two),
        2 => quote(PublicKey::Spki, one, two),
        3 => Part::EventLog(EventLogPart {
            log: one.to_vec(),
            quote: Some(two.to_vec()),
            ..EventLogPart::default()
        }),
        4 => Part::RtmrLog(RtmrLogPart {
            log: one.to_vec(),
            quote: Some(two.to_vec()),
        }),
        5 => Part::Ima(ImaPart {
            list: rest.to_vec(),
            hash: Hash::Sha1,
        }),
        _ => Part::Certificate(CertificatePart {
            certificate: one.to_vec(),
            chain: Some(vec![two.to_vec()]),
        }),
    };
    let _ = read(&part);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000));
    let (roots, collateral) = &*NOBODY;
    let evidence = Evidence::Part(Box::new(part));
    let _ = verify(&evidence, &Binder::Unknown, roots, collateral, now);
});
