//! TD quotes.

use dawnkey_attest::{
    evidence::{Evidence, TdxCollateral},
    tdx::{CheckedCollateral, PlatformClaims, Quote, TdxClaims},
};
use serde_json::{Map, Value, json};

use crate::input::Input;

/// The collateral that came with the evidence.
fn collateral(input: &Input) -> Option<&TdxCollateral> {
    match &input.evidence {
        Evidence::Tdx(evidence) => evidence.collateral.as_ref(),
        Evidence::Azure(evidence) => evidence.td_collateral.as_ref(),
        _ => None,
    }
}

fn quote(input: &Input) -> &[u8] {
    match &input.evidence {
        Evidence::Tdx(evidence) => &evidence.quote,
        Evidence::Azure(evidence) => &evidence.td_quote,
        _ => &[],
    }
}

pub(super) fn fields(input: &Input, claims: &TdxClaims) -> Map<String, Value> {
    let mut out = read(input, quote(input));
    for (name, value) in [
        ("tcb_status", json!(claims.tcb.status)),
        ("platform_tcb_status", json!(claims.tcb.platform_status)),
        ("qe_tcb_status", json!(claims.tcb.qe_status)),
        ("advisories", json!(claims.tcb.advisories)),
        ("collateral_valid_from", json!(claims.collateral.valid_from)),
        (
            "collateral_valid_until",
            json!(claims.collateral.valid_until),
        ),
    ] {
        out.insert(name.to_owned(), value);
    }
    out
}

/// What the bytes say, whether they verify or not.
pub(super) fn read(input: &Input, bytes: &[u8]) -> Map<String, Value> {
    let mut out = Map::new();
    if let Ok(quote) = Quote::parse(bytes) {
        out.insert("quote".to_owned(), quote_fields(bytes.len(), &quote));
    }
    let checked = collateral(input).map(|one| CheckedCollateral::check(one, &input.roots.tdx));
    if let Some(Ok(checked)) = checked {
        out.insert(
            "collateral_valid_from".to_owned(),
            json!(checked.valid_from()),
        );
        out.insert(
            "collateral_valid_until".to_owned(),
            json!(checked.valid_until()),
        );
    }
    out
}

fn quote_fields(length: usize, quote: &Quote<'_>) -> Value {
    let td = &quote.report;
    let attributes = td.td_attributes;
    let mut out = json!(td);
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &td.rtmr;
    for (name, value) in [
        ("version", json!(quote.version)),
        ("td_attributes", json!(attributes.0)),
        ("rtmr0", json!(rtmr0)),
        ("rtmr1", json!(rtmr1)),
        ("rtmr2", json!(rtmr2)),
        ("rtmr3", json!(rtmr3)),
        ("attestation_key_type", json!(quote.attestation_key_type)),
        ("body_type", json!(quote.body_type)),
        ("quote_length", json!(length)),
        ("qe_isvsvn", json!(quote.signature.qe_report.isv_svn)),
    ] {
        out[name] = value;
    }
    out["attributes"] = json!({
        "debug": attributes.debug(),
        "sept_ve_disable": attributes.sept_ve_disable(),
        "migratable": attributes.migratable(),
        "pks": attributes.pks(),
        "kl": attributes.kl(),
        "perfmon": attributes.perfmon(),
    });
    if let Some(report) = &quote.report15 {
        out["tee_tcb_svn2"] = json!(report.tee_tcb_svn2);
        out["mr_service_td"] = json!(report.mr_service_td);
    }
    if let Ok(platform) = PlatformClaims::read(quote) {
        for (name, value) in [
            ("fmspc", json!(platform.fmspc)),
            ("pceid", json!(platform.pce_id)),
            ("pcesvn", json!(platform.pce_svn)),
            ("cpusvn", json!(platform.cpu_svn)),
            ("sgx_tcb_comp_svn", json!(platform.components)),
            ("pck_serial", json!(serial(&platform.pck_serial))),
            ("pck_not_before", json!(platform.pck_not_before)),
            ("pck_not_after", json!(platform.pck_not_after)),
        ] {
            out[name] = value;
        }
    }
    out
}

/// A serial number as `0x10001`.
pub(super) fn serial(hex: &str) -> String {
    match hex.trim_start_matches('0') {
        "" => "0x0".to_owned(),
        digits => format!("0x{digits}"),
    }
}
