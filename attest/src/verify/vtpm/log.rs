//! The event log against the quoted PCR values.

use std::collections::BTreeMap;

use super::VtpmError;
use crate::{
    claims::MeasuredEvent,
    eventlog::{EventLog, Limits, describe::describe, kind, proof, replay},
    tpm::hash::Hash,
};

/// PCRs that firmware, boot loader and kernel write before user space, and so the log must explain.
///
/// PCR 10 belongs to IMA and 15 to the unlock itself; 16 to 23 are not the boot's.
pub const COVERED: [u8; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14];

/// Parses and replays the log; every covered PCR must have the replayed value, and zero where the log extends nothing.
pub(crate) fn check(
    bytes: &[u8],
    bank: Hash,
    pcrs: &BTreeMap<u8, Vec<u8>>,
) -> Result<Vec<MeasuredEvent>, VtpmError> {
    let log = EventLog::parse(bytes, Limits::default()).map_err(VtpmError::MalformedEventLog)?;
    check_replay(&log, bank, pcrs)?;
    Ok(events(&log, bank, pcrs))
}

fn check_replay(
    log: &EventLog<'_>,
    bank: Hash,
    pcrs: &BTreeMap<u8, Vec<u8>>,
) -> Result<(), VtpmError> {
    let replayed = replay::replay(log, bank).map_err(VtpmError::Replay)?;
    let untouched = vec![0; bank.size()];
    for pcr in COVERED {
        let Some(quoted) = pcrs.get(&pcr) else {
            continue;
        };
        let expected = replayed.get(&pcr).unwrap_or(&untouched);
        if expected != quoted {
            return Err(VtpmError::LogMismatch {
                pcr,
                replayed: hex::encode(expected),
                quoted: hex::encode(quoted),
            });
        }
    }
    Ok(())
}

/// The events that were extended into PCRs which are covered and quoted: their digests are proven.
fn events(log: &EventLog<'_>, bank: Hash, pcrs: &BTreeMap<u8, Vec<u8>>) -> Vec<MeasuredEvent> {
    let extended = log
        .events
        .iter()
        .filter(|event| event.kind != kind::NO_ACTION);
    let listed = extended.filter_map(|event| {
        let pcr = u8::try_from(event.pcr)
            .ok()
            .filter(|pcr| COVERED.contains(pcr) && pcrs.contains_key(pcr))?;
        Some(MeasuredEvent {
            register: pcr,
            event_type: kind::name(event.kind),
            digest: hex::encode(event.digest(bank.id())?),
            description: describe(event),
            description_proven: proof::covers_whole(event, bank),
        })
    });
    listed.collect()
}
