//! Every refusal of SNP evidence that recorded evidence cannot show, made with a mock of AMD's hierarchy and
//! judged by the production verifier with the mock's root as an argument.
#![cfg(all(feature = "verify", feature = "fake"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::sync::OnceLock;
use std::time::Duration;

use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::chain::Collateral;
use dawnkey_attest::snp::error::Role;
use dawnkey_attest::snp::fake::{
    Authority, MockAmd, MockVek, NOT_AFTER, NOT_BEFORE, ReportSpec, VekSpec,
};
use dawnkey_attest::snp::policy::{PolicyError, TcbFloors};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::report::{FirmwareVersion, SigningKey};
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::tcb::TcbFloor;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::snp::verify::{ChainCache, CrlRule, SnpVerified, verify};
use dawnkey_attest::snp::{Crypto, SnpError, SnpPolicy};
use rustls_pki_types::UnixTime;

const NOW: u64 = NOT_BEFORE + 1000;

fn amd(product: &Product) -> &'static MockAmd {
    static MILAN: OnceLock<MockAmd> = OnceLock::new();
    static GENOA: OnceLock<MockAmd> = OnceLock::new();
    static TURIN: OnceLock<MockAmd> = OnceLock::new();
    let slot = match product {
        Product::Milan => &MILAN,
        Product::Genoa => &GENOA,
        _ => &TURIN,
    };
    slot.get_or_init(|| MockAmd::new(product.clone()))
}

/// What a test bends: everything that goes into one verification.
struct Setup {
    amd: &'static MockAmd,
    vek_der: Vec<u8>,
    vek: MockVek,
    report: ReportSpec,
    intermediates: Vec<Vec<u8>>,
    given_roots: Vec<Vec<u8>>,
    trusted: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
    crl_rule: CrlRule,
    now: u64,
}

impl Setup {
    fn new(product: Product, kind: VekKind) -> Self {
        Self::with_vek(product.clone(), &VekSpec::new(kind, &product))
    }

    fn with_vek(product: Product, spec: &VekSpec) -> Self {
        let amd = amd(&product);
        let vek = amd.issue(spec);
        let authority = if spec.kind == VekKind::Vcek {
            Authority::Ask
        } else {
            Authority::Asvk
        };
        Self {
            amd,
            vek_der: vek.der.clone(),
            vek,
            report: ReportSpec::new(&product, spec.kind),
            intermediates: vec![amd.der(authority).to_vec()],
            given_roots: vec![amd.der(Authority::Ark).to_vec()],
            trusted: vec![amd.der(Authority::Ark).to_vec()],
            crls: Vec::new(),
            crl_rule: CrlRule::IfPresent,
            now: NOW,
        }
    }

    fn milan() -> Self {
        Self::new(Product::Milan, VekKind::Vcek)
    }

    fn verify_bytes(
        &self,
        report: &[u8],
        cache: Option<&ChainCache>,
    ) -> Result<SnpVerified, SnpError> {
        let roots = Roots::new(self.trusted.iter().map(Vec::as_slice)).unwrap();
        let collateral = Collateral {
            vek: Some(&self.vek_der),
            intermediates: &self
                .intermediates
                .iter()
                .map(Vec::as_slice)
                .collect::<Vec<_>>(),
            roots: &self
                .given_roots
                .iter()
                .map(Vec::as_slice)
                .collect::<Vec<_>>(),
            crls: &self.crls.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now));
        verify(report, &collateral, &roots, self.crl_rule, now, cache)
    }

    fn verify(&self) -> Result<SnpVerified, SnpError> {
        self.verify_bytes(&self.report.sign(&self.vek), None)
    }

    fn refusal(&self) -> SnpError {
        self.verify().expect_err("accepted")
    }

    fn judge(&self, policy: &SnpPolicy) -> Result<(), PolicyError> {
        self.verify().unwrap().judge(policy)
    }
}

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

// --- chain

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

// --- revocation

const CRL_DATES: (u64, u64) = (NOW - 10, NOW + 10);

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

// --- bindings

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

// --- policy

/// Judges a bent report by a bent default policy.
fn judged(
    bend: impl FnOnce(&mut ReportSpec),
    demand: impl FnOnce(&mut SnpPolicy),
) -> Result<(), PolicyError> {
    let mut setup = Setup::milan();
    bend(&mut setup.report);
    let mut policy = SnpPolicy::default();
    demand(&mut policy);
    setup.judge(&policy)
}

#[test]
fn refuses_debug_migration_and_foreign_privilege_levels_by_default() {
    assert_eq!(
        judged(|r| r.policy |= 1 << 19, |_| ()),
        Err(PolicyError::DebugEnabled)
    );
    assert_eq!(
        judged(|r| r.policy |= 1 << 19, |p| p.allow_debug = true),
        Ok(())
    );
    assert_eq!(
        judged(|r| r.policy |= 1 << 18, |_| ()),
        Err(PolicyError::MigrationAgentAllowed)
    );
    assert_eq!(
        judged(|r| r.policy |= 1 << 18, |p| p.allow_migration_agent = true),
        Ok(())
    );
    for vmpl in 1..=3 {
        assert_eq!(
            judged(|r| r.vmpl = vmpl, |_| ()),
            Err(PolicyError::VmplTooHigh { vmpl, max: 0 })
        );
        assert_eq!(judged(|r| r.vmpl = vmpl, |p| p.max_vmpl = 3), Ok(()));
    }
    for vmpl in [4, u32::MAX] {
        let result = judged(|r| r.vmpl = vmpl, |p| p.max_vmpl = 255);
        assert_eq!(result, Err(PolicyError::HostRequested { vmpl }));
    }
}

#[test]
fn refuses_provisional_firmware_by_default_but_not_newer_microcode() {
    let provisional = Err(PolicyError::ProvisionalFirmware);
    assert_eq!(
        judged(|r| r.committed_version = [42, 55, 1], |_| ()),
        provisional
    );
    assert_eq!(judged(|r| r.committed_tcb[6] -= 1, |_| ()), provisional);
    assert_eq!(
        judged(
            |r| r.committed_tcb[6] -= 1,
            |p| p.allow_provisional_firmware = true
        ),
        Ok(())
    );
    assert_eq!(judged(|r| r.current_tcb[7] += 1, |_| ()), Ok(()));
}

#[test]
fn refuses_a_masked_chip_id_by_default() {
    assert_eq!(
        judged(|r| r.chip_id = [0; 64], |_| ()),
        Err(PolicyError::ChipIdMasked)
    );
    assert_eq!(
        judged(|r| r.chip_id = [0; 64], |p| p.allow_masked_chip_id = true),
        Ok(())
    );
}

#[test]
fn refuses_reserved_bits_by_default() {
    let bends: [(usize, u8, usize); 8] = [
        (0x4c, 1, 0x4c),
        (0x48, 0x20, 0x48),
        (0x3b, 1, 0x38),
        (0x1e2, 1, 0x1e0),
        (0x1f5, 1, 0x1f0),
        (0x18b, 1, 0x18b),
        (0x0b, 0x04, 0x08),
        (0x29f, 1, 0x29f),
    ];
    for (at, value, field) in bends {
        let bend = |r: &mut ReportSpec| r.bent = vec![(at, value)];
        assert_eq!(
            judged(bend, |_| ()),
            Err(PolicyError::ReservedNotZero { at: field }),
            "{at:#x}"
        );
        assert_eq!(judged(bend, |p| p.allow_reserved = true), Ok(()), "{at:#x}");
    }
    assert_eq!(
        judged(|r| r.policy = 0x1_0000, |_| ()),
        Err(PolicyError::ReservedNotZero { at: 0x08 })
    );
}

#[test]
fn each_tcb_has_its_own_floor_per_component_and_product() {
    let floor = TcbFloor {
        snp: Some(24),
        microcode: Some(219),
        ..TcbFloor::default()
    };
    let floors = |product| TcbFloors {
        product,
        reported: floor,
        committed: floor,
        current: floor,
        launch: floor,
    };
    assert_eq!(judged(|_| (), |p| p.floors = vec![floors(None)]), Ok(()));
    let bends: [(&str, fn(&mut ReportSpec)); 3] = [
        ("committed", |r| r.committed_tcb[6] = 23),
        ("current", |r| r.current_tcb[6] = 23),
        ("launch", |r| r.launch_tcb[6] = 23),
    ];
    for (which, bend) in bends {
        let refused = PolicyError::TcbTooOld {
            which,
            component: "snp",
            found: Some(23),
            min: 24,
        };
        let demand = |product| move |p: &mut SnpPolicy| p.floors = vec![floors(product)];
        assert_eq!(judged(bend, demand(None)), Err(refused.clone()));
        assert_eq!(judged(bend, demand(Some(Product::Milan))), Err(refused));
        let other = judged(bend, demand(Some(Product::Turin)));
        assert!(!matches!(other, Err(PolicyError::TcbTooOld { .. })));
    }
    let reported = TcbFloor {
        boot_loader: Some(5),
        ..TcbFloor::default()
    };
    let result = judged(
        |_| (),
        |p| {
            p.floors = vec![TcbFloors {
                reported,
                ..TcbFloors::default()
            }]
        },
    );
    assert!(matches!(
        result,
        Err(PolicyError::TcbTooOld {
            which: "reported",
            component: "boot_loader",
            ..
        })
    ));
}

#[test]
fn platform_and_guest_bits_are_demanded_each() {
    assert_eq!(judged(|_| (), |p| p.platform_info_set = 0x20), Ok(()));
    let missing = PolicyError::PlatformInfoBits {
        missing: 0x10,
        present: 0,
    };
    assert_eq!(judged(|_| (), |p| p.platform_info_set = 0x30), Err(missing));
    let present = PolicyError::PlatformInfoBits {
        missing: 0,
        present: 0x1,
    };
    assert_eq!(
        judged(|_| (), |p| p.platform_info_clear = 0x1),
        Err(present)
    );
    assert_eq!(
        judged(|_| (), |p| p.require_smt_off = true),
        Err(PolicyError::SmtEnabled)
    );
    assert_eq!(
        judged(|r| r.platform_info = 0x24, |p| p.require_smt_off = true),
        Ok(())
    );
    let swap = 1 << 25;
    let refused = PolicyError::GuestPolicyBits {
        missing: swap,
        present: 0,
    };
    assert_eq!(judged(|_| (), |p| p.guest_policy_set = swap), Err(refused));
    assert_eq!(
        judged(|r| r.policy |= swap, |p| p.guest_policy_set = swap),
        Ok(())
    );
    assert_eq!(
        judged(|_| (), |p| p.require_single_socket = true),
        Err(PolicyError::MultipleSocketsAllowed)
    );
    assert_eq!(
        judged(|_| (), |p| p.min_guest_svn = 1),
        Err(PolicyError::GuestSvnTooOld { found: 0, min: 1 })
    );
}

#[test]
fn mitigations_need_version_5_and_every_bit() {
    assert_eq!(judged(|_| (), |p| p.launch_mitigations = 0x0b), Ok(()));
    let missing = PolicyError::MitigationsMissing {
        which: "launch",
        missing: 4,
    };
    assert_eq!(
        judged(|_| (), |p| p.launch_mitigations = 0x0f),
        Err(missing)
    );
    assert_eq!(judged(|_| (), |p| p.current_mitigations = 0x0f), Ok(()));
    let missing = PolicyError::MitigationsMissing {
        which: "current",
        missing: 1,
    };
    assert_eq!(
        judged(|r| r.version = 3, |p| p.current_mitigations = 1),
        Err(missing)
    );
    let old = PolicyError::ReportVersionTooOld { found: 3, min: 5 };
    assert_eq!(
        judged(|r| r.version = 3, |p| p.min_report_version = 5),
        Err(old)
    );
    let min = FirmwareVersion {
        major: 1,
        minor: 55,
        build: 44,
    };
    let result = judged(|_| (), |p| p.min_firmware = Some(min));
    assert!(matches!(result, Err(PolicyError::FirmwareTooOld { .. })));
}

#[test]
fn demanded_values_are_compared_whole() {
    assert_eq!(judged(|_| (), |p| p.report_data = Some([0; 64])), Ok(()));
    let mut other = [0; 64];
    other[63] = 1;
    let result = judged(|_| (), |p| p.report_data = Some(other));
    assert!(matches!(
        result,
        Err(PolicyError::ReportDataMismatch { .. })
    ));
    assert_eq!(
        judged(|_| (), |p| p.measurements = Some(vec![[1; 48], [0x3d; 48]])),
        Ok(())
    );
    let result = judged(|_| (), |p| p.measurements = Some(vec![]));
    assert!(matches!(
        result,
        Err(PolicyError::MeasurementMismatch { .. })
    ));
    let result = judged(|_| (), |p| p.host_data = Some(vec![[1; 32]]));
    assert!(matches!(result, Err(PolicyError::HostDataMismatch { .. })));
    let result = judged(|_| (), |p| p.family_ids = Some(vec![[1; 16]]));
    assert!(matches!(result, Err(PolicyError::FamilyIdMismatch { .. })));
    let result = judged(|_| (), |p| p.image_ids = Some(vec![[1; 16]]));
    assert!(matches!(result, Err(PolicyError::ImageIdMismatch { .. })));
    let result = judged(|_| (), |p| p.id_key_digests = Some(vec![[1; 48]]));
    assert!(matches!(result, Err(PolicyError::IdKeyMismatch { .. })));
    let author = |p: &mut SnpPolicy| p.author_key_digests = Some(vec![[1; 48]]);
    assert_eq!(
        judged(|r| r.author_key_digest = [1; 48], author),
        Err(PolicyError::AuthorKeyMissing)
    );
    assert!(matches!(
        judged(|r| r.key_info = 1, author),
        Err(PolicyError::AuthorKeyMismatch { .. })
    ));
    let keyed = |r: &mut ReportSpec| (r.key_info, r.author_key_digest) = (1, [1; 48]);
    assert_eq!(judged(keyed, author), Ok(()));
}

#[test]
fn chips_providers_and_products_can_be_listed() {
    let hwid = VekSpec::new(VekKind::Vcek, &Product::Milan).hwid;
    assert_eq!(
        judged(|_| (), |p| p.chip_ids = Some(vec![hwid.clone()])),
        Ok(())
    );
    let result = judged(|_| (), |p| p.chip_ids = Some(vec![vec![1; 64]]));
    assert!(matches!(result, Err(PolicyError::ChipNotAllowed { .. })));
    let vlek = Setup::new(Product::Genoa, VekKind::Vlek);
    let mut policy = SnpPolicy {
        csp_ids: Some(vec!["CN=mock.cloud.example".into()]),
        ..SnpPolicy::permissive()
    };
    assert_eq!(vlek.judge(&policy), Ok(()));
    policy.csp_ids = Some(vec!["CN=other".into()]);
    assert!(matches!(
        vlek.judge(&policy),
        Err(PolicyError::ProviderNotAllowed { .. })
    ));
    policy.csp_ids = None;
    policy.chip_ids = Some(vec![hwid]);
    assert!(matches!(
        vlek.judge(&policy),
        Err(PolicyError::ChipNotAllowed { .. })
    ));
    let result = judged(
        |_| (),
        |p| p.products = Some(vec![Product::Genoa, Product::Turin]),
    );
    assert_eq!(
        result,
        Err(PolicyError::ProductNotAllowed {
            found: Product::Milan
        })
    );
}
