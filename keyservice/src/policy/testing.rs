//! A policy file and claims that meet it, for tests.
#![allow(clippy::unwrap_used)]

use super::{Policy, PolicyError};
use dawnkey_attest::claims::{Binding, Claims, Endorsement, TpmClaims, TrustClass};

pub(crate) const FILE: &str = r#"
version = 1
[roots]
tpm_ek = ["ek-ca.pem"]

[[image]]
name = "node-2026-11"
valid_until = "2027-11-01T00:00:00Z"
[image.pcrs.sha256]
4 = "4444444444444444444444444444444444444444444444444444444444444444"
11 = "1111111111111111111111111111111111111111111111111111111111111111"
12 = "0000000000000000000000000000000000000000000000000000000000000000"

[volume-policy.state]
trust_class = "hypervisor"
images = ["node-2026-11"]
pcrs_pre_cap = [15]
enrol = "endorsed"
rollback = "refuse"
instances = []
"#;

/// Parses a policy that stands beside a root and an empty file.
pub(crate) fn parse(text: &str) -> Result<Policy, PolicyError> {
    let scratch = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(vec![]).unwrap();
    let pem = ca.self_signed(&key).unwrap().pem();
    std::fs::write(scratch.path().join("ek-ca.pem"), pem).unwrap();
    std::fs::write(scratch.path().join("empty.pem"), "").unwrap();
    Policy::parse(&scratch.path().join("policy.toml"), text)
}

/// Claims of instance `n` that meet [`FILE`].
pub(crate) fn claims(n: u8) -> Claims {
    let mut pcrs: std::collections::BTreeMap<u8, Vec<u8>> =
        (0..24).map(|pcr| (pcr, vec![0; 32])).collect();
    pcrs.insert(4, vec![0x44; 32]);
    pcrs.insert(11, vec![0x11; 32]);
    Claims {
        kind: "vtpm".into(),
        trust_class: Some(TrustClass::Hypervisor),
        binding: Binding::Exchange,
        snp: None,
        tdx: None,
        pcrs,
        events: Vec::new(),
        sources: Default::default(),
        tpm: Some(TpmClaims {
            attestation_key_name: format!("000b{}", hex::encode([n; 32])),
            attestation_key_spki_sha256: hex::encode([n; 32]),
            endorsement: Some(Endorsement {
                subject: "CN=tpm".into(),
                issuer: "CN=ca".into(),
                ek_spki_sha256: hex::encode([n; 32]),
            }),
            endorsement_problem: None,
            clock: 1,
            reset_count: 1,
            restart_count: 0,
            safe: true,
            firmware_version: 1,
        }),
    }
}
