//! TCG event logs judged alone.

use std::collections::BTreeMap;

use super::{
    claims::{EventClaims, EventLogClaims, PaddingClaims, QuoteClaims},
    error::PartError,
    quote::digest_like,
};
use crate::{
    eventlog::{
        Event, EventLog, Limits, Padding, describe, kind,
        proof::{self, Proof},
        replay,
    },
    part::{EventLogPart, PcrValues},
    tpm::{attest::Quote, hash::Hash},
    verify::vtpm::quote::bank_name,
};

/// PCRs that start at all ones instead of zeros: those of the dynamic root of trust.
const STARTS_AT_ONES: std::ops::RangeInclusive<u8> = 17..=22;

pub(super) fn verify(part: &EventLogPart) -> Result<EventLogClaims, PartError> {
    let claims = read(part)?;
    if !claims.mismatching_pcrs.is_empty() {
        return Err(PartError::LogMismatch {
            pcrs: claims.mismatching_pcrs,
        });
    }
    if claims.matches_quote == Some(false) {
        let (replayed, quote) = (replayed(part)?, quote(part)?);
        return Err(PartError::LogDigest {
            found: hex::encode(
                quote
                    .as_ref()
                    .map(|q| digest(q, &replayed))
                    .unwrap_or_default(),
            ),
            quoted: hex::encode(quote.map(|quote| quote.pcr_digest).unwrap_or_default()),
        });
    }
    Ok(claims)
}

pub(super) fn read(part: &EventLogPart) -> Result<EventLogClaims, PartError> {
    let log = EventLog::parse(&part.log, Limits::default())?;
    let replayed = replayed(part)?;
    let quote = quote(part)?;
    let matches = quote
        .as_ref()
        .map(|quote| digest(quote, &replayed) == quote.pcr_digest);
    let widest = log.hashes().max();
    Ok(EventLogClaims {
        banks: log.banks.iter().map(|bank| bank_name(bank.alg)).collect(),
        crypto_agile: log.crypto_agile,
        parsed_bytes: log.parsed_bytes,
        padding: log.padding.map(padding),
        mismatching_pcrs: mismatching(&replayed, &part.recorded),
        replayed: replayed
            .iter()
            .map(|(bank, values)| {
                let values = values.iter().map(|(pcr, value)| (*pcr, hex::encode(value)));
                (bank.name().to_owned(), values.collect())
            })
            .collect(),
        quote: quote.map(|quote| QuoteClaims::new(&quote, None)),
        matches_quote: matches,
        events: log.events.iter().map(|one| event(one, widest)).collect(),
    })
}

fn replayed(part: &EventLogPart) -> Result<PcrValues, PartError> {
    let log = EventLog::parse(&part.log, Limits::default())?;
    let replay = |bank| Ok((bank, replay::replay(&log, bank)?));
    log.hashes().map(replay).collect()
}

fn quote(part: &EventLogPart) -> Result<Option<Quote>, PartError> {
    let parsed = part.quote.as_deref().map(Quote::parse).transpose();
    parsed.map_err(PartError::LogQuote)
}

fn padding(padding: Padding) -> PaddingClaims {
    PaddingClaims {
        at: padding.at,
        byte: padding.byte,
    }
}

/// PCRs that differ in any bank, ascending.
fn mismatching(replayed: &PcrValues, recorded: &PcrValues) -> Vec<u8> {
    let banks = recorded
        .iter()
        .filter_map(|(bank, recorded)| Some(replay::mismatches(replayed.get(bank)?, recorded)));
    let mut pcrs: Vec<u8> = banks.flatten().collect();
    pcrs.sort_unstable();
    pcrs.dedup();
    pcrs
}

/// The PCR digest of a quote over replayed values; PCRs the log does not extend have their first value.
fn digest(quote: &Quote, replayed: &PcrValues) -> Vec<u8> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    for selection in &quote.selections {
        let Some(bank) = Hash::from_id(selection.bank) else {
            return Vec::new();
        };
        for pcr in &selection.pcrs {
            let byte = if STARTS_AT_ONES.contains(pcr) {
                0xff
            } else {
                0
            };
            let value = replayed.get(&bank).and_then(|values| values.get(pcr));
            values.push(value.cloned().unwrap_or_else(|| vec![byte; bank.size()]));
        }
    }
    let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    digest_like(&quote.pcr_digest, &parts)
}

fn event(event: &Event<'_>, widest: Option<Hash>) -> EventClaims {
    let digests: BTreeMap<String, String> = event
        .digests
        .iter()
        .map(|digest| (bank_name(digest.alg), hex::encode(digest.bytes)))
        .collect();
    EventClaims {
        at: event.at,
        pcr: (event.pcr != u32::MAX).then_some(event.pcr),
        event_type: kind::name(event.kind),
        digests,
        description: describe::describe(event),
        proof: widest.map_or(Proof::Nothing, |bank| proof::proof(event, bank)),
    }
}
