//! An SNP report and the certificate of the key that signed it.

use super::super::page::{Row, set, unless_zero, validity};
use dawnkey_attest::snp::claims::{ReportClaims, VekClaims};
use dawnkey_attest::snp::tcb::Tcb;
use jiff::Timestamp;

/// The report's fields.
pub(crate) fn report(report: &ReportClaims) -> Vec<Row> {
    let asked = match report.vmpl {
        level @ 0..=3 => format!(
            "{level}{}",
            if level == 0 {
                ""
            } else {
                ": NOT the most privileged"
            }
        ),
        level => format!("{level:#x}: ASKED FOR BY THE HOST"),
    };
    let author = match report.author_key_en {
        true => report.author_key_digest.to_string(),
        false => String::new(),
    };
    let mut rows = vec![
        ("report version", report.version.to_string()),
        ("measurement", report.measurement.to_string()),
        ("report data", report.report_data.to_string()),
        ("host data", unless_zero(&report.host_data.to_string())),
        ("id key", unless_zero(&report.id_key_digest.to_string())),
        ("author key", author),
        ("family id", unless_zero(&report.family_id.to_string())),
        ("image id", unless_zero(&report.image_id.to_string())),
        ("guest svn", report.guest_svn.to_string()),
        ("privilege level", asked),
        ("report id", report.report_id.to_string()),
    ];
    rows.extend(guest_policy(report));
    rows.extend(platform(report));
    rows
}

fn guest_policy(report: &ReportClaims) -> Vec<Row> {
    let flags = &report.policy_flags;
    let mut rows = vec![("guest policy", report.policy.to_string())];
    if flags.debug {
        rows.push((
            "  DEBUG",
            "the host can read and change the guest's memory".into(),
        ));
    }
    if flags.migrate_ma {
        rows.push(("  MIGRATION", "a migration agent may move the guest".into()));
    }
    let words = set(&[
        (flags.smt, "SMT allowed"),
        (flags.single_socket, "single socket"),
        (flags.cxl_allow, "CXL allowed"),
        (flags.mem_aes_256_xts, "AES-256-XTS memory"),
        (flags.rapl_dis, "RAPL off"),
        (flags.ciphertext_hiding, "ciphertext hiding"),
        (flags.page_swap_disable, "no page swap"),
    ]);
    rows.push(("  asks for", words));
    rows
}

fn platform(report: &ReportClaims) -> Vec<Row> {
    let flags = &report.platform_flags;
    let words = set(&[
        (flags.smt_enabled, "SMT on"),
        (flags.tsme_enabled, "TSME on"),
        (flags.ecc_enabled, "ECC"),
        (flags.rapl_disabled, "RAPL off"),
        (flags.ciphertext_hiding, "ciphertext hiding"),
        (flags.alias_check_complete, "no aliased memory found"),
        (flags.tio_enabled, "trusted I/O"),
    ]);
    let chip = match report.chip_id.is_zero() {
        true => "hidden by the host".to_owned(),
        false => report.chip_id.to_string(),
    };
    let cpu = report.cpuid.as_ref().map(|cpu| {
        format!(
            "family {}, model {}, stepping {}",
            cpu.family, cpu.model, cpu.stepping
        )
    });
    let firmware = match report.current_version == report.committed_version {
        true => format!("{}, committed", report.current_version),
        false => format!(
            "{} runs, {} is committed: it can be ROLLED BACK",
            report.current_version, report.committed_version
        ),
    };
    let mut rows = vec![
        ("signed by", report.signing_key.clone()),
        ("chip", chip),
        ("CPU", cpu.unwrap_or_default()),
        ("platform", words),
        ("firmware", firmware),
        ("TCB reported", components(&report.reported_tcb)),
        ("TCB committed", components(&report.committed_tcb)),
        ("TCB current", components(&report.current_tcb)),
        ("TCB at launch", components(&report.launch_tcb)),
    ];
    for (name, vector) in [
        ("mitigations at launch", report.launch_mit_vector),
        ("mitigations now", report.current_mit_vector),
    ] {
        rows.extend(vector.map(|bits| (name, format!("{bits:#x}"))));
    }
    rows.extend(report.reserved_not_zero.map(|at| {
        (
            "RESERVED BITS",
            format!("set at {at:#x}: their meaning is not known here"),
        )
    }));
    rows
}

fn components(tcb: &Tcb) -> String {
    let fmc = tcb
        .fmc
        .map(|fmc| format!("FMC {fmc}, "))
        .unwrap_or_default();
    format!(
        "{fmc}boot loader {}, TEE {}, SNP {}, microcode {} ({})",
        tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode, tcb.raw
    )
}

/// The endorsement certificate.
pub(crate) fn vek(vek: &VekClaims, now: Timestamp) -> Vec<Row> {
    vec![
        ("kind", vek.kind.name().to_owned()),
        ("product", vek.product.clone()),
        ("valid", validity(&vek.not_before, &vek.not_after, now)),
        ("chip", vek.hwid.clone().unwrap_or_default()),
        ("provider", vek.csp_id.clone().unwrap_or_default()),
    ]
}
