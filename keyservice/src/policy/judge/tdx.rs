//! Rules of a TDX platform: which key of the file asks for what, with both values.

use super::platform::Unmet;
use super::snp::{listed, remedy};
use dawnkey_attest::tdx::{TdxClaims, TdxPolicy, TdxRefusal};
use dawnkey_proto::message::Reason;
use jiff::Timestamp;

/// The first rule that a TD does not meet.
pub(super) fn unmet(policy: &TdxPolicy, claims: &TdxClaims, now: Timestamp) -> Option<Unmet> {
    let refusals = policy.judge(claims, now);
    let first = refusals.first()?;
    let (key, reason, wanted) = asked(policy, first);
    let more: Vec<&str> = refusals
        .iter()
        .skip(1)
        .map(TdxRefusal::reason_class)
        .collect();
    let mut detail = format!("{}: {first}; wants {wanted}", first.reason_class());
    if !more.is_empty() {
        detail.push_str(&format!("; besides: {}", more.join(", ")));
    }
    Some(Unmet {
        key: format!("tdx.{key}"),
        reason,
        detail,
        remedy: remedy(reason),
        foreign: false,
    })
}

/// The key below `tdx`, the reason, and what is wanted.
fn asked(policy: &TdxPolicy, refusal: &TdxRefusal) -> (&'static str, Reason, String) {
    use Reason::{GuestNotAllowed, MeasurementMismatch, PlatformNotAllowed, TcbTooOld};
    let off = || "it off".to_owned();
    match refusal {
        TdxRefusal::DebugEnabled { .. } => ("allow_debug", GuestNotAllowed, off()),
        TdxRefusal::ReservedAttributes { .. } => ("attributes", GuestNotAllowed, "zero".into()),
        TdxRefusal::SeptVeDisableOff => {
            ("require_sept_ve_disable", GuestNotAllowed, "it on".into())
        }
        TdxRefusal::ServiceTd { .. } => ("allow_service_td", GuestNotAllowed, "none".into()),
        TdxRefusal::Attribute { name, found, .. } => {
            let key = match *name {
                "MIGRATABLE" => "migratable",
                "PKS" => "pks",
                "KL" => "key_locker",
                _ => "perfmon",
            };
            (key, GuestNotAllowed, (!found).to_string())
        }
        TdxRefusal::TcbStatus { .. } => {
            let mut wanted = listed(policy.allowed_tcb_status.iter().map(ToString::to_string));
            if let Some(grace) = policy.out_of_date_grace {
                let days = grace.as_hours() / 24;
                wanted.push_str(&format!(", or out of date for {days} days at most"));
            }
            ("allowed_tcb_status", TcbTooOld, wanted)
        }
        TdxRefusal::Advisory { .. } => {
            let accepted = policy.accepted_advisories.iter().flatten().cloned();
            ("accepted_advisories", TcbTooOld, listed(accepted))
        }
        TdxRefusal::EvaluationNumber { least, .. } => (
            "min_tcb_evaluation_data_number",
            TcbTooOld,
            format!("{least} at least"),
        ),
        TdxRefusal::TeeTcbSvn { least, .. } => {
            ("min_tee_tcb_svn", TcbTooOld, format!("{least} at least"))
        }
        TdxRefusal::Platform { .. } => {
            let ppids = policy.platforms.iter().flatten().map(ToString::to_string);
            ("ppids", PlatformNotAllowed, listed(ppids))
        }
        TdxRefusal::Value { field, wanted, .. } => (field, MeasurementMismatch, wanted.clone()),
    }
}
