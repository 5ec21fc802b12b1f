//! What Azure's paravisor says.

use super::super::page::Row;
use dawnkey_attest::azure::HclClaims;

/// The HCL report.
pub(crate) fn hcl(hcl: &HclClaims) -> Vec<Row> {
    let word = |on: Option<bool>| match on {
        Some(true) => "on".to_owned(),
        Some(false) => "OFF".to_owned(),
        None => "not said".to_owned(),
    };
    vec![
        ("vouched for by", format!("{:?}", hcl.hw_report)),
        ("VM", hcl.vm_unique_id().unwrap_or_default().to_owned()),
        ("secure boot", word(hcl.secure_boot())),
        ("keys", hcl.key_ids.join(", ")),
        ("claims' SHA-256", hcl.runtime_data_sha256.clone()),
    ]
}
