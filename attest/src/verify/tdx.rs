//! TDX evidence: the quote with the collateral of the verifier, or that beside it.

use rustls_pki_types::UnixTime;

use super::{Collateral, Roots};
use crate::{
    claims::{Claims, MeasuredEvent, TrustClass},
    evidence::{Binder, KIND_TDX, TdxEvidence},
    tdx::{TdxEvidenceError, ccel::RtmrEvent, verify_evidence},
};

pub(super) fn verify(
    evidence: &TdxEvidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Claims, TdxEvidenceError> {
    let own = collateral.tdx_for(&evidence.quote);
    let bound = verify_evidence(evidence, binder, own, &roots.tdx, now)?;
    let mut claims = Claims::new(KIND_TDX, Some(TrustClass::Tee), binder);
    claims.tdx = Some(bound.verified.into_claims());
    claims.source(
        "tdx.td",
        "the quote's body, signed by the platform's quoting enclave",
    );
    claims.source("tdx.platform", "the PCK certificate, signed by Intel");
    claims.source(
        "tdx.tcb",
        "Intel's TCB info and QE identity, at the time of judging",
    );
    if let Some(log) = bound.event_log {
        claims.events = log.events.into_iter().map(measured).collect();
        claims.source(
            "events",
            "the event log; digests replay to the quote's RTMRs",
        );
    }
    Ok(claims)
}

fn measured(event: RtmrEvent) -> MeasuredEvent {
    MeasuredEvent {
        register: u8::try_from(event.rtmr).unwrap_or(u8::MAX),
        event_type: event.kind_name,
        digest: event.digest.to_string(),
        description: event.description,
        description_proven: false,
    }
}
