//! Judges every recorded TD quote and TD event log, and compares every recorded field.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

mod tdx_common;

use dawnkey_attest::tdx::{
    CheckedCollateral, PlatformClaims, Quote, TdxClaims, ccel::RtmrLog, verify,
};
use dawnkey_attest::verify::Crypto;
use serde_json::{Value, json};
use tdx_common::{Case, evidence_dir};

/// Verdict, reason and crypto status of a case, and the claims where it was verified.
fn judge(case: &Case) -> (&'static str, &'static str, Crypto, Option<TdxClaims>) {
    let quote = case.file("quote").expect("a quote");
    match verify(
        &quote,
        case.collateral().as_ref(),
        &case.roots(),
        case.now(),
    ) {
        Ok(verified) => {
            let refusals = case.policy().judge(verified.claims(), case.time());
            let (verdict, reason) = match refusals.first() {
                Some(refusal) => ("reject", refusal.reason_class()),
                None => ("accept", "ok"),
            };
            (verdict, reason, Crypto::Valid, Some(verified.into_claims()))
        }
        Err(error) => {
            let verdict = if error.is_indeterminate() {
                "indeterminate"
            } else {
                "reject"
            };
            (verdict, error.reason_class(), error.crypto(), None)
        }
    }
}

/// The recorded `quote` object, made of what we parsed.
fn quote_fields(bytes: &[u8], quote: &Quote<'_>, platform: Option<&PlatformClaims>) -> Value {
    let td = &quote.report;
    let attributes = td.td_attributes;
    let mut fields = json!({
        "version": quote.version,
        "tee_tcb_svn": td.tee_tcb_svn,
        "mr_seam": td.mr_seam,
        "mr_signer_seam": td.mr_signer_seam,
        "seam_attributes": td.seam_attributes,
        "td_attributes": attributes.0,
        "xfam": td.xfam,
        "mr_td": td.mr_td,
        "mr_config_id": td.mr_config_id,
        "mr_owner": td.mr_owner,
        "mr_owner_config": td.mr_owner_config,
        "rtmr0": td.rtmr[0],
        "rtmr1": td.rtmr[1],
        "rtmr2": td.rtmr[2],
        "rtmr3": td.rtmr[3],
        "report_data": td.report_data,
        "attestation_key_type": quote.attestation_key_type,
        "body_type": quote.body_type,
        "quote_length": bytes.len(),
        "attributes": {
            "debug": attributes.debug(),
            "sept_ve_disable": attributes.sept_ve_disable(),
            "migratable": attributes.migratable(),
            "pks": attributes.pks(),
            "kl": attributes.kl(),
            "perfmon": attributes.perfmon(),
        },
        "qe_isvsvn": quote.signature.qe_report.isv_svn,
    });
    let map = fields.as_object_mut().expect("an object");
    if let Some(report) = &quote.report15 {
        map.insert("tee_tcb_svn2".into(), json!(report.tee_tcb_svn2));
        map.insert("mr_service_td".into(), json!(report.mr_service_td));
    }
    if let Some(platform) = platform {
        map.insert("fmspc".into(), json!(platform.fmspc));
        map.insert("pceid".into(), json!(platform.pce_id));
        map.insert("pcesvn".into(), json!(platform.pce_svn));
        map.insert("cpusvn".into(), json!(platform.cpu_svn));
        map.insert("sgx_tcb_comp_svn".into(), json!(platform.components));
        map.insert(
            "pck_serial".into(),
            json!(format!("0x{}", platform.pck_serial.trim_start_matches('0'))),
        );
        map.insert("pck_not_before".into(), json!(platform.pck_not_before));
        map.insert("pck_not_after".into(), json!(platform.pck_not_after));
    }
    fields
}

/// Everything `decoded` may hold for a quote.
fn decoded(case: &Case, claims: Option<&TdxClaims>) -> Value {
    let bytes = case.file("quote").expect("a quote");
    let mut out = json!({});
    let map = out.as_object_mut().expect("an object");
    if let Ok(quote) = Quote::parse(&bytes) {
        let platform = PlatformClaims::read(&quote).ok();
        map.insert(
            "quote".into(),
            quote_fields(&bytes, &quote, platform.as_ref()),
        );
    }
    if let Some(checked) = case
        .collateral()
        .and_then(|it| CheckedCollateral::check(&it, &case.roots()).ok())
    {
        map.insert("collateral_valid_from".into(), json!(checked.valid_from()));
        map.insert(
            "collateral_valid_until".into(),
            json!(checked.valid_until()),
        );
    }
    if let Some(claims) = claims {
        map.insert("tcb_status".into(), json!(claims.tcb.status));
        map.insert(
            "platform_tcb_status".into(),
            json!(claims.tcb.platform_status),
        );
        map.insert("qe_tcb_status".into(), json!(claims.tcb.qe_status));
        map.insert("advisories".into(), json!(claims.tcb.advisories));
    }
    out
}

/// Every field of `wanted` is in `found` with the same value.
fn compare(path: &str, wanted: &Value, found: &Value, problems: &mut Vec<String>) {
    match wanted.as_object() {
        Some(fields) => {
            for (key, wanted) in fields {
                compare(&format!("{path}.{key}"), wanted, &found[key], problems);
            }
        }
        None if wanted != found => problems.push(format!("{path}: found {found}, wanted {wanted}")),
        None => {}
    }
}

#[test]
fn judges_every_recorded_quote_as_recorded() {
    let Some(dir) = evidence_dir() else { return };
    let cases = Case::family(&dir, "tdx");
    assert!(!cases.is_empty());
    let mut problems = Vec::new();
    for case in &cases {
        let (verdict, reason, crypto, claims) = judge(case);
        let mut wanted = case.decoded().clone();
        // What the recorder's own tool said; not a field of the evidence.
        wanted
            .as_object_mut()
            .map(|fields| fields.remove("reference_failures"));
        let mut found = Vec::new();
        for (field, value) in [
            ("verdict", verdict),
            ("reason", reason),
            ("crypto", crypto.name()),
        ] {
            compare(
                field,
                &json!(case.expected(field)),
                &json!(value),
                &mut found,
            );
        }
        compare(
            "decoded",
            &wanted,
            &decoded(case, claims.as_ref()),
            &mut found,
        );
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("{}: {problem}", case.id())),
        );
    }
    assert!(
        problems.is_empty(),
        "{} cases:\n{}",
        cases.len(),
        problems.join("\n")
    );
}

#[test]
fn judges_every_recorded_event_log_as_recorded() {
    let Some(dir) = evidence_dir() else { return };
    let cases = Case::family(&dir, "tdx-eventlog");
    assert!(!cases.is_empty());
    let mut problems = Vec::new();
    for case in &cases {
        let log = RtmrLog::parse(&case.file("event_log").expect("a log")).unwrap_or_else(|error| {
            panic!("{}: {error}", case.id());
        });
        let quote_bytes = case.file("quote");
        let quote = quote_bytes
            .as_ref()
            .map(|bytes| Quote::parse(bytes).expect("a quote"));
        let rtmrs = |values: &[_; 4]| json!({"rtmr0": values[0], "rtmr1": values[1], "rtmr2": values[2], "rtmr3": values[3]});
        let padding = log
            .padding
            .map(|(at, byte)| format!("{byte:02x} padding at {at}"));
        let mut fields = json!({
            "event_count": log.event_count,
            "parsed_bytes": log.parsed_bytes,
            "padding": padding,
            "replayed_rtmrs": rtmrs(&log.rtmr),
        });
        let mut outcome = ("accept", "ok");
        if let Some(quote) = &quote {
            let quoted = &quote.report.rtmr;
            let same: Vec<_> = log
                .rtmr
                .iter()
                .zip(quoted)
                .map(|(log, quote)| log == quote)
                .collect();
            let platform = PlatformClaims::read(quote).expect("a PCK certificate");
            fields["quote_rtmrs"] = rtmrs(quoted);
            fields["matching"] =
                json!({"rtmr0": same[0], "rtmr1": same[1], "rtmr2": same[2], "rtmr3": same[3]});
            fields["quote"] = json!({"fmspc": platform.fmspc, "pck_serial": format!("0x{}", platform.pck_serial.trim_start_matches('0'))});
            if let Err(error) = log.check(quoted) {
                outcome = ("reject", error.reason_class());
            }
        }
        let mut wanted = case.decoded().clone();
        wanted
            .as_object_mut()
            .map(|fields| fields.remove("recorded_basis"));
        let mut found = Vec::new();
        compare(
            "verdict",
            &json!(case.expected("verdict")),
            &json!(outcome.0),
            &mut found,
        );
        compare(
            "reason",
            &json!(case.expected("reason")),
            &json!(outcome.1),
            &mut found,
        );
        compare("decoded", &wanted, &fields, &mut found);
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("{}: {problem}", case.id())),
        );
    }
    assert!(
        problems.is_empty(),
        "{} cases:\n{}",
        cases.len(),
        problems.join("\n")
    );
}
