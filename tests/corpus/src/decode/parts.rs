//! Pieces of evidence that come alone.

use dawnkey_attest::{
    bytes::Bytes,
    verify::part::{
        PartClaims,
        claims::{EventLogClaims, ImaClaims, PaddingClaims, QuotesClaims, RtmrLogClaims},
    },
};
use serde_json::{Map, Value, json};

use super::tdx::serial;
use crate::case::Case;

pub(super) fn fields(case: &Case, claims: &PartClaims) -> Map<String, Value> {
    let fields = match claims {
        PartClaims::Quote(claims) => quotes(claims),
        PartClaims::EventLog(claims) => event_log(case, claims),
        PartClaims::RtmrLog(claims) => rtmr_log(claims),
        PartClaims::Ima(claims) => ima(claims),
        PartClaims::Certificate(claims) => json!(claims),
        PartClaims::AmdCertificate(claims) => json!(claims),
        PartClaims::AmdCrl(claims) => json!(claims),
    };
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn quotes(claims: &QuotesClaims) -> Value {
    json!({
        "quotes": claims.quotes,
        "ak": claims.ak,
        "log_matches_pcrs": claims.log_matches_pcrs,
    })
}

fn padding(padding: Option<PaddingClaims>) -> Value {
    json!(padding.map(|one| format!("{:02x} padding at {}", one.byte, one.at)))
}

/// In the list a log ends, with "ff padding", at the first event whose PCR index is all ones: an informational event
/// that Windows puts behind all others.
fn event_log(case: &Case, claims: &EventLogClaims) -> Value {
    let end = claims.events.iter().position(|event| event.pcr.is_none());
    let at = end
        .and_then(|end| claims.events.get(end))
        .map(|event| event.at);
    let closing = at.map(|at| PaddingClaims { at, byte: 0xff });
    json!({
        "banks": claims.banks,
        "crypto_agile": claims.crypto_agile,
        "event_count": end.unwrap_or(claims.events.len()),
        "parsed_bytes": at.unwrap_or(claims.parsed_bytes),
        "padding": padding(closing.or(claims.padding)),
        "replayed_pcrs": claims.replayed,
        "mismatching_pcrs": claims.mismatching_pcrs,
        "quote": claims.quote,
        "log_matches_quote_digest": claims.matches_quote,
        // Given, not found: what the log was compared with.
        "recorded_pcrs": case.expected()["decoded"]["recorded_pcrs"],
    })
}

fn rtmr_log(claims: &RtmrLogClaims) -> Value {
    let quote = claims.quote.as_ref();
    json!({
        "event_count": claims.event_count,
        "parsed_bytes": claims.parsed_bytes,
        "padding": padding(claims.padding),
        "replayed_rtmrs": rtmrs(&claims.replayed_rtmrs),
        "quote_rtmrs": quote.map(|quote| rtmrs(&quote.rtmrs)),
        "matching": quote.map(|quote| {
            let [rtmr0, rtmr1, rtmr2, rtmr3] = quote.matching;
            json!({"rtmr0": rtmr0, "rtmr1": rtmr1, "rtmr2": rtmr2, "rtmr3": rtmr3})
        }),
        "quote": quote.map(|quote| json!({
            "fmspc": quote.fmspc,
            "pck_serial": quote.pck_serial.as_deref().map(serial),
        })),
    })
}

fn rtmrs([rtmr0, rtmr1, rtmr2, rtmr3]: &[Bytes<48>; 4]) -> Value {
    json!({"rtmr0": rtmr0, "rtmr1": rtmr1, "rtmr2": rtmr2, "rtmr3": rtmr3})
}

fn ima(claims: &ImaClaims) -> Value {
    let mut out = json!(claims);
    for (bank, value) in &claims.pcr10 {
        out[format!("pcr10_{bank}")] = json!(value);
    }
    out
}
