//! Replays a log: the PCR values it would produce.

use std::collections::BTreeMap;

use super::{kind, parse::EventLog};
use crate::tpm::hash::Hash;

/// Text that begins a startup locality event.
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// Why a log cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The log has no digests for the bank.
    #[error("the event log has no {bank} digests")]
    NoBank {
        /// Bank asked for.
        bank: &'static str,
    },
    /// The startup locality is not 0, 3 or 4, or the event is malformed.
    #[error("event {event}: startup locality {found:?}, expected one byte 0, 3 or 4")]
    Locality {
        /// Number of the event.
        event: usize,
        /// Bytes found.
        found: Vec<u8>,
    },
    /// A startup locality event that comes after PCR 0 was extended, or a second one.
    #[error("event {event}: startup locality must come once, before PCR 0 is extended")]
    LateLocality {
        /// Number of the event.
        event: usize,
    },
}

/// PCR values a log produces in one bank; only PCRs it extends are in it.
pub type Replay = BTreeMap<u8, Vec<u8>>;

/// Replays a log in one bank.
///
/// PCRs start at zero, PCR 0 at the startup locality where the log names one (or 4 where an H-CRTM event begins
/// it). Events of type `EV_NO_ACTION`, and events without a digest for the bank, are not extended.
pub fn replay(log: &EventLog<'_>, bank: Hash) -> Result<Replay, ReplayError> {
    if !log.has_bank(bank.id()) {
        return Err(ReplayError::NoBank { bank: bank.name() });
    }
    let mut pcrs = Replay::new();
    let mut locality = None;
    for (number, event) in log.events.iter().enumerate() {
        if event.kind == kind::NO_ACTION {
            if let Some(rest) = event.data.strip_prefix(STARTUP_LOCALITY) {
                if event.pcr != 0 {
                    continue;
                }
                if locality.is_some() || pcrs.contains_key(&0) {
                    return Err(ReplayError::LateLocality { event: number });
                }
                locality = Some(startup_locality(number, rest)?);
            }
            continue;
        }
        let (Some(digest), Ok(pcr)) = (event.digest(bank.id()), u8::try_from(event.pcr)) else {
            continue;
        };
        let value = pcrs.entry(pcr).or_insert_with(|| {
            let hcrtm = event.kind == kind::EFI_HCRTM_EVENT;
            let implied = if hcrtm { 4 } else { 0 };
            initial(
                bank,
                if pcr == 0 {
                    locality.unwrap_or(implied)
                } else {
                    0
                },
            )
        });
        *value = bank.digest(&[value, digest]);
    }
    Ok(pcrs)
}

/// PCRs that a log extends to another value than `recorded`, ascending. PCRs on one side only are passed over: the
/// record may leave some out, and others than the log's writers extend the rest.
pub fn mismatches(replayed: &Replay, recorded: &Replay) -> Vec<u8> {
    let differs = |(pcr, value): &(&u8, &Vec<u8>)| {
        recorded.get(pcr).is_some_and(|recorded| recorded != *value)
    };
    replayed
        .iter()
        .filter(differs)
        .map(|(pcr, _)| *pcr)
        .collect()
}

fn startup_locality(event: usize, bytes: &[u8]) -> Result<u8, ReplayError> {
    match bytes {
        [locality @ (0 | 3 | 4)] => Ok(*locality),
        other => Err(ReplayError::Locality {
            event,
            found: other.iter().take(16).copied().collect(),
        }),
    }
}

fn initial(bank: Hash, last: u8) -> Vec<u8> {
    let mut value = vec![0; bank.size()];
    if let Some(byte) = value.last_mut() {
        *byte = last;
    }
    value
}
