//! Policy files and claims that meet them, for tests.
#![allow(clippy::unwrap_used)]

pub(crate) mod mock;

use super::{Policy, PolicyError};
use dawnkey_attest::claims::{Binding, Claims, Endorsement, TpmClaims, TrustClass};
use dawnkey_attest::snp::fake::Authority;
use mock::{amd, intel, pem};

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

/// A policy for bare TEE guests that the mocks' defaults meet.
pub(crate) fn tee_file() -> String {
    let (measurement, mr_td) = ("3d".repeat(48), "11".repeat(48));
    let [rtmr1, rtmr2] = ["21", "22"].map(|byte| byte.repeat(48));
    format!(
        r#"
version = 1
[roots]
amd = ["amd.pem"]
intel = ["intel.pem"]

[platform.milan.snp]
products = ["Milan"]
platform_info_required = ["alias_check_complete"]
[platform.milan.snp.tcb.Milan]
reported = {{ boot_loader = 4, tee = 1, snp = 24, microcode = 219 }}
committed = {{ snp = 24 }}
launch = {{ snp = 24 }}

[platform.xeon.tdx]
min_tcb_evaluation_data_number = 20

[[image]]
name = "node"
[image.snp]
measurement = "{measurement}"
[image.tdx]
mr_td = "{mr_td}"
rtmr1 = "{rtmr1}"
rtmr2 = "{rtmr2}"

[volume-policy.state]
trust_class = "tee"
images = ["node"]
platforms = ["milan", "xeon"]
rtmrs_pre_cap = [3]
rollback = "refuse"
"#
    )
}

/// Parses a policy that stands beside roots and an empty file.
pub(crate) fn parse(text: &str) -> Result<Policy, PolicyError> {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(scratch.path().join(name), text).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(vec![]).unwrap();
    write("ek-ca.pem", &ca.self_signed(&key).unwrap().pem());
    let mock = amd();
    write("ask.pem", &pem(mock.der(Authority::Ask)));
    let both = [Authority::Ark, Authority::Ask].map(|which| pem(mock.der(which)));
    write("amd.pem", &both.concat());
    write("intel.pem", &pem(intel().root_der()));
    write("empty.pem", "");
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
        azure: None,
        pcrs,
        events: Vec::new(),
        sources: Default::default(),
        part: None,
        tpm: Some(tpm(n)),
    }
}

fn tpm(n: u8) -> TpmClaims {
    TpmClaims {
        attestation_key_name: format!("000b{}", hex::encode([n; 32])),
        attestation_key_spki_sha256: hex::encode([n; 32]),
        endorsement: Some(Endorsement {
            subject: "CN=tpm".into(),
            issuer: "CN=ca".into(),
            ek_spki_sha256: hex::encode([n; 32]),
        }),
        endorsement_problem: None,
        attestation_key_certificate: None,
        attestation_key_problem: None,
        qualified_signer: String::new(),
        extra_data: String::new(),
        pcr_select: Vec::new(),
        pcr_digest: String::new(),
        signature_hash: "sha256".into(),
        clock: 1,
        reset_count: 1,
        restart_count: 0,
        safe: true,
        firmware_version: 1,
    }
}

/// Claims of a verified SNP report that meet [`tee_file`].
pub(crate) fn snp_claims() -> Claims {
    mock::snp_claims(|_| ())
}

/// Claims of a verified TD quote that meet [`tee_file`].
pub(crate) fn tdx_claims() -> Claims {
    mock::tdx_claims(|_| ())
}

/// Claims of a vTPM of instance `n` that an SNP guest's report vouches for.
pub(crate) fn azure_claims(n: u8) -> Claims {
    let mut claims = Claims {
        kind: "azure".into(),
        trust_class: Some(TrustClass::TeeVtpm),
        azure: Some(mock::hcl_claims()),
        snp: snp_claims().snp,
        ..claims(n)
    };
    if let Some(tpm) = &mut claims.tpm {
        tpm.attestation_key_name.clear();
        tpm.endorsement = None;
    }
    claims
}
