//! A TD, its platform and Intel's statements about that.

use super::super::page::{Row, set, unless_zero, validity};
use dawnkey_attest::tdx::quote::{TdReport, TdReport15};
use dawnkey_attest::tdx::{CollateralClaims, PlatformClaims, TcbClaims};
use jiff::Timestamp;

/// What the quote says of the TD.
pub(crate) fn td(td: &TdReport, td15: Option<&TdReport15>) -> Vec<Row> {
    let attributes = td.td_attributes;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = td.rtmr;
    let closed = match rtmr3.is_zero() {
        true => "all zero: nothing was extended".to_owned(),
        false => rtmr3.to_string(),
    };
    let mut rows = vec![
        ("MRTD", td.mr_td.to_string()),
        ("RTMR 0", rtmr0.to_string()),
        ("RTMR 1", rtmr1.to_string()),
        ("RTMR 2", rtmr2.to_string()),
        ("RTMR 3", closed),
        ("report data", td.report_data.to_string()),
        ("MRCONFIGID", unless_zero(&td.mr_config_id.to_string())),
        ("MROWNER", unless_zero(&td.mr_owner.to_string())),
        (
            "MROWNERCONFIG",
            unless_zero(&td.mr_owner_config.to_string()),
        ),
        ("attributes", attributes.0.to_string()),
    ];
    if attributes.under_debug() {
        rows.push((
            "  DEBUG",
            "the host can read and change the TD's memory".into(),
        ));
    }
    if attributes.migratable() {
        rows.push(("  MIGRATION", "a migration TD may move the TD".into()));
    }
    if !attributes.sept_ve_disable() {
        rows.push((
            "  #VE",
            "SEPT_VE_DISABLE is off: the host can raise #VE in the TD".into(),
        ));
    }
    rows.push((
        "  others",
        set(&[
            (attributes.sept_ve_disable(), "SEPT_VE_DISABLE"),
            (attributes.pks(), "PKS"),
            (attributes.kl(), "KL"),
            (attributes.perfmon(), "PERFMON"),
        ]),
    ));
    rows.push(("module TCB at launch", td.tee_tcb_svn.to_string()));
    rows.push(("module", td.mr_seam.to_string()));
    if let Some(td15) = td15 {
        rows.push(("module TCB now", td15.tee_tcb_svn2.to_string()));
        rows.push(("service TD", unless_zero(&td15.mr_service_td.to_string())));
    }
    rows
}

/// The platform, by its PCK certificate.
pub(crate) fn platform(platform: &PlatformClaims, now: Timestamp) -> Vec<Row> {
    let (from, until) = (platform.pck_not_before, platform.pck_not_after);
    vec![
        ("FMSPC", platform.fmspc.to_string()),
        ("PPID", platform.ppid.to_string()),
        ("CPUSVN", platform.cpu_svn.to_string()),
        (
            "PCE",
            format!("id {}, svn {}", platform.pce_id, platform.pce_svn),
        ),
        ("PCK issuer", platform.pck_issuer.clone()),
        (
            "PCK valid",
            validity(&from.to_string(), &until.to_string(), now),
        ),
    ]
}

/// Intel's verdict on the platform.
pub(crate) fn tcb(tcb: &TcbClaims) -> Vec<Row> {
    let advisories: Vec<&str> = tcb.advisories.iter().map(String::as_str).collect();
    let advised = match tcb.relaunch_advised {
        true => "the module was updated under the TD: launching it anew would bring it up to date",
        false => "",
    };
    vec![
        ("status", tcb.status.to_string()),
        ("platform at launch", tcb.platform_status.to_string()),
        (
            "platform now",
            tcb.current_status
                .map(|s| s.to_string())
                .unwrap_or_default(),
        ),
        ("quoting enclave", tcb.qe_status.to_string()),
        ("open advisories", advisories.join(", ")),
        ("levels of", tcb.tcb_date.to_string()),
        (
            "evaluation number",
            tcb.tcb_evaluation_data_number.to_string(),
        ),
        ("relaunch", advised.to_owned()),
    ]
}

/// How long Intel's statements hold.
pub(crate) fn collateral(collateral: &CollateralClaims, now: Timestamp) -> Vec<Row> {
    let (from, until) = (collateral.valid_from, collateral.valid_until);
    vec![(
        "valid",
        validity(&from.to_string(), &until.to_string(), now),
    )]
}
