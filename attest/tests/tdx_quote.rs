//! Quotes of a mock platform: every body type is accepted, every fault of the quote and its root refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

mod tdx_common;

use dawnkey_attest::{
    evidence::{Binder, Exchange},
    tdx::{
        Bytes, Chain, GenuineQuote, QuoteError, TcbStatus, TdxError, TdxEvidence, TdxEvidenceError,
        TdxPolicy, TdxRoots,
        ccel::{CcelError, RtmrLog},
        fake::{MockIntel, Spec},
        verify, verify_evidence,
    },
    verify::Crypto,
};
use tdx_common::{outcome, unix};

#[test]
fn accepts_every_body_type_with_the_default_policy() {
    for body_type in [None, Some(2), Some(3), Some(4)] {
        let spec = Spec {
            body_type,
            ..Spec::default()
        };
        let claims = outcome(&spec).unwrap_or_else(|error| panic!("{body_type:?}: {error}"));
        assert_eq!(claims.body_type, body_type);
        assert_eq!(claims.tcb.status, TcbStatus::UpToDate);
        assert_eq!(claims.td15.is_some(), matches!(body_type, Some(3 | 4)));
        assert_eq!(claims.td15_ex.is_some(), body_type == Some(4));
        assert_eq!(TdxPolicy::default().judge(&claims, spec.now), []);
    }
}

#[test]
fn refuses_another_root_of_the_same_name() {
    let spec = Spec::default();
    let (intel, other) = (MockIntel::new(), MockIntel::new());
    let error = verify(
        &intel.quote(&spec),
        Some(&intel.collateral(&spec)),
        &other.roots(),
        unix(spec.now),
    );
    let error = error.expect_err("another root");
    assert!(
        matches!(
            error,
            TdxError::RootNotTrusted {
                chain: Chain::Pck,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.crypto(), Crypto::Invalid);
}

#[test]
fn production_trust_refuses_what_the_mock_signs() {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let roots = TdxRoots::intel().unwrap();
    let error = verify(
        &intel.quote(&spec),
        Some(&intel.collateral(&spec)),
        &roots,
        unix(spec.now),
    );
    assert!(matches!(error, Err(TdxError::RootNotTrusted { .. })));
}

#[test]
fn finds_the_right_one_among_several_roots_of_the_same_name() {
    let (intel, other, spec) = (MockIntel::new(), MockIntel::new(), Spec::default());
    let roots = TdxRoots::new([other.root_der(), intel.root_der()]).unwrap();
    assert!(
        verify(
            &intel.quote(&spec),
            Some(&intel.collateral(&spec)),
            &roots,
            unix(spec.now)
        )
        .is_ok()
    );
    // Collateral of one trusted root says nothing about platforms of another.
    let error = verify(
        &intel.quote(&spec),
        Some(&other.collateral(&spec)),
        &roots,
        unix(spec.now),
    );
    assert!(
        matches!(error, Err(TdxError::CrlIssuer { .. })),
        "{error:?}"
    );
}

#[test]
fn refuses_roots_that_are_none() {
    assert!(matches!(TdxRoots::new([]), Err(TdxError::Root { .. })));
    assert!(matches!(
        TdxRoots::new([&b"junk"[..]]),
        Err(TdxError::Root { number: 0, .. })
    ));
}

#[test]
fn is_indeterminate_without_collateral_but_checks_signatures() {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let mut quote = intel.quote(&spec);
    let error = verify(&quote, None, &intel.roots(), unix(spec.now)).unwrap_err();
    assert_eq!(
        error,
        TdxError::NoCollateral {
            fmspc: Bytes(spec.fmspc)
        }
    );
    assert!(error.is_indeterminate());
    quote[60] ^= 1;
    let error = verify(&quote, None, &intel.roots(), unix(spec.now)).unwrap_err();
    assert_eq!(error, TdxError::QuoteSignature);
}

#[test]
fn names_each_broken_signature_of_a_quote() {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let quote = intel.quote(&spec);
    let data = 48 + 584 + 4;
    for (at, wanted) in [
        (100, TdxError::QuoteSignature),                     // body
        (data + 3, TdxError::QuoteSignature),                // signature
        (data + 64 + 3, TdxError::QeBinding),                // attestation key
        (data + 134 + 70, TdxError::QeReportSignature),      // QE report
        (data + 134 + 384 + 3, TdxError::QeReportSignature), // its signature
        (data + 134 + 448 + 2, TdxError::QeBinding),         // authentication data
    ] {
        let mut changed = quote.clone();
        changed[at] ^= 4;
        assert_eq!(
            GenuineQuote::check(&changed, &intel.roots()).map(|_| ()),
            Err(wanted),
            "byte {at}"
        );
    }
}

#[test]
fn refuses_what_is_not_a_td_quote() {
    let (intel, spec) = (
        MockIntel::new(),
        Spec {
            body_type: Some(3),
            ..Spec::default()
        },
    );
    let quote = intel.quote(&spec);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = quote.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        match verify(&changed, None, &intel.roots(), unix(spec.now)) {
            Err(TdxError::Quote(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        with(0, &[3, 0, 2, 0, 0, 0, 0, 0]),
        QuoteError::NotTdx { found: 0 }
    );
    assert_eq!(with(0, &[9]), QuoteError::Version { found: 9 });
    assert_eq!(with(0, &[0, 4]), QuoteError::Version { found: 0x400 });
    assert_eq!(with(2, &[3]), QuoteError::KeyType { found: 3 });
    assert_eq!(with(4, &[0]), QuoteError::NotTdx { found: 0 });
    assert!(matches!(with(12, &[0]), QuoteError::QeVendor { .. }));
    assert_eq!(with(48, &[1]), QuoteError::BodyType { found: 1 });
    assert_eq!(
        with(48, &[2]),
        QuoteError::BodySize {
            kind: 2,
            found: 648,
            wanted: 584
        }
    );
    assert!(matches!(
        with(54 + 648, &[1, 0, 0, 0]),
        QuoteError::Malformed(_)
    ));
    assert!(matches!(
        with(54 + 648 + 4 + 128, &[5]),
        QuoteError::CertificationType { found: 5, .. }
    ));
    for cut in [0, 1, 47, 600, 54 + 648 + 4 + 10, quote.len() - 1] {
        let error = verify(&quote[..cut], None, &intel.roots(), unix(spec.now)).unwrap_err();
        assert_eq!(error.reason_class(), "malformed", "cut to {cut}");
    }
    let huge = vec![0; 65_537];
    let error = verify(&huge, None, &intel.roots(), unix(spec.now)).unwrap_err();
    assert_eq!(
        error,
        TdxError::Quote(QuoteError::TooLarge { found: 65_537 })
    );
}

#[test]
fn binds_evidence_to_the_exchange_and_its_event_log_to_the_quote() {
    let event = r#"[{"imr":3,"event_type":134217729,"event":"system-ready","event_payload":""}]"#;
    let log = RtmrLog::parse(event.as_bytes()).unwrap();
    let spec = Spec {
        rtmr: log.rtmr.map(|value| value.0),
        ..Spec::default()
    };
    let intel = MockIntel::new();
    let (roots, now) = (intel.roots(), unix(spec.now));
    let binder = Binder::Exchange(Exchange(spec.report_data));
    let mut evidence = TdxEvidence {
        quote: intel.quote(&spec),
        event_log: event.into(),
        collateral: Some(intel.collateral(&spec)),
    };
    let bound = verify_evidence(&evidence, &binder, None, &roots, now).unwrap();
    assert_eq!(
        bound.event_log.unwrap().rtmr,
        bound.verified.claims().td.rtmr
    );

    let elsewhere = Binder::Exchange(Exchange([0; 64]));
    let other = verify_evidence(&evidence, &elsewhere, None, &roots, now).unwrap_err();
    assert_eq!(other, TdxEvidenceError::Binder);

    evidence.event_log = event.replace("ready", "steady").into();
    let error = verify_evidence(&evidence, &binder, None, &roots, now).unwrap_err();
    assert!(matches!(
        error,
        TdxEvidenceError::EventLog(CcelError::Mismatch { rtmr: 3, .. })
    ));

    // The verifier's own collateral goes first: here it is of another platform.
    let own = intel.collateral(&Spec {
        tcb_info_fmspc: [1; 6],
        ..spec
    });
    let error = verify_evidence(&evidence, &binder, Some(&own), &roots, now).unwrap_err();
    assert_eq!(error.reason_class(), "fmspc_mismatch");
}
