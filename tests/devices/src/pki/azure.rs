//! A TPM as Azure's paravisor leaves it: an attestation key at a known handle, and in NV the hardware report that
//! vouches for the key.

use std::path::Path;

use dawnkey_attest::azure::fake::{HclSpec, hcl_snp};
use dawnkey_attest::collect::azure::AK_HANDLE;
use dawnkey_attest::collect::detect::HCL_REPORT;
use dawnkey_attest::fake::{EkKind, Provisioner};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::fake::{MockVek, ReportSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::VekKind;

use crate::error::DeviceError;
use crate::material::Material;

/// The largest NV index of a software TPM; Azure's has 2600 bytes, many of them zeros.
const NV_MOST: usize = 2048;

/// Puts key and report into the TPM that `tcti` names. `platform` is the file of an SNP platform.
///
/// # Errors
/// [`DeviceError::Platform`] for another platform's file.
pub fn provision(platform: &Path, tcti: &str) -> Result<(), DeviceError> {
    let vek = vek(platform)?;
    let mut tpm = Provisioner::at(tcti);
    let key = tpm.persist(EkKind::Rsa, AK_HANDLE);
    let report = ReportSpec::new(&Product::Milan, VekKind::Vcek);
    let mut spec = HclSpec::for_key(&key.key);
    spec.padded_to = NV_MOST;
    let keys = spec.claims.get_mut("keys");
    if let Some(keys) = keys.and_then(serde_json::Value::as_array_mut) {
        // Without the endorsement key, which nobody asks for, it fits.
        keys.truncate(1);
    }
    let content = hcl_snp(&spec, &vek, report);
    tpm.write_nv(HCL_REPORT, &content);
    Ok(())
}

fn vek(platform: &Path) -> Result<MockVek, DeviceError> {
    let unusable = |problem: &str| DeviceError::Material {
        path: platform.display().to_string(),
        problem: problem.to_owned(),
    };
    let (key, certificates) = match Material::read(platform)? {
        Material::Snp {
            key, certificates, ..
        } => (key, certificates),
        other => {
            return Err(DeviceError::Platform {
                wanted: "SEV-SNP",
                found: other.platform(),
            });
        }
    };
    let table = CertificateTable::parse(&certificates).map_err(|e| unusable(&e.to_string()))?;
    Ok(MockVek {
        der: table.vcek.ok_or_else(|| unusable("no VCEK"))?,
        pkcs8: key,
    })
}
