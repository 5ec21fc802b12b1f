//! Azure evidence over the mock PKIs: what is accepted, and each way of being wrong with its own refusal.
#![cfg(feature = "verify")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod azure_common;

use azure_common::{EXCHANGE, Vm};
use dawnkey_attest::{
    azure::{
        AzureError, HclClaims, HclError,
        fake::{HclSpec, hcl_tdx},
        hcl::{HardwareKind, HashKind},
        runtime::{RuntimeClaims, RuntimeError},
        td_report::TdReportBytes,
    },
    claims::{Binding, TrustClass},
    evidence::{Binder, Exchange},
    snp::{SnpError, SnpPolicy},
    tdx::{TdxError, fake::Spec},
    tpm::hash::Hash,
    verify::{Crypto, chain::ChainError, vtpm::VtpmError},
};
use serde_json::json;

#[test]
fn snp_vm_proves_its_vtpm_by_the_report() {
    let vm = Vm::snp();
    let claims = vm.verify().unwrap();
    assert_eq!(claims.trust_class, Some(TrustClass::TeeVtpm));
    assert_eq!(claims.binding, Binding::Exchange);
    let snp = claims.snp.as_ref().unwrap();
    assert_eq!(snp.report.vmpl, 0);
    assert!(claims.tdx.is_none());
    assert_eq!(claims.pcrs.len(), 24);
    assert_eq!(claims.events.len(), 2);
    assert_eq!(claims.azure.as_ref().unwrap().secure_boot(), Some(true));
    assert!(claims.sources["azure"].contains("hash"));
}

#[test]
fn tdx_vm_proves_its_vtpm_by_the_quote() {
    let claims = Vm::tdx().verify().unwrap();
    assert_eq!(claims.trust_class, Some(TrustClass::TeeVtpm));
    assert!(claims.tdx.is_some() && claims.snp.is_none());
}

#[test]
fn runtime_claims_may_be_hashed_by_any_of_the_three_algorithms_and_carry_an_extension() {
    for hash in [HashKind::Sha256, HashKind::Sha384, HashKind::Sha512] {
        let vm = Vm::snp_with(|spec| {
            spec.hash = hash;
            spec.runtime_version = 2;
        });
        assert_eq!(vm.verify().unwrap().azure.unwrap().hash_alg, hash);
    }
}

#[test]
fn another_hash_algorithm_than_the_signed_one_is_refused() {
    let mut vm = Vm::snp();
    vm.evidence.hcl_report[1216 + 12] = 2;
    assert!(matches!(vm.refusal(), AzureError::RuntimeDataHash { .. }));
}

#[test]
fn a_quote_for_another_exchange_is_refused() {
    let vm = Vm::snp();
    let error = vm
        .verify_for(&Binder::Exchange(Exchange([8; 64])))
        .unwrap_err();
    assert!(matches!(
        error,
        AzureError::Quote(VtpmError::BinderMismatch { .. })
    ));
    assert_eq!(
        (error.reason_class(), error.crypto()),
        ("nonce_mismatch", Crypto::Valid)
    );
}

#[test]
fn without_a_quote_only_recorded_evidence_is_judged() {
    let mut vm = Vm::snp();
    vm.evidence.quote.clear();
    vm.evidence.signature.clear();
    assert_eq!(vm.refusal(), AzureError::NoTpmQuote);
    let value = Binder::Value(vec![0; 32]);
    assert_eq!(vm.verify_for(&value).unwrap_err(), AzureError::NoTpmQuote);
    let claims = vm.verify_for(&Binder::Unknown).unwrap();
    assert_eq!(claims.binding, Binding::Unknown);
    assert!(claims.tpm.is_none() && claims.pcrs.is_empty() && claims.events.is_empty());
}

#[test]
fn an_exchange_needs_all_pcrs_and_a_log_that_explains_them() {
    let mut vm = Vm::snp();
    vm.evidence.pcrs.clear();
    assert_eq!(
        vm.refusal(),
        AzureError::Quote(VtpmError::BankMissing { bank: "sha256" })
    );
    let mut vm = Vm::snp();
    vm.evidence.event_log.clear();
    assert!(matches!(
        vm.refusal(),
        AzureError::Quote(VtpmError::MalformedEventLog(_))
    ));
    let mut vm = Vm::snp();
    vm.quote_selection(&[0, 4]);
    assert!(matches!(
        vm.refusal(),
        AzureError::Quote(VtpmError::Selection { .. })
    ));
}

#[test]
fn a_log_that_leaves_a_quoted_pcr_unexplained_is_refused() {
    let mut vm = Vm::snp();
    vm.evidence.event_log = Vm::log().event(11, 0x8000_0006, b"one more").build();
    assert!(matches!(
        vm.refusal(),
        AzureError::Quote(VtpmError::LogMismatch { pcr: 11, .. })
    ));
}

#[test]
fn pcr_values_other_than_the_quoted_are_refused() {
    let mut vm = Vm::snp();
    vm.evidence.pcrs[0].values[4].digest[0] ^= 1;
    assert!(matches!(
        vm.refusal(),
        AzureError::Quote(VtpmError::PcrDigestMismatch { .. })
    ));
}

#[test]
fn a_quote_of_another_vtpm_is_refused() {
    let (vm, mut other) = (Vm::snp(), Vm::snp());
    other.evidence.hcl_report = vm.evidence.hcl_report;
    other.evidence.certificates = vm.evidence.certificates;
    let error = other.refusal();
    assert!(matches!(error, AzureError::Quote(VtpmError::Signature(_))));
    assert_eq!(error.reason_class(), "tpm_quote_signature_invalid");
}

#[test]
fn runtime_claims_of_another_vm_are_refused() {
    let (vm, mut other) = (Vm::snp(), Vm::snp());
    other.evidence.hcl_report[1216..].copy_from_slice(&vm.evidence.hcl_report[1216..]);
    let error = other.refusal();
    assert!(matches!(error, AzureError::RuntimeDataHash { .. }));
    assert_eq!(
        (error.reason_class(), error.crypto()),
        ("runtime_data_hash_mismatch", Crypto::Invalid)
    );
}

#[test]
fn a_report_of_an_untrusted_root_is_refused() {
    let mut vm = Vm::snp();
    vm.roots.snp = Default::default();
    assert!(matches!(vm.refusal(), AzureError::Snp(_)));
}

#[test]
fn a_report_without_its_certificate_is_undecided_but_a_forged_quote_beside_it_is_not() {
    let mut vm = Vm::snp();
    vm.evidence.certificates.clear();
    let error = vm.refusal();
    assert_eq!(error, AzureError::Snp(SnpError::NoEndorsementKey));
    assert_eq!(error.crypto(), Crypto::Unknown);
    let last = vm.evidence.signature.len() - 1;
    vm.evidence.signature[last] ^= 1;
    assert_eq!(vm.refusal().crypto(), Crypto::Invalid);
}

#[test]
fn an_expired_hardware_certificate_leaves_signatures_standing() {
    let mut vm = Vm::snp();
    vm.now = dawnkey_attest::snp::fake::NOT_AFTER + 1;
    let error = vm.refusal();
    assert!(matches!(error, AzureError::Snp(SnpError::Expired { .. })));
    assert_eq!(error.crypto(), Crypto::Valid);
}

#[test]
fn vmpl_is_reported_as_it_is_and_judged_by_policy() {
    let vm = Vm::snp_report(|report| report.vmpl = 2);
    let claims = vm.verify().unwrap();
    let policy = SnpPolicy::default();
    assert_eq!(claims.snp.as_ref().unwrap().report.vmpl, 2);
    assert!(policy.judge(claims.snp.as_ref().unwrap()).is_err());
    let vm = Vm::snp();
    assert!(
        policy
            .judge(vm.verify().unwrap().snp.as_ref().unwrap())
            .is_ok()
    );
}

#[test]
fn a_td_quote_of_another_vm_is_refused() {
    let (vm, mut other) = (Vm::tdx(), Vm::tdx());
    other.evidence.td_quote = vm.evidence.td_quote;
    other.evidence.td_collateral = vm.evidence.td_collateral;
    other.roots.tdx = vm.roots.tdx;
    assert!(matches!(
        other.refusal(),
        AzureError::RuntimeDataHash { .. }
    ));
}

#[test]
fn a_tdreport_that_its_quote_was_not_made_of_is_refused() {
    let mut vm = Vm::tdx();
    let spec = HclSpec::new(vm.modulus());
    let td = Spec {
        mr_td: [0x99; 48],
        ..vm.td.clone()
    };
    let (hcl, _) = hcl_tdx(&spec, &vm.intel, &td);
    vm.evidence.hcl_report = hcl;
    assert_eq!(
        vm.refusal(),
        AzureError::TdReportMismatch { field: "mr_td" }
    );
}

#[test]
fn a_tdreport_alone_proves_nothing() {
    let mut vm = Vm::tdx();
    vm.evidence.td_quote.clear();
    let error = vm.verify_for(&Binder::Unknown).unwrap_err();
    assert_eq!(error, AzureError::NoTdQuote);
    assert_eq!(error.crypto(), Crypto::Unknown);
}

#[test]
fn a_td_quote_without_collateral_is_undecided() {
    let mut vm = Vm::tdx();
    vm.evidence.td_collateral = None;
    assert!(matches!(
        vm.refusal(),
        AzureError::Tdx(TdxError::NoCollateral { .. })
    ));
}

#[test]
fn runtime_claims_need_exactly_one_rsa_attestation_key() {
    let count = |found| {
        AzureError::Runtime(RuntimeError::KeyCount {
            name: "HCLAkPub",
            found,
        })
    };
    let vm = Vm::snp_with(|spec| spec.claims["keys"][0]["kid"] = json!("HCLOther"));
    assert_eq!(vm.refusal(), count(0));
    let vm = Vm::snp_with(|spec| spec.claims["keys"][1]["kid"] = json!("HCLAkPub"));
    assert_eq!(vm.refusal(), count(2));
    for (field, value) in [
        ("kty", "EC"),
        ("n", "not base64url!"),
        ("n", ""),
        ("e", "AQABAQAB"),
    ] {
        let vm = Vm::snp_with(|spec| spec.claims["keys"][0][field] = json!(value));
        let error = vm.refusal();
        assert!(
            matches!(error, AzureError::Runtime(RuntimeError::Key { .. })),
            "{field} {value}: {error}"
        );
    }
    let vm = Vm::snp_with(|spec| spec.claims = json!(["no", "claims"]));
    assert!(matches!(
        vm.refusal(),
        AzureError::Runtime(RuntimeError::Json { .. })
    ));
}

#[test]
fn every_field_of_the_hcl_headers_is_judged() {
    /// Offset, value, and what must be found.
    type Case = (usize, u8, fn(&HclError) -> bool);
    let cases: [Case; 12] = [
        (0, b'h', |e| matches!(e, HclError::Magic { .. })),
        (4, 3, |e| {
            matches!(
                e,
                HclError::Version {
                    header: "header",
                    found: 3
                }
            )
        }),
        (8, 0, |e| {
            matches!(
                e,
                HclError::Size {
                    field: "report size",
                    ..
                }
            )
        }),
        (12, 1, |e| matches!(e, HclError::RequestType { found: 1 })),
        (16, 1, |e| {
            matches!(e, HclError::NotZero { field: "status" })
        }),
        (20, 1, |e| matches!(e, HclError::NotZero { .. })),
        (31, 1, |e| matches!(e, HclError::NotZero { .. })),
        (1216, 0, |e| {
            matches!(
                e,
                HclError::Size {
                    field: "runtime data size",
                    ..
                }
            )
        }),
        (1220, 3, |e| {
            matches!(
                e,
                HclError::Version {
                    header: "runtime data",
                    ..
                }
            )
        }),
        (1224, 3, |e| matches!(e, HclError::NotTee { found: 3 })),
        (1228, 0, |e| {
            matches!(e, HclError::HashAlgorithm { found: 0 })
        }),
        (2599, 1, |e| matches!(e, HclError::Trailing { .. })),
    ];
    let vm = Vm::snp();
    for (at, value, wanted) in cases {
        let mut bent = vm.clone();
        bent.evidence.hcl_report[at] = value;
        match bent.refusal() {
            AzureError::Hcl(error) => assert!(wanted(&error), "byte {at}: {error}"),
            other => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn a_tdreport_area_has_nothing_behind_the_report() {
    let mut vm = Vm::tdx();
    vm.evidence.hcl_report[32 + 1024] = 1;
    assert!(matches!(
        vm.refusal(),
        AzureError::Hcl(HclError::NotZero { .. })
    ));
}

#[test]
fn a_truncated_or_oversized_report_is_refused() {
    let vm = Vm::snp();
    let whole = vm.evidence.hcl_report.clone();
    for length in (0..1236).step_by(7).chain([1235, 1240]) {
        let mut bent = vm.clone();
        bent.evidence.hcl_report.truncate(length);
        assert!(matches!(
            bent.refusal(),
            AzureError::Hcl(HclError::Malformed(_))
        ));
    }
    let mut bent = vm.clone();
    bent.evidence.hcl_report = [whole, vec![0; 16 << 10]].concat();
    assert!(matches!(
        bent.refusal(),
        AzureError::Hcl(HclError::TooLarge { .. })
    ));
}

#[test]
fn the_attestation_keys_certificate_is_judged_where_a_root_is_configured() {
    let mut vm = Vm::snp();
    let ca = azure_common::Ca::new();
    vm.evidence.ak_certificate = [ca.issue(&vm.key, |_| {}), vec![0; 100]].concat();
    let claims = vm.verify().unwrap().tpm.unwrap();
    assert!(claims.attestation_key_certificate.is_none());
    assert!(claims.attestation_key_problem.unwrap().contains("no root"));

    vm.roots.tpm_ak = vec![ca.root()];
    let claims = vm.verify().unwrap().tpm.unwrap();
    let certificate = claims.attestation_key_certificate.unwrap();
    assert_eq!(certificate.subject, "CN=vm.ConfidentialVM.example");
    assert_eq!(certificate.trailing_bytes, 100);

    vm.roots.tpm_ak = vec![azure_common::Ca::new().root()];
    let error = vm.refusal();
    assert!(matches!(
        error,
        AzureError::AkCertificate(ChainError::NoTrustedPath { .. })
    ));
    assert_eq!(error.reason_class(), "chain_invalid");
}

#[test]
fn a_certificate_of_another_key_or_purpose_is_refused() {
    let (mut vm, other, ca) = (Vm::snp(), Vm::snp(), azure_common::Ca::new());
    vm.evidence.ak_certificate = ca.issue(&other.key, |_| {});
    assert_eq!(
        vm.refusal(),
        AzureError::AkCertificate(ChainError::OtherAttestationKey)
    );
    vm.roots.tpm_ak = vec![ca.root()];
    vm.evidence.ak_certificate = ca.issue(&vm.key, |params| params.extended_key_usages.clear());
    assert!(vm.verify().is_ok(), "no extended key usage is no refusal");
    vm.evidence.ak_certificate = ca.issue(&vm.key, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(matches!(
        vm.refusal(),
        AzureError::AkCertificate(ChainError::Purpose { .. })
    ));
    vm.evidence.ak_certificate = ca.issue(&vm.key, |params| {
        params.not_after = rcgen::date_time_ymd(2024, 1, 2);
    });
    let error = vm.refusal();
    assert!(matches!(
        error,
        AzureError::AkCertificate(ChainError::NotValidNow { .. })
    ));
    assert_eq!(
        (error.reason_class(), error.crypto()),
        ("certificate_expired", Crypto::Valid)
    );
}

#[test]
fn recorded_evidence_may_quote_fewer_pcrs_and_says_so() {
    let mut vm = Vm::snp();
    vm.quote_selection(&[0, 4]);
    vm.evidence.event_log.clear();
    let claims = vm
        .verify_for(&Binder::Value(EXCHANGE.qualifying_data().to_vec()))
        .unwrap();
    assert_eq!(claims.binding, Binding::Value);
    assert_eq!(claims.pcrs.keys().copied().collect::<Vec<_>>(), [0, 4]);
    let select = &claims.tpm.unwrap().pcr_select;
    assert_eq!(
        (select[0].bank.as_str(), select[0].pcrs.as_slice()),
        (Hash::Sha256.name(), &[0, 4][..])
    );
}

proptest::proptest! {
    #[test]
    fn parsers_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1400),
        bent in proptest::collection::vec((0usize..2600, proptest::prelude::any::<u8>()), 1..6),
        length in 0usize..2700,
    ) {
        let mut near = HclSpec::new(&[0xc5; 256]).around(HardwareKind::Snp, &[2; 1184]);
        for (at, value) in bent {
            near[at] = value;
        }
        near.truncate(length);
        for input in [&bytes, &near] {
            let _ = HclClaims::read(input);
            let _ = RuntimeClaims::parse(input).map(|claims| claims.attestation_key());
            let _ = TdReportBytes::parse(input);
        }
    }
}
