//! A key service's policy for volumes of the good platforms.

use dawnkey_attest::snp::fake::ReportSpec;
use dawnkey_attest::snp::vek::VekKind;

use super::Makers;

/// The policy's text. It stands beside the roots.
pub(super) fn text(makers: &Makers) -> String {
    let report = ReportSpec::new(makers.amd.product(), VekKind::Vcek);
    let [rtmr0, rtmr1, rtmr2, _] = makers.spec.rtmr.map(hex::encode);
    format!(
        r#"version = 1

[roots]
amd = ["amd-root.pem"]
intel = ["intel-root.pem"]

[[image]]
name = "test-guest"

[image.snp]
measurement = "{measurement}"

[image.tdx]
mr_td = "{mr_td}"
rtmr0 = "{rtmr0}"
rtmr1 = "{rtmr1}"
rtmr2 = "{rtmr2}"

[platform.milan.snp]
products = ["Milan"]
tcb.Milan.reported = {{ boot_loader = 4, tee = 1, snp = 24, microcode = 219 }}
tcb.Milan.launch = {{ snp = 24, microcode = 219 }}

[platform.xeon.tdx]
min_tcb_evaluation_data_number = {evaluation}

[volume-policy.state]
trust_class = "tee"
images = ["test-guest"]
platforms = ["milan", "xeon"]
rtmrs_pre_cap = [3]
rollback = "refuse"
"#,
        measurement = hex::encode(report.measurement),
        evaluation = makers.spec.evaluation_number,
        mr_td = hex::encode(makers.spec.mr_td),
    )
}
