//! A TPM's quote, PCRs and event log.

use super::super::page::{Row, unless_zero, validity};
use dawnkey_attest::claims::{MeasuredEvent, TpmClaims};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Most events on a page; the rest is for `--json`.
const MAX_EVENTS: usize = 200;

/// The quote and who stands behind its key.
pub(crate) fn tpm(tpm: &TpmClaims, now: Timestamp) -> Vec<Row> {
    let banks: Vec<String> = tpm
        .pcr_select
        .iter()
        .map(|one| format!("{} {:?}", one.bank, one.pcrs))
        .collect();
    let maker = tpm.endorsement.as_ref().map(|maker| {
        format!(
            "{} (issued by {}), key {}",
            maker.subject, maker.issuer, maker.ek_spki_sha256
        )
    });
    let mut rows = vec![
        ("attestation key", tpm.attestation_key_name.clone()),
        ("its SHA-256", tpm.attestation_key_spki_sha256.clone()),
        ("endorsed by", maker.unwrap_or_default()),
        (
            "not endorsed",
            tpm.endorsement_problem.clone().unwrap_or_default(),
        ),
        ("bound to", tpm.extra_data.clone()),
        ("PCRs quoted", banks.join("; ")),
        ("signature digest", tpm.signature_hash.clone()),
        (
            "resets, restarts",
            format!("{}, {}", tpm.reset_count, tpm.restart_count),
        ),
        (
            "clock",
            format!(
                "{} ms{}",
                tpm.clock,
                if tpm.safe { "" } else { ", may have gone back" }
            ),
        ),
        ("firmware", format!("{:#x}", tpm.firmware_version)),
    ];
    if let Some(certificate) = &tpm.attestation_key_certificate {
        rows.push((
            "key certificate",
            format!("{} (issued by {})", certificate.subject, certificate.issuer),
        ));
        rows.push((
            "  valid",
            validity(&certificate.not_before, &certificate.not_after, now),
        ));
        rows.extend(certificate.gce.as_ref().map(|gce| {
            (
                "  instance",
                format!(
                    "{} ({}) in {} of {}",
                    gce.instance_name, gce.instance_id, gce.zone, gce.project_id
                ),
            )
        }));
    }
    rows.push((
        "key not certified",
        tpm.attestation_key_problem.clone().unwrap_or_default(),
    ));
    rows
}

/// PCR values; those that are all zero share one line.
pub(crate) fn pcrs(values: &BTreeMap<u8, Vec<u8>>) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut zero = Vec::new();
    for (pcr, value) in values {
        let text = unless_zero(&hex::encode(value));
        if text.is_empty() {
            zero.push(pcr.to_string());
        } else {
            rows.push((format!("PCR {pcr}"), text));
        }
    }
    if !zero.is_empty() {
        rows.push(("all zero".to_owned(), zero.join(", ")));
    }
    rows
}

/// Events in short; what a digest does not prove is marked.
pub(crate) fn events(events: &[MeasuredEvent]) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = events
        .iter()
        .take(MAX_EVENTS)
        .map(|event| {
            let claimed = if event.description_proven {
                ""
            } else {
                " (text not proven)"
            };
            let text = format!("{} {}{claimed}", event.event_type, event.description);
            (event.register.to_string(), text)
        })
        .collect();
    if let Some(more) = events
        .len()
        .checked_sub(MAX_EVENTS)
        .filter(|more| *more > 0)
    {
        rows.push(("…".to_owned(), format!("{more} more with --json")));
    }
    rows
}
