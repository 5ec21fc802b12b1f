//! HCL reports over the mock PKIs of [`crate::snp::fake`] and [`crate::tdx::fake`], for any attestation key.
//!
//! [`hcl_snp`] and [`hcl_tdx`] make what a paravisor leaves in NV index 0x01400001; given the public part of a key
//! that a software TPM really holds, that TPM with this NV content is an Azure vTPM to the collector and, with the
//! mock's root as the trusted one, to the verifier. No release build contains this module; it panics on failure, for
//! a test cannot go on without its fixture.
//!
//! ```text
//! let amd = MockAmd::new(Product::Milan);
//! let vek = amd.issue(&VekSpec::new(VekKind::Vcek, amd.product()));
//! let report = ReportSpec::new(amd.product(), VekKind::Vcek);
//! let nv = hcl_snp(&HclSpec::new(ak_modulus), &vek, report); // 2600 bytes, for NV index 0x01400001
//! ```
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::hcl::{
    self, HARDWARE_LEN, HEADER_LEN, HardwareKind, HashKind, REQUEST_AK_CERTIFICATE,
    RUNTIME_HEADER_LEN, TD_REPORT_LEN,
};
use crate::{
    snp::fake::{MockVek, ReportSpec},
    tdx::{
        Quote,
        fake::{MockIntel, Spec},
    },
    tpm::public::Key,
};

/// Bytes of the NV index.
pub const NV_LEN: usize = 2600;

/// What makes an HCL report. The default is what VMs have; fields are public to be bent by tests.
#[derive(Debug, Clone)]
pub struct HclSpec {
    /// Version of the header.
    pub header_version: u32,
    /// Version of the runtime data header; from 2 on it has an extension.
    pub runtime_version: u32,
    /// Request type.
    pub request_type: u32,
    /// Algorithm that hashes the runtime claims.
    pub hash: HashKind,
    /// The runtime claims.
    pub claims: Value,
    /// Size to fill up to with zeros.
    pub padded_to: usize,
}

impl HclSpec {
    /// A report that names an RSA attestation key by its modulus, big-endian; the exponent is 65537.
    #[must_use]
    pub fn new(ak_modulus: &[u8]) -> Self {
        let endorsement = [&[0xb5][..], &[0x5a; 255]].concat();
        Self {
            header_version: 2,
            runtime_version: 1,
            request_type: REQUEST_AK_CERTIFICATE,
            hash: HashKind::Sha256,
            claims: json!({
                "keys": [
                    jwk("HCLAkPub", "sign", ak_modulus),
                    jwk("HCLEkPub", "encrypt", &endorsement),
                ],
                "vm-configuration": {
                    "root-cert-thumbprint": "",
                    "console-enabled": true,
                    "secure-boot": true,
                    "tpm-enabled": true,
                    "tpm-persisted": true,
                    "vmUniqueId": "6f1c0f0e-0000-4000-8000-0da35ca1e000",
                },
                "user-data": "00".repeat(64),
            }),
            padded_to: NV_LEN,
        }
    }

    /// As [`Self::new`], for a parsed key.
    #[must_use]
    pub fn for_key(key: &Key) -> Self {
        match key {
            Key::Rsa { modulus, .. } => Self::new(modulus),
            Key::Ecc { .. } => panic!("a paravisor's attestation key is RSA"),
        }
    }

    /// The runtime claims as they are hashed.
    #[must_use]
    pub fn runtime_claims(&self) -> Vec<u8> {
        self.claims.to_string().into_bytes()
    }

    /// Report data of the hardware report: the hash of the runtime claims, then zeros.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        hcl::report_data(self.hash, &self.runtime_claims())
    }

    /// The report around a hardware report, whatever that is.
    #[must_use]
    pub fn around(&self, kind: HardwareKind, hardware: &[u8]) -> Vec<u8> {
        let claims = self.runtime_claims();
        let extension: &[u8] = if self.runtime_version >= 2 {
            &[0; 4]
        } else {
            &[]
        };
        let data_size = RUNTIME_HEADER_LEN + extension.len() + claims.len();
        let mut out = hcl::MAGIC.to_vec();
        let report_size = HEADER_LEN + HARDWARE_LEN + data_size;
        put(
            &mut out,
            &[self.header_version, length(report_size), self.request_type],
        );
        out.resize(HEADER_LEN, 0);
        out.extend(hardware);
        out.resize(HEADER_LEN + HARDWARE_LEN, 0);
        let (version, hash) = (self.runtime_version, self.hash.id());
        put(
            &mut out,
            &[
                length(data_size),
                version,
                kind.id(),
                hash,
                length(claims.len()),
            ],
        );
        out.extend(extension);
        out.extend(claims);
        out.resize(out.len().max(self.padded_to), 0);
        out
    }
}

/// An HCL report over an SNP report of `report`, whose report data is set, signed by `vek`.
#[must_use]
pub fn hcl_snp(spec: &HclSpec, vek: &MockVek, mut report: ReportSpec) -> Vec<u8> {
    report.report_data = spec.report_data();
    spec.around(HardwareKind::Snp, &report.sign(vek))
}

/// An HCL report over a TDREPORT of `td`, whose report data is set, and the TD quote that the instance metadata
/// service would make of it. Collateral: [`MockIntel::collateral`] of the same `td`.
#[must_use]
pub fn hcl_tdx(spec: &HclSpec, intel: &MockIntel, td: &Spec) -> (Vec<u8>, Vec<u8>) {
    let mut td = td.clone();
    td.report_data = spec.report_data();
    let quote = intel.quote(&td);
    let report = td_report(&Quote::parse(&quote).expect("the mock's quote is one"));
    (spec.around(HardwareKind::Tdx, &report), quote)
}

/// The TDREPORT that a quote was made of; its MAC, which only the machine could check, is zero.
#[must_use]
pub fn td_report(quote: &Quote<'_>) -> Vec<u8> {
    let td = &quote.report;
    let mut out = vec![0x81];
    out.resize(128, 0);
    out.extend(td.report_data.0);
    out.resize(256, 0);
    out.extend([0xff, 0x01, 0, 0, 0, 0, 0, 0]);
    out.extend(td.tee_tcb_svn.0);
    out.extend(td.mr_seam.0);
    out.extend(td.mr_signer_seam.0);
    out.extend(td.seam_attributes.0);
    out.resize(512, 0);
    out.extend(td.td_attributes.0.0);
    out.extend(td.xfam.0);
    for measurement in [
        &td.mr_td,
        &td.mr_config_id,
        &td.mr_owner,
        &td.mr_owner_config,
    ] {
        out.extend(measurement.0);
    }
    td.rtmr.iter().for_each(|rtmr| out.extend(rtmr.0));
    out.resize(TD_REPORT_LEN, 0);
    out
}

fn jwk(kid: &str, operation: &str, modulus: &[u8]) -> Value {
    let n = BASE64_URL_SAFE_NO_PAD.encode(modulus);
    json!({ "kid": kid, "key_ops": [operation], "kty": "RSA", "e": "AQAB", "n": n })
}

fn put(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers
        .iter()
        .for_each(|number| out.extend(number.to_le_bytes()));
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a short report")
}
