//! Refusals of chains and revocation lists, made with a mock of AMD's hierarchy.
#![cfg(all(feature = "verify", feature = "fake"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod snp_common;

use dawnkey_attest::snp::SnpError;
use dawnkey_attest::snp::error::Role;
use dawnkey_attest::snp::fake::{Authority, MockAmd, NOT_AFTER, NOT_BEFORE, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::snp::verify::CrlRule;
use dawnkey_attest::verify::Crypto;
use snp_common::{CRL_DATES, NOW, Setup, amd};

#[test]
fn refuses_a_root_that_is_not_trusted() {
    let mut setup = Setup::milan();
    setup.trusted = vec![amd(&Product::Genoa).der(Authority::Ark).to_vec()];
    let error = setup.refusal();
    assert_eq!(
        error,
        SnpError::RootNotTrusted {
            subject: "ARK-Milan".to_owned()
        }
    );
    assert_eq!(
        (error.reason_class(), error.crypto()),
        ("root_not_trusted", Crypto::Invalid)
    );
}

#[test]
fn refuses_a_root_of_the_same_name_with_another_key() {
    let mut setup = Setup::milan();
    setup.trusted = vec![MockAmd::new(Product::Milan).der(Authority::Ark).to_vec()];
    assert!(matches!(setup.refusal(), SnpError::RootNotTrusted { .. }));
    setup.given_roots.clear();
    assert!(matches!(
        setup.refusal(),
        SnpError::AskNotSignedByArk { .. }
    ));
}

#[test]
fn refuses_another_products_intermediate() {
    let mut setup = Setup::milan();
    setup.intermediates = vec![amd(&Product::Genoa).der(Authority::Ask).to_vec()];
    assert!(matches!(
        setup.refusal(),
        SnpError::AskNotSignedByArk { .. }
    ));
    setup.given_roots = vec![amd(&Product::Genoa).der(Authority::Ark).to_vec()];
    setup.trusted.clone_from(&setup.given_roots);
    assert!(matches!(
        setup.refusal(),
        SnpError::VekNotSignedByAsk { .. }
    ));
}

#[test]
fn refuses_an_asvk_for_a_vcek_and_an_ask_for_a_vlek() {
    for (kind, wrong) in [
        (VekKind::Vcek, Authority::Asvk),
        (VekKind::Vlek, Authority::Ask),
    ] {
        let mut setup = Setup::new(Product::Turin, kind);
        setup.intermediates = vec![setup.amd.der(wrong).to_vec()];
        assert!(matches!(
            setup.refusal(),
            SnpError::VekNotSignedByAsk { .. }
        ));
        // Both given: the right one is found.
        let right = if wrong == Authority::Ask {
            Authority::Asvk
        } else {
            Authority::Ask
        };
        setup.intermediates.push(setup.amd.der(right).to_vec());
        setup.verify().unwrap();
    }
}

#[test]
fn refuses_an_endorsement_certificate_as_intermediate() {
    let mut setup = Setup::milan();
    setup.intermediates = vec![setup.vek_der.clone()];
    assert!(matches!(
        setup.refusal(),
        SnpError::AskNotSignedByArk { .. } | SnpError::AskNotAuthority { .. }
    ));
}

#[test]
fn names_an_intermediate_changed_after_signing() {
    let mut setup = Setup::milan();
    let at = setup.intermediates[0]
        .windows(9)
        .position(|w| w == b"SEV-Milan")
        .unwrap();
    setup.intermediates[0][at] ^= 1;
    assert!(matches!(
        setup.refusal(),
        SnpError::AskSignatureInvalid { .. }
    ));
}

#[test]
fn names_certificates_that_are_none() {
    let mut setup = Setup::milan();
    for bytes in [
        vec![],
        vec![0x30, 0x00],
        vec![0xff; 100],
        setup.vek.der[..200].to_vec(),
        vec![0x30; 20_000],
    ] {
        setup.vek_der = bytes;
        let error = setup.refusal();
        assert!(
            matches!(
                error,
                SnpError::Certificate {
                    role: Role::Vek,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(
            (error.reason_class(), error.crypto()),
            ("malformed", Crypto::NotApplicable)
        );
    }
    setup.vek_der = [setup.vek.der.as_slice(), &[0]].concat();
    assert!(matches!(
        setup.refusal(),
        SnpError::Certificate {
            role: Role::Vek,
            ..
        }
    ));
    setup.vek_der.clone_from(&setup.vek.der);
    setup.intermediates = vec![vec![1, 2, 3]];
    assert!(matches!(
        setup.refusal(),
        SnpError::Certificate {
            role: Role::Ask,
            ..
        }
    ));
}

#[test]
fn refuses_an_expired_or_early_certificate_at_each_level() {
    let early = (NOW + 1, NOT_AFTER);
    let late = (NOT_BEFORE, NOW - 1);
    let fine = (NOT_BEFORE, NOT_AFTER);
    for (dates, vek_dates, role, classes) in [
        (
            [fine; 3],
            late,
            Role::Vek,
            ["vek_expired", "vek_not_yet_valid"],
        ),
        (
            [fine, late, fine],
            fine,
            Role::Ask,
            ["ask_expired", "ask_not_yet_valid"],
        ),
        (
            [late, fine, fine],
            fine,
            Role::Ark,
            ["ark_expired", "ark_not_yet_valid"],
        ),
    ] {
        let swap = |(from, to)| {
            if (from, to) == late {
                early
            } else {
                (from, to)
            }
        };
        for (dates, vek_dates, class) in [
            (dates, vek_dates, classes[0]),
            (dates.map(swap), swap(vek_dates), classes[1]),
        ] {
            let amd: &'static MockAmd =
                Box::leak(Box::new(MockAmd::with_dates(Product::Milan, dates)));
            let spec = VekSpec {
                dates: vek_dates,
                ..VekSpec::new(VekKind::Vcek, &Product::Milan)
            };
            let vek = amd.issue(&spec);
            let mut setup = Setup {
                amd,
                vek_der: vek.der.clone(),
                vek,
                ..Setup::milan()
            };
            setup.intermediates = vec![amd.der(Authority::Ask).to_vec()];
            setup.given_roots = vec![amd.der(Authority::Ark).to_vec()];
            setup.trusted.clone_from(&setup.given_roots);
            let error = setup.refusal();
            assert!(
                matches!(&error, SnpError::Expired { role: found, .. } | SnpError::NotYetValid { role: found, .. } if *found == role),
                "{error}"
            );
            assert_eq!(
                (error.reason_class(), error.crypto()),
                (class, Crypto::Valid)
            );
        }
    }
}

#[test]
fn refuses_a_revoked_certificate_at_each_level() {
    for (by, serial, role, class) in [
        (
            Authority::Ark,
            [1, 0, 0].as_slice(),
            Role::Ark,
            "ark_revoked",
        ),
        (Authority::Ark, &[1, 0, 1], Role::Ask, "ask_revoked"),
        (Authority::Ask, &[7], Role::Vek, "vek_revoked"),
    ] {
        let spec = VekSpec {
            serial: vec![7],
            ..VekSpec::new(VekKind::Vcek, &Product::Milan)
        };
        let mut setup = Setup::with_vek(Product::Milan, &spec);
        setup.crls = vec![setup.amd.crl(by, &[&[9], serial], CRL_DATES)];
        let error = setup.refusal();
        assert!(
            matches!(&error, SnpError::Revoked { role: found, .. } if *found == role),
            "{error}"
        );
        assert_eq!(
            (error.reason_class(), error.crypto()),
            (class, Crypto::Valid)
        );
    }
    let mut vlek = Setup::new(Product::Milan, VekKind::Vlek);
    vlek.crls = vec![vlek.amd.crl(Authority::Ark, &[&[1, 0, 2]], CRL_DATES)];
    assert!(matches!(
        vlek.refusal(),
        SnpError::Revoked {
            role: Role::Ask,
            ..
        }
    ));
}

#[test]
fn a_serial_revoked_by_one_issuer_says_nothing_about_anothers() {
    let spec = VekSpec {
        serial: vec![1, 0, 1],
        ..VekSpec::new(VekKind::Vcek, &Product::Milan)
    };
    let mut setup = Setup::with_vek(Product::Milan, &spec);
    setup.crls = vec![
        setup
            .amd
            .crl(Authority::Ark, &[&[0], &[1, 0, 2]], CRL_DATES),
        setup.amd.crl(Authority::Ask, &[&[0]], CRL_DATES),
    ];
    setup.crl_rule = CrlRule::Required;
    setup.verify().unwrap();
}

#[test]
fn a_required_list_must_be_of_the_root() {
    let mut setup = Setup::milan();
    setup.crl_rule = CrlRule::Required;
    assert_eq!(
        setup.refusal(),
        SnpError::CrlMissing {
            issuer: "ARK-Milan".to_owned()
        }
    );
    setup.crls = vec![setup.amd.crl(Authority::Ask, &[], CRL_DATES)];
    assert!(matches!(setup.refusal(), SnpError::CrlMissing { .. }));
    let genoa = amd(&Product::Genoa);
    setup.trusted.push(genoa.der(Authority::Ark).to_vec());
    setup.crls = vec![genoa.crl(Authority::Ark, &[], CRL_DATES)];
    assert!(matches!(setup.refusal(), SnpError::CrlMissing { .. }));
    setup
        .crls
        .push(setup.amd.crl(Authority::Ark, &[], CRL_DATES));
    setup.verify().unwrap();
}

#[test]
fn refuses_lists_that_are_stale_early_foreign_or_none() {
    let mut setup = Setup::milan();
    let list = |dates| vec![setup.amd.crl(Authority::Ark, &[], dates)];
    let stale = list((NOW - 10, NOW - 1));
    let early = list((NOW + 1, NOW + 10));
    let fine = list(CRL_DATES);
    setup.crls = stale;
    assert!(matches!(setup.refusal(), SnpError::CrlExpired { .. }));
    setup.crls = early;
    assert!(matches!(setup.refusal(), SnpError::CrlNotYetValid { .. }));
    setup.crls = vec![MockAmd::new(Product::Milan).crl(Authority::Ark, &[], CRL_DATES)];
    assert!(matches!(
        setup.refusal(),
        SnpError::CrlSignatureInvalid { .. }
    ));
    setup.crls = vec![amd(&Product::Genoa).crl(Authority::Ark, &[], CRL_DATES)];
    assert!(matches!(
        setup.refusal(),
        SnpError::CrlSignatureInvalid { .. }
    ));
    for bytes in [
        vec![],
        b"nonsense".to_vec(),
        fine[0][..fine[0].len() - 1].to_vec(),
    ] {
        setup.crls = vec![bytes];
        assert!(matches!(setup.refusal(), SnpError::CrlMalformed(_)));
    }
    for at in 4..fine[0].len() {
        let mut bent = fine[0].clone();
        bent[at] ^= 1;
        setup.crls = vec![bent];
        assert!(setup.verify().is_err(), "byte {at}");
    }
}
