//! An SNP report as the JSON that virtee's `sev` crate makes of its structure, versions 5 to 8: names of fields in its
//! order, bytes as lists of numbers, numbers of newtypes bare.

use serde_json::{Map, Value, json};

use super::FormError;
use crate::snp::auxblob::CertificateTable;
use crate::snp::report::{FirmwareVersion, Report};
use crate::snp::tcb::Tcb;

/// `attestation_report`.
pub(super) fn report(bytes: &[u8]) -> Result<Value, FormError> {
    let report = Report::parse(bytes)?;
    let layout = report.tcb_layout();
    let versions = report.tcbs(layout);
    let (r, s) = report.scalars();
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("version", report.version.into());
    put("guest_svn", report.guest_svn.into());
    put("policy", report.policy.0.into());
    put("family_id", list(&report.family_id));
    put("image_id", list(&report.image_id));
    put("vmpl", report.vmpl.into());
    put("sig_algo", report.signature_algo.into());
    put("current_tcb", tcb(&versions.current));
    put("plat_info", report.platform_info.0.into());
    put("key_info", report.key_info.into());
    put("report_data", list(&report.report_data));
    put("measurement", list(&report.measurement));
    put("host_data", list(&report.host_data));
    put("id_key_digest", list(&report.id_key_digest));
    put("author_key_digest", list(&report.author_key_digest));
    put("report_id", list(&report.report_id));
    put("report_id_ma", list(&report.report_id_ma));
    put("reported_tcb", tcb(&versions.reported));
    put("cpuid_fam_id", report.cpuid.map(|it| it.family).into());
    put("cpuid_mod_id", report.cpuid.map(|it| it.model).into());
    put("cpuid_step", report.cpuid.map(|it| it.stepping).into());
    put("chip_id", list(&report.chip_id));
    put("committed_tcb", tcb(&versions.committed));
    put("current", firmware(report.current_version));
    put("committed", firmware(report.committed_version));
    put("launch_tcb", tcb(&versions.launch));
    put("launch_mit_vector", report.launch_mit_vector.into());
    put("current_mit_vector", report.current_mit_vector.into());
    put("signature", json!({"r": list(&r), "s": list(&s)}));
    Ok(Value::Object(object))
}

/// `cert_chain`: `null` where the host gave none, so that Trustee fetches them itself.
pub(super) fn certificates(table: &[u8]) -> Result<Value, FormError> {
    let table = CertificateTable::parse(table)?;
    let entry = |kind: &str, data: &[u8]| json!({"cert_type": kind, "data": list(data)});
    let mut chain = Vec::new();
    for (kind, data) in [("VCEK", &table.vcek), ("VLEK", &table.vlek)] {
        chain.extend(data.iter().map(|data| entry(kind, data)));
    }
    chain.extend(table.intermediates.iter().map(|data| entry("ASK", data)));
    chain.extend(table.ark.iter().map(|data| entry("ARK", data)));
    Ok(match chain.is_empty() {
        true => Value::Null,
        false => Value::Array(chain),
    })
}

fn list(bytes: &[u8]) -> Value {
    bytes.iter().copied().collect()
}

fn tcb(tcb: &Tcb) -> Value {
    json!({
        "fmc": tcb.fmc,
        "bootloader": tcb.boot_loader,
        "tee": tcb.tee,
        "snp": tcb.snp,
        "microcode": tcb.microcode,
    })
}

fn firmware(version: FirmwareVersion) -> Value {
    json!({"major": version.major, "minor": version.minor, "build": version.build})
}
