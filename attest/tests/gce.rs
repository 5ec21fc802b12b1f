//! Attestation keys that a cloud's CA vouches for, as on Compute Engine: with recorded evidence where it is at hand, and
//! with a mock CA for each way of being wrong.
#![cfg(feature = "verify")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod azure_common;
mod tdx_common;

use std::time::Duration;

use azure_common::{Ca, EXCHANGE, Vm};
use dawnkey_attest::{
    claims::{Claims, TrustClass},
    evidence::{Binder, Evidence, PcrBank, PcrValue, VtpmEvidence},
    fake::SoftTpm,
    tpm::{name, public::Public},
    verify::{
        Collateral, Crypto, Roots, UnixTime, VerifyError,
        chain::{ChainError, Leaf},
        roots::certificates_from_pem,
        verify,
        vtpm::VtpmError,
    },
};
use tdx_common::{Case, evidence_dir};

fn judge(
    evidence: &VtpmEvidence,
    binder: &Binder,
    roots: &Roots,
    now: UnixTime,
) -> Result<Claims, VtpmError> {
    let evidence = Evidence::Vtpm(Box::new(evidence.clone()));
    match verify(&evidence, binder, roots, &Collateral::default(), now) {
        Ok(verified) => Ok(verified.claims().clone()),
        Err(VerifyError::Vtpm(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

/// A vTPM whose attestation key is a primary key with a certificate, and no endorsement key beside it.
fn machine(ca: &Ca, signer_is_primary: bool) -> VtpmEvidence {
    let (tpm, log) = (SoftTpm::new(), Vm::log());
    let ak = Public::parse(&tpm.ak_public).unwrap();
    let mut parts = tpm.honest(&EXCHANGE, log.pcrs());
    if signer_is_primary {
        parts.signer = name::qualified_under_endorsement(ak.name_alg, &ak.name());
    }
    VtpmEvidence {
        ek_public: Vec::new(),
        ak_certificate: ca.issue(&ak.key, |_| ()),
        ..tpm.evidence(&parts, log.pcrs(), log.clone().build())
    }
}

fn trusting(ca: &Ca) -> Roots {
    Roots {
        tpm_ak: vec![ca.root()],
        ..Roots::default()
    }
}

fn refusal(evidence: &VtpmEvidence, roots: &Roots) -> VtpmError {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000));
    judge(evidence, &EXCHANGE.into(), roots, now).expect_err("accepted")
}

#[test]
fn a_certified_primary_key_needs_no_endorsement_key_and_stays_the_hypervisors() {
    let ca = Ca::new();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000));
    let claims = judge(&machine(&ca, true), &EXCHANGE.into(), &trusting(&ca), now).unwrap();
    assert_eq!(claims.trust_class, Some(TrustClass::Hypervisor));
    let tpm = claims.tpm.unwrap();
    assert!(tpm.attestation_key_certificate.is_some() && tpm.endorsement.is_none());
    assert!(claims.sources["tpm.attestation_key_certificate"].contains("no TEE report"));
}

#[test]
fn nobody_vouching_for_the_key_is_a_refusal_without_an_endorsement_key() {
    let ca = Ca::new();
    let error = refusal(&machine(&ca, true), &Roots::default());
    assert!(matches!(error, VtpmError::NotVouchedFor { .. }));
    assert_eq!(error.crypto(), Crypto::Unknown);
    assert!(matches!(
        refusal(&machine(&ca, true), &trusting(&Ca::new())),
        VtpmError::AkCertificate(ChainError::NoTrustedPath { .. })
    ));
    let mut bare = machine(&ca, true);
    bare.ak_certificate.clear();
    assert!(matches!(
        refusal(&bare, &trusting(&ca)),
        VtpmError::MalformedEndorsementKey(_)
    ));
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    let ca = Ca::new();
    let mut evidence = machine(&ca, true);
    evidence.ak_certificate = machine(&ca, true).ak_certificate;
    assert_eq!(
        refusal(&evidence, &trusting(&ca)),
        VtpmError::AkCertificate(ChainError::OtherAttestationKey)
    );
}

#[test]
fn a_signer_that_is_no_primary_key_is_refused() {
    let ca = Ca::new();
    assert!(matches!(
        refusal(&machine(&ca, false), &trusting(&ca)),
        VtpmError::QualifiedSigner { .. }
    ));
}

#[test]
fn a_certificate_that_may_not_sign_is_refused() {
    let ca = Ca::new();
    let mut evidence = machine(&ca, true);
    let key = Public::parse(&evidence.ak_public).unwrap().key;
    evidence.ak_certificate = ca.issue(&key, |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyEncipherment];
    });
    assert!(matches!(
        refusal(&evidence, &trusting(&ca)),
        VtpmError::AkCertificate(ChainError::Purpose { .. })
    ));
}

/// Every recorded quote of the SHA-256 bank that came with a certificate and log, as a node would send it.
#[test]
fn recorded_quotes_of_certified_keys_are_judged_by_their_certificate() {
    let Some(dir) = evidence_dir() else { return };
    let mut judged = 0;
    for case in Case::family(&dir, "tpm-quote") {
        let (Some(certificate), Some(log)) = (case.file("ak_cert"), case.file("event_log")) else {
            continue;
        };
        let pem = |role| certificates_from_pem(&case.file(role).unwrap()).unwrap();
        let pcrs: serde_json::Value = serde_json::from_slice(&case.file("pcrs").unwrap()).unwrap();
        let values = pcrs["sha256"].as_object().unwrap().iter();
        let evidence = VtpmEvidence {
            ak_public: case.file("ak_public").unwrap(),
            quote: case.file("quote_msg_sha256").unwrap(),
            signature: case.file("quote_sig_sha256").unwrap(),
            pcrs: vec![PcrBank {
                alg: 0x000b,
                values: values
                    .map(|(index, value)| PcrValue {
                        index: index.parse().unwrap(),
                        digest: hex::decode(value.as_str().unwrap()).unwrap(),
                    })
                    .collect(),
            }],
            event_log: log,
            ak_certificate: certificate,
            ak_chain: pem("ak_intermediate"),
            ..VtpmEvidence::default()
        };
        let roots = Roots {
            tpm_ak: pem("google_tpm_root"),
            ..Roots::default()
        };
        let nonce = case.json["policy"]["expected_nonce"].as_str();
        let binder = nonce.map_or(Binder::Unknown, |nonce| {
            Binder::Value(hex::decode(nonce).unwrap())
        });
        match judge(&evidence, &binder, &roots, case.now()) {
            Ok(claims) => {
                assert_eq!(case.expected("verdict"), "accept", "{}", case.id());
                let tpm = claims.tpm.unwrap();
                let certificate = tpm.attestation_key_certificate.unwrap();
                assert!(certificate.gce.is_some(), "{}", case.id());
            }
            Err(error) => {
                assert_eq!(
                    case.expected("reason"),
                    error.reason_class(),
                    "{}",
                    case.id()
                );
            }
        }
        judged += 1;
    }
    assert!(judged > 0);
}

#[test]
fn recorded_certificates_of_compute_engine_name_their_instance() {
    let Some(dir) = evidence_dir() else { return };
    let mut named = 0;
    for case in Case::family(&dir, "tpm-certs") {
        let bytes = case.file("cert").unwrap();
        let der = certificates_from_pem(&bytes).map_or(bytes, |mut list| list.remove(0));
        let Ok(leaf) = Leaf::read(&der) else { continue };
        let Some(instance) = leaf.gce else { continue };
        // Newer certificates have zone, project and instance number in the subject as well.
        if !leaf.subject.is_empty() {
            let subject = format!(
                "CN={},OU={},O=Google Compute Engine,L={}",
                instance.instance_id, instance.project_id, instance.zone
            );
            assert_eq!(leaf.subject, subject);
        }
        assert_eq!(instance.production, Some(true));
        assert!(instance.project_number > 0 && !instance.instance_name.is_empty());
        named += 1;
    }
    assert!(named > 0);
}
