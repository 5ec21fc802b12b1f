//! Pieces of evidence judged alone: every form of key, and each refusal by its variant.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod parts_common;

use std::collections::BTreeMap;

use dawnkey_attest::{
    claims::Binding,
    evidence::{Binder, Exchange},
    fake::{LogBuilder, SoftTpm},
    part::{
        CertificatePart, EventLogPart, ImaPart, Part, PublicKey, QuotePart, QuoteSignature,
        RtmrLogPart, SignedQuote,
    },
    tpm::{attest::AttestError, hash::Hash},
    verify::{
        Crypto,
        chain::ChainError,
        part::{PartClaims, PartError, read},
        signature::SignatureError,
    },
};
use parts_common::{judge, judge_bound, message, part, quote};
use proptest::prelude::*;

/// A piece signed by a software TPM.
fn soft(tpm: &SoftTpm) -> QuotePart {
    let message = quote(Hash::Sha256, Hash::Sha256);
    let signature = QuoteSignature::Tpmt(tpm.sign(&message));
    part(
        PublicKey::Tpmt(tpm.ak_public.clone()),
        message,
        signature,
        Hash::Sha256,
    )
}

#[test]
fn takes_the_key_in_tpm_forms_and_says_its_name() {
    let tpm = SoftTpm::new();
    let mut sized = (tpm.ak_public.len() as u16).to_be_bytes().to_vec();
    sized.extend(&tpm.ak_public);
    for keys in [
        vec![PublicKey::Tpmt(tpm.ak_public.clone())],
        vec![PublicKey::Tpm2b(sized)],
    ] {
        let claims = judge(QuotePart { keys, ..soft(&tpm) }).unwrap();
        let Some(PartClaims::Quote(found)) = claims.part else {
            panic!("no quote")
        };
        let ak = found.ak.unwrap();
        assert!(ak.restricted && ak.name.starts_with("000b"));
    }
}

#[test]
fn refuses_two_forms_that_are_two_keys_and_no_key_at_all() {
    let (tpm, other) = (SoftTpm::new(), SoftTpm::new());
    let mut mixed = soft(&tpm);
    mixed.keys.push(PublicKey::Tpmt(other.ak_public));
    assert_eq!(judge(mixed).unwrap_err(), PartError::KeysDiffer);
    let none = QuotePart {
        keys: Vec::new(),
        ..soft(&tpm)
    };
    let error = judge(none).unwrap_err();
    assert_eq!(
        (&error, error.crypto()),
        (&PartError::NoKey, Crypto::Unknown)
    );
    let broken = QuotePart {
        keys: vec![PublicKey::Spki(vec![0x30])],
        ..soft(&tpm)
    };
    assert!(matches!(judge(broken), Err(PartError::MalformedKey { .. })));
    let nothing = QuotePart {
        quotes: Vec::new(),
        ..soft(&tpm)
    };
    assert_eq!(judge(nothing).unwrap_err(), PartError::NoQuote);
}

#[test]
fn refuses_a_key_that_may_sign_anything() {
    // restricted is bit 16.
    let tpm = SoftTpm::new().with_ak_attributes(0x0004_0472);
    let found = 0x0004_0472;
    assert_eq!(
        judge(soft(&tpm)).unwrap_err(),
        PartError::KeyAttributes { found }
    );
}

#[test]
fn refuses_another_scheme_than_the_key_is_bound_to() {
    let tpm = SoftTpm::new();
    let mut other = soft(&tpm);
    let QuoteSignature::Tpmt(signature) = &mut other.quotes[0].signature else {
        panic!("bare")
    };
    signature[3] = 0x0c;
    let error = judge(other).unwrap_err();
    assert!(matches!(
        error,
        PartError::Scheme {
            number: 0,
            found_hash: 0x000c,
            ..
        }
    ));
    assert_eq!(error.reason_class(), "tpm_quote_signature_invalid");
}

#[test]
fn tells_a_forgery_from_an_attestation_of_another_type() {
    let tpm = SoftTpm::new();
    let other = message(0x801a, Hash::Sha256, Hash::Sha256);
    let mut genuine = soft(&tpm);
    genuine.quotes[0] = SignedQuote {
        signature: QuoteSignature::Tpmt(tpm.sign(&other)),
        message: other,
    };
    let error = judge(genuine.clone()).unwrap_err();
    let wanted = AttestError::NotAQuote { found: 0x801a };
    assert_eq!(
        error,
        PartError::Quote {
            number: 0,
            source: wanted
        }
    );
    assert_eq!(
        (error.reason_class(), error.crypto()),
        ("not_a_quote", Crypto::Valid)
    );
    genuine.keys = vec![PublicKey::Tpmt(SoftTpm::new().ak_public)];
    let error = judge(genuine).unwrap_err();
    let source = SignatureError::Invalid;
    assert_eq!(error, PartError::Signature { number: 0, source });
}

#[test]
fn refuses_magic_truncation_and_malformed_signatures_by_name() {
    let tpm = SoftTpm::new();
    let mut magic = soft(&tpm);
    magic.quotes[0].message[0] ^= 1;
    assert_eq!(judge(magic).unwrap_err().reason_class(), "bad_magic");
    let mut cut = soft(&tpm);
    cut.quotes[0].message.truncate(60);
    let error = judge(cut).unwrap_err();
    assert_eq!(
        (error.reason_class(), error.crypto()),
        ("malformed", Crypto::Invalid)
    );
    let mut signature = soft(&tpm);
    signature.quotes[0].signature = QuoteSignature::Tpmt(vec![0, 0x14]);
    assert!(matches!(
        judge(signature),
        Err(PartError::MalformedSignature { number: 0, .. })
    ));
}

#[test]
fn compares_values_of_every_quoted_pcr() {
    let tpm = SoftTpm::new();
    let mut changed = soft(&tpm);
    changed
        .pcrs
        .get_mut(&Hash::Sha256)
        .unwrap()
        .insert(1, vec![9; 32]);
    assert!(matches!(
        judge(changed),
        Err(PartError::PcrDigest { number: 0, .. })
    ));
    let mut missing = soft(&tpm);
    missing.pcrs.get_mut(&Hash::Sha256).unwrap().remove(&1);
    let bank = "sha256".to_owned();
    assert_eq!(
        judge(missing).unwrap_err(),
        PartError::PcrMissing { bank, pcr: 1 }
    );
    let mut more = soft(&tpm);
    more.pcrs
        .get_mut(&Hash::Sha256)
        .unwrap()
        .insert(9, vec![9; 32]);
    judge(more).unwrap();
}

#[test]
fn every_quote_must_carry_the_nonce() {
    let tpm = SoftTpm::new();
    let value = |text: &[u8]| Binder::Value(text.to_vec());
    let claims = judge_bound(Part::Quote(soft(&tpm)), &value(b"nonce")).unwrap();
    assert_eq!(claims.binding, Binding::Value);
    let error = judge_bound(Part::Quote(soft(&tpm)), &value(b"other")).unwrap_err();
    assert!(matches!(error, PartError::Nonce { number: 0, .. }));
    assert_eq!(
        (error.reason_class(), error.crypto()),
        ("nonce_mismatch", Crypto::Valid)
    );
    let exchange = Binder::Exchange(Exchange([1; 64]));
    assert!(matches!(
        judge_bound(Part::Quote(soft(&tpm)), &exchange),
        Err(PartError::Nonce { .. })
    ));
}

#[test]
fn nothing_but_a_quote_can_be_bound() {
    let log = Part::EventLog(EventLogPart {
        log: LogBuilder::new(&[Hash::Sha256]).build(),
        ..EventLogPart::default()
    });
    judge_bound(log.clone(), &Binder::Unknown).unwrap();
    let exchange = Binder::Exchange(Exchange([1; 64]));
    let wanted = PartError::NothingToBind { part: "event-log" };
    assert_eq!(judge_bound(log, &exchange).unwrap_err(), wanted);
}

#[test]
fn an_event_log_must_replay_to_the_quoted_values() {
    let tpm = SoftTpm::new();
    let mut piece = soft(&tpm);
    piece.event_log = LogBuilder::new(&[Hash::Sha256])
        .event(1, 5, b"else")
        .build();
    let error = judge(piece.clone()).unwrap_err();
    let wanted = PartError::QuotedLogMismatch {
        bank: "sha256",
        pcrs: vec![1],
    };
    assert_eq!((&error, error.crypto()), (&wanted, Crypto::Valid));
    let Ok(PartClaims::Quote(found)) = read(&Part::Quote(piece.clone())) else {
        panic!("unreadable")
    };
    assert_eq!(found.log_matches_pcrs, Some(false));
    piece.event_log = LogBuilder::new(&[Hash::Sha384]).build();
    assert_eq!(judge(piece.clone()).unwrap_err(), PartError::QuotedLogBank);
    piece.event_log = vec![1];
    assert!(matches!(judge(piece), Err(PartError::QuotedLog(_))));
}

#[test]
fn a_log_is_compared_with_recorded_values_and_with_a_quotes_digest() {
    let builder = LogBuilder::new(&[Hash::Sha256]).event(2, 5, b"one");
    let pcrs = builder.pcrs().clone();
    let piece = EventLogPart {
        log: builder.build(),
        recorded: BTreeMap::from([(Hash::Sha256, pcrs)]),
        quote: None,
    };
    judge_bound(Part::EventLog(piece.clone()), &Binder::Unknown).unwrap();
    let mut other = piece.clone();
    other
        .recorded
        .get_mut(&Hash::Sha256)
        .unwrap()
        .insert(2, vec![0; 32]);
    let error = judge_bound(Part::EventLog(other), &Binder::Unknown).unwrap_err();
    assert_eq!(error, PartError::LogMismatch { pcrs: vec![2] });
    let quoted = EventLogPart {
        quote: Some(quote(Hash::Sha256, Hash::Sha256)),
        ..piece
    };
    let error = judge_bound(Part::EventLog(quoted), &Binder::Unknown).unwrap_err();
    assert!(matches!(error, PartError::LogDigest { .. }));
    assert_eq!(error.crypto(), Crypto::NotApplicable);
}

#[test]
fn lists_logs_and_certificates_that_are_none_are_refused_by_name() {
    let judge = |part| judge_bound(part, &Binder::Unknown).unwrap_err();
    let list = b"10 0101010101010101010101010101010101010101 ima-ng sha1:00 /x\n".to_vec();
    let hash = Hash::Sha1;
    let error = judge(Part::Ima(ImaPart { list, hash }));
    let wanted = PartError::TemplateHash {
        mismatches: 1,
        entries: 1,
    };
    assert_eq!(error, wanted);
    let list = b"text".to_vec();
    assert!(matches!(
        judge(Part::Ima(ImaPart { list, hash })),
        PartError::Ima(_)
    ));
    let log = b"text".to_vec();
    assert!(matches!(
        judge(Part::RtmrLog(RtmrLogPart { log, quote: None })),
        PartError::Rtmr(_)
    ));
    let certificate = CertificatePart {
        certificate: vec![0x30, 0],
        chain: None,
    };
    let error = judge(Part::Certificate(certificate));
    assert!(matches!(
        error,
        PartError::Certificate(ChainError::Malformed { .. })
    ));
}

proptest! {
    #[test]
    fn judging_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..140, value: u8) {
        let key = PublicKey::Tpmt(bytes.clone());
        let signature = QuoteSignature::Bare(bytes.clone());
        let mut near = quote(Hash::Sha256, Hash::Sha256);
        if let Some(byte) = near.get_mut(at) {
            *byte = value;
        }
        for part in [
            Part::Quote(part(key, near.clone(), signature, Hash::Sha256)),
            Part::EventLog(EventLogPart { log: bytes.clone(), recorded: BTreeMap::new(), quote: Some(near) }),
            Part::RtmrLog(RtmrLogPart { log: bytes.clone(), quote: Some(bytes.clone()) }),
            Part::Ima(ImaPart { list: bytes.clone(), hash: Hash::Sha1 }),
            Part::Certificate(CertificatePart { certificate: bytes, chain: Some(Vec::new()) }),
        ] {
            let _ = read(&part);
            let _ = judge_bound(part, &Binder::Unknown);
        }
    }
}
