//! Event logs of TDs judged alone, with the RTMRs of a quote where there is one.

use rustls_pki_types::UnixTime;

use super::{
    claims::{PaddingClaims, RtmrEventClaims, RtmrLogClaims, RtmrQuoteClaims},
    error::PartError,
};
use crate::{
    part::RtmrLogPart,
    tdx::{self, PlatformClaims, Quote, TdxError, ccel::RtmrLog},
    verify::{Collateral, Crypto, Roots},
};

/// Of the quote everything must hold that can be checked with Intel's root alone; its dates and TCB level are no
/// matter of the log.
pub(super) fn verify(
    part: &RtmrLogPart,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<RtmrLogClaims, PartError> {
    let log = RtmrLog::parse(&part.log)?;
    let claims = assemble(&log, part.quote.as_deref())?;
    if let Some(bytes) = &part.quote {
        if let Some(quote) = &claims.quote {
            log.check(&quote.rtmrs)?;
        }
        match tdx::verify(bytes, collateral.tdx_for(bytes), &roots.tdx, now) {
            Err(error) if error.crypto() == Crypto::Invalid => return Err(error.into()),
            _ => {}
        }
    }
    Ok(claims)
}

pub(super) fn read(part: &RtmrLogPart) -> Result<RtmrLogClaims, PartError> {
    assemble(&RtmrLog::parse(&part.log)?, part.quote.as_deref())
}

fn assemble(log: &RtmrLog, quote: Option<&[u8]>) -> Result<RtmrLogClaims, PartError> {
    let events = log.events.iter().map(|event| RtmrEventClaims {
        rtmr: event.rtmr,
        event_type: event.kind_name.clone(),
        digest: event.digest,
        description: event.description.clone(),
    });
    Ok(RtmrLogClaims {
        event_count: log.event_count,
        parsed_bytes: log.parsed_bytes,
        padding: log.padding.map(|(at, byte)| PaddingClaims { at, byte }),
        replayed_rtmrs: log.rtmr,
        quote: quote.map(|bytes| quote_claims(bytes, log)).transpose()?,
        events: events.collect(),
    })
}

fn quote_claims(bytes: &[u8], log: &RtmrLog) -> Result<RtmrQuoteClaims, PartError> {
    let quote = Quote::parse(bytes).map_err(TdxError::from)?;
    let rtmrs = quote.report.rtmr;
    let mut matching = [false; 4];
    for ((slot, quoted), replayed) in matching.iter_mut().zip(&rtmrs).zip(&log.rtmr) {
        *slot = quoted == replayed;
    }
    let platform = PlatformClaims::read(&quote).ok();
    Ok(RtmrQuoteClaims {
        rtmrs,
        matching,
        fmspc: platform.as_ref().map(|platform| platform.fmspc),
        pck_serial: platform.map(|platform| platform.pck_serial),
    })
}
