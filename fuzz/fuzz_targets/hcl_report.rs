//! An Azure HCL report, its runtime claims and TDREPORT: parsing is total, and what parses is bound to its own bytes.
#![no_main]

use dawnkey_attest::{
    azure::{
        HclClaims, HclReport,
        hcl::{HardwareKind, MAX_LEN},
        runtime::RuntimeClaims,
        td_report::TdReportBytes,
    },
    snp::report::Report,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Claims and TDREPORT by themselves too: a fuzzer finds neither behind the sizes of the whole.
    if let Ok(claims) = RuntimeClaims::parse(bytes) {
        let _ = (claims.key_ids(), claims.attestation_key());
    }
    let _ = TdReportBytes::parse(bytes);
    let Ok(hcl) = HclReport::parse(bytes) else {
        assert!(HclClaims::read(bytes).is_err());
        return;
    };
    assert!(bytes.len() <= MAX_LEN && hcl.hardware.len() + hcl.runtime_claims.len() < bytes.len());
    let _ = hcl.expected_report_data();
    match hcl.kind {
        HardwareKind::Snp => drop(Report::parse(hcl.hardware)),
        HardwareKind::Tdx => drop(TdReportBytes::parse(hcl.hardware)),
    }
    let _ = HclClaims::read(bytes);
});
