//! What ties a report to its certificate: key, product, chip, TCB; made with a mock of AMD's hierarchy.
#![cfg(all(feature = "verify", feature = "fake"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod snp_common;

use std::time::Duration;

use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::chain::Collateral;
use dawnkey_attest::snp::error::Role;
use dawnkey_attest::snp::fake::{Authority, MockAmd, NOT_AFTER, ReportSpec, VekSpec};
use dawnkey_attest::snp::policy::PolicyError;
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::report::SigningKey;
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::snp::verify::{ChainCache, CrlRule, verify};
use dawnkey_attest::snp::{SnpError, SnpPolicy};
use dawnkey_attest::verify::Crypto;
use rustls_pki_types::UnixTime;
use snp_common::{CRL_DATES, NOW, Setup, amd};

#[test]
fn accepts_every_product_and_key_with_the_mock_root_only() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for kind in [VekKind::Vcek, VekKind::Vlek] {
            for version in 2..=5 {
                let mut setup = Setup::new(product.clone(), kind);
                setup.report.version = version;
                let verified = setup.verify().unwrap();
                assert_eq!(verified.product(), &product);
                assert_eq!(verified.judge(&SnpPolicy::permissive()), Ok(()));
                setup.given_roots.clear();
                let amd = Roots::amd().unwrap();
                setup.trusted = amd.roots().iter().map(|root| root.der().to_vec()).collect();
                assert!(matches!(setup.refusal(), SnpError::RootNotTrusted { .. }));
            }
        }
    }
}

#[test]
fn default_policy_accepts_a_plain_vcek_report_and_no_vlek() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        assert_eq!(
            Setup::new(product.clone(), VekKind::Vcek).judge(&SnpPolicy::default()),
            Ok(())
        );
        let vlek = Setup::new(product, VekKind::Vlek).judge(&SnpPolicy::default());
        assert_eq!(
            vlek,
            Err(PolicyError::SigningKeyNotAllowed { found: "VLEK" })
        );
    }
}

#[test]
fn accepts_a_product_line_it_does_not_know_by_name() {
    let venice = Product::Other("Venice".to_owned());
    let amd: &'static MockAmd = Box::leak(Box::new(MockAmd::new(venice.clone())));
    let vek = amd.issue(&VekSpec::new(VekKind::Vcek, &venice));
    let mut setup = Setup {
        amd,
        vek_der: vek.der.clone(),
        vek,
        ..Setup::milan()
    };
    setup.report = ReportSpec::new(&venice, VekKind::Vcek);
    setup.intermediates = vec![amd.der(Authority::Ask).to_vec()];
    setup.given_roots = vec![amd.der(Authority::Ark).to_vec()];
    setup.trusted = setup.given_roots.clone();
    assert_eq!(setup.verify().unwrap().product(), &venice);
    assert_eq!(setup.amd.product(), &venice);
}

#[test]
fn a_cpu_of_no_known_line_needs_leave_from_policy() {
    let mut setup = Setup::milan();
    setup.report.cpuid = [0x19, 0x70, 0];
    assert_eq!(
        setup.judge(&SnpPolicy::default()),
        Err(PolicyError::UnknownCpu {
            family: 0x19,
            model: 0x70
        })
    );
    assert_eq!(
        setup.judge(&SnpPolicy {
            allow_unknown_cpu: true,
            ..SnpPolicy::default()
        }),
        Ok(())
    );
}

#[test]
fn refuses_an_endorsement_for_another_chip_tcb_or_product() {
    let base = || VekSpec::new(VekKind::Vcek, &Product::Milan);
    let other_chip = VekSpec {
        hwid: vec![1; 64],
        ..base()
    };
    let refusal = |spec: &VekSpec| Setup::with_vek(Product::Milan, spec).refusal();
    assert!(matches!(
        refusal(&other_chip),
        SnpError::ChipIdMismatch { .. }
    ));
    let short_id = VekSpec {
        hwid: vec![0xc5; 8],
        ..base()
    };
    assert!(matches!(
        refusal(&short_id),
        SnpError::ChipIdMismatch { .. }
    ));
    for at in [0, 1, 6, 7] {
        let mut spec = base();
        spec.tcb[at] ^= 1;
        assert!(
            matches!(refusal(&spec), SnpError::VekTcbMismatch { .. }),
            "component {at}"
        );
    }
    let named = VekSpec {
        product_name: "Genoa".to_owned(),
        ..base()
    };
    assert!(matches!(
        refusal(&named),
        SnpError::ProductMismatch {
            what: "intermediate certificate",
            ..
        }
    ));
    let mut genoa_cpu = Setup::milan();
    genoa_cpu.report.cpuid = [0x19, 0xa0, 2];
    let error = genoa_cpu.refusal();
    assert!(matches!(
        error,
        SnpError::ProductMismatch { what: "CPU", .. }
    ));
    assert_eq!(error.crypto(), Crypto::Invalid);
}

#[test]
fn a_turin_chip_id_is_eight_bytes_and_zeros() {
    let mut setup = Setup::new(Product::Turin, VekKind::Vcek);
    assert_eq!(setup.verify().unwrap().report().chip_id[8..], [0; 56]);
    setup.report.chip_id[63] = 1;
    assert!(matches!(setup.refusal(), SnpError::ChipIdMismatch { .. }));
}

#[test]
fn refuses_a_vek_whose_extensions_are_not_amds() {
    let base = || VekSpec::new(VekKind::Vcek, &Product::Milan);
    for spec in [
        VekSpec {
            hwid: vec![1; 63],
            ..base()
        },
        VekSpec {
            hwid: vec![],
            ..base()
        },
        VekSpec {
            product_name: "Mil\nan".to_owned(),
            ..base()
        },
    ] {
        let error = Setup::with_vek(Product::Milan, &spec).refusal();
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
    }
}

#[test]
fn refuses_a_report_that_claims_another_key() {
    let mut setup = Setup::milan();
    setup.report.key_info = 1 << 2;
    let found = SnpError::SigningKeyMismatch {
        report: SigningKey::Vlek,
        certificate: VekKind::Vcek,
    };
    assert_eq!(setup.refusal(), found);
    setup.report.key_info = 3 << 2;
    assert!(matches!(
        setup.refusal(),
        SnpError::SigningKeyMismatch {
            report: SigningKey::Reserved(3),
            ..
        }
    ));
}

#[test]
fn refuses_reports_the_firmware_did_not_sign() {
    let mut setup = Setup::milan();
    for key_info in [2, 7 << 2] {
        setup.report.key_info = key_info;
        for report in [setup.report.bytes(), setup.report.sign(&setup.vek)] {
            let error = setup.verify_bytes(&report, None).unwrap_err();
            assert!(matches!(error, SnpError::ReportNotSigned { .. }), "{error}");
        }
    }
    setup.report.key_info = 0;
    let error = setup.verify_bytes(&setup.report.bytes(), None).unwrap_err();
    assert!(matches!(error, SnpError::ReportSignatureInvalid { .. }));
}

#[test]
fn refuses_another_signature_algorithm() {
    let mut setup = Setup::milan();
    setup.report.signature_algo = 2;
    assert_eq!(
        setup.refusal(),
        SnpError::UnsupportedSignatureAlgorithm { found: 2 }
    );
}

#[test]
fn refuses_scalars_beyond_384_bits_and_anything_behind_them() {
    let setup = Setup::milan();
    let good = setup.report.sign(&setup.vek);
    for at in [0x2a0 + 48, 0x2a0 + 71, 0x2e8 + 48, 0x2e8 + 71] {
        let mut report = good.clone();
        report[at] = 1;
        let error = setup.verify_bytes(&report, None).unwrap_err();
        assert!(matches!(error, SnpError::ReportSignatureInvalid { .. }));
    }
    for at in [0x330, 0x400, 0x49f] {
        let mut report = good.clone();
        report[at] = 1;
        let error = setup.verify_bytes(&report, None).unwrap_err();
        assert_eq!(error, SnpError::NonzeroSignaturePadding { at });
        assert_eq!(error.crypto(), Crypto::Valid);
    }
}

#[test]
fn a_report_without_endorsement_is_indeterminate() {
    let setup = Setup::milan();
    let report = setup.report.sign(&setup.vek);
    let roots = Roots::new([setup.amd.der(Authority::Ark)]).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let error = verify(
        &report,
        &Collateral::default(),
        &roots,
        CrlRule::IfPresent,
        now,
        None,
    )
    .unwrap_err();
    assert_eq!(error, SnpError::NoEndorsementKey);
    assert!(error.is_indeterminate());
    let collateral = Collateral {
        vek: Some(&setup.vek_der),
        ..Collateral::default()
    };
    let error = verify(&report, &collateral, &roots, CrlRule::IfPresent, now, None).unwrap_err();
    assert_eq!(error, SnpError::NoIntermediate);
}

#[test]
fn takes_certificates_from_a_hosts_table() {
    let setup = Setup::milan();
    let table = CertificateTable {
        vcek: Some(setup.vek_der.clone()),
        intermediates: setup.intermediates.clone(),
        ark: Some(setup.given_roots[0].clone()),
        ..CertificateTable::default()
    };
    let mut blob = table.encode();
    blob.resize(blob.len().next_multiple_of(4096), 0);
    let read = CertificateTable::parse(&blob).unwrap();
    let roots = Roots::new([setup.amd.der(Authority::Ark)]).unwrap();
    let collateral = Collateral {
        vek: read.vcek.as_deref(),
        intermediates: &[&read.intermediates[0]],
        roots: &[read.ark.as_deref().unwrap()],
        crls: &[],
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    verify(
        &setup.report.sign(&setup.vek),
        &collateral,
        &roots,
        CrlRule::IfPresent,
        now,
        None,
    )
    .unwrap();
}

#[test]
fn a_cached_chain_does_not_outlive_its_dates_revocation_or_roots() {
    let cache = ChainCache::new();
    let mut setup = Setup::milan();
    let report = setup.report.sign(&setup.vek);
    setup.verify_bytes(&report, Some(&cache)).unwrap();
    setup.verify_bytes(&report, Some(&cache)).unwrap();
    let mut bent = report.clone();
    bent[0x90] ^= 1;
    let error = setup.verify_bytes(&bent, Some(&cache)).unwrap_err();
    assert!(matches!(error, SnpError::ReportSignatureInvalid { .. }));
    setup.now = NOT_AFTER + 1;
    assert!(matches!(
        setup.verify_bytes(&report, Some(&cache)).unwrap_err(),
        SnpError::Expired { .. }
    ));
    setup.now = NOW;
    setup.crls = vec![setup.amd.crl(Authority::Ark, &[&[1, 0, 1]], CRL_DATES)];
    assert!(matches!(
        setup.verify_bytes(&report, Some(&cache)).unwrap_err(),
        SnpError::Revoked { .. }
    ));
    setup.crls.clear();
    setup.trusted = vec![amd(&Product::Genoa).der(Authority::Ark).to_vec()];
    assert!(matches!(
        setup.verify_bytes(&report, Some(&cache)).unwrap_err(),
        SnpError::RootNotTrusted { .. }
    ));
}
