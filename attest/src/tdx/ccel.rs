//! Event logs of a TD: what was extended into its runtime measurement registers (RTMRs).
//!
//! Firmware and kernel keep a TCG2 log in the area that the ACPI table `CCEL` names (UEFI 2.10, 38.4.1 and Guest
//! Hypervisor Communication Interface for TDX): crypto-agile, SHA-384, with the measurement register's index in the
//! place of the PCR: 1 to 4 are RTMR 0 to 3, 0 is MRTD, which no event can extend. dstack keeps a JSON list that
//! goes on where the firmware's log ends; its own events (type 0x08000001) have the digest
//! SHA-384(type as LE32 ‖ ":" ‖ name ‖ ":" ‖ payload), which the list may leave out.
//!
//! A log proves nothing until it replays to the values of a verified quote ([`RtmrLog::check`]).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha384};

use crate::bytes::Bytes;
use crate::eventlog::{EventLog, Limits, LogError, describe, kind};

/// `TPM_ALG_SHA384`, the algorithm of RTMRs.
const SHA384: u16 = 0x000c;
/// Event type of dstack's own events.
const DSTACK_EVENT: u32 = 0x0800_0001;
/// Most bytes of a name or payload in a JSON list, in hex.
const MAX_PAYLOAD: usize = 256 << 10;

/// Why a log is not evidence for a TD.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CcelError {
    /// Not a TCG log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A TCG log without the digests RTMRs are made of.
    #[error("the event log has no SHA-384 digests, which RTMRs are extended with")]
    NoSha384,
    /// An event of a register that does not exist.
    #[error("event {event}: measurement register index {found}, expected 1 to 4 (RTMR 0 to 3)")]
    Index {
        /// Number of the event, the first is 0.
        event: usize,
        /// Index found.
        found: u32,
    },
    /// Not a JSON event list.
    #[error("the JSON event list is malformed: {why}")]
    Json {
        /// What is wrong.
        why: String,
    },
    /// Text and digest of an event do not belong together.
    #[error("event {event} ({name}): its digest is not that of its name and payload")]
    EventDigest {
        /// Number of the event.
        event: usize,
        /// Its name.
        name: String,
    },
    /// The log does not replay to the quote's value.
    #[error("RTMR {rtmr}: the log replays to {replayed}, the quote has {quoted}")]
    Mismatch {
        /// Number of the register.
        rtmr: usize,
        /// Value the log gives.
        replayed: Bytes<48>,
        /// Value in the quote.
        quoted: Bytes<48>,
    },
}

impl CcelError {
    /// A short stable name of the cause.
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Mismatch { .. } | Self::EventDigest { .. } => "event_log_mismatch",
            _ => "malformed",
        }
    }
}

/// One event that extended a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtmrEvent {
    /// Register: 0 to 3.
    pub rtmr: usize,
    /// Event type.
    pub kind: u32,
    /// Name of the type.
    pub kind_name: String,
    /// What was extended.
    pub digest: Bytes<48>,
    /// Short description; proven only where the type's digest is the digest of this text.
    pub description: String,
}

/// A parsed and replayed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtmrLog {
    /// Values the log gives the registers.
    pub rtmr: [Bytes<48>; 4],
    /// Events in order, those that extend nothing left out.
    pub events: Vec<RtmrEvent>,
    /// Events in the log, those that extend nothing included.
    pub event_count: usize,
    /// Bytes of a binary log up to the end of its last event.
    pub parsed_bytes: Option<usize>,
    /// Offset and value of the filler behind it.
    pub padding: Option<(usize, u8)>,
}

impl RtmrLog {
    /// Parses and replays a log: JSON where it begins with `[`, else binary.
    pub fn parse(bytes: &[u8]) -> Result<Self, CcelError> {
        match bytes.trim_ascii_start().first() {
            Some(b'[') => Self::parse_json(bytes),
            _ => Self::parse_ccel(bytes),
        }
    }

    /// Parses and replays a CCEL.
    pub fn parse_ccel(bytes: &[u8]) -> Result<Self, CcelError> {
        let log = EventLog::parse(bytes, Limits::default())?;
        if !log.has_bank(SHA384) {
            return Err(CcelError::NoSha384);
        }
        let mut replayed = Self::empty();
        replayed.event_count = log.events.len();
        replayed.parsed_bytes = Some(log.parsed_bytes);
        replayed.padding = log.padding.map(|padding| (padding.at, padding.byte));
        for (number, event) in log.events.iter().enumerate() {
            if event.kind == kind::NO_ACTION || event.pcr == 0 {
                continue;
            }
            let digest = event
                .digest(SHA384)
                .and_then(|digest| digest.try_into().ok());
            let digest = Bytes(digest.ok_or(CcelError::NoSha384)?);
            let rtmr = register(number, event.pcr)?;
            replayed.extend(rtmr, event.kind, digest, describe::describe(event));
        }
        Ok(replayed)
    }

    /// Parses and replays a JSON list as dstack keeps it.
    pub fn parse_json(text: &[u8]) -> Result<Self, CcelError> {
        let limits = Limits::default();
        let refuse = |why: String| CcelError::Json { why };
        if text.len() > 2 * limits.bytes {
            return Err(refuse(format!(
                "{} bytes, at most {} are accepted",
                text.len(),
                2 * limits.bytes
            )));
        }
        let list: Vec<JsonEvent<'_>> =
            serde_json::from_slice(text).map_err(|error| refuse(error.to_string()))?;
        if list.len() > limits.events {
            return Err(refuse(format!("more than {} events", limits.events)));
        }
        let mut replayed = Self::empty();
        replayed.event_count = list.len();
        for (number, event) in list.iter().enumerate() {
            let rtmr = usize::try_from(event.imr).ok().filter(|rtmr| *rtmr < 4);
            let rtmr = rtmr.ok_or_else(|| {
                refuse(format!(
                    "event {number}: imr {}, expected 0 to 3",
                    event.imr
                ))
            })?;
            let digest = event.digest(number)?;
            replayed.extend(
                rtmr,
                event.event_type,
                digest,
                event.name().chars().take(256).collect(),
            );
        }
        Ok(replayed)
    }

    fn empty() -> Self {
        Self {
            rtmr: [Bytes([0; 48]); 4],
            events: Vec::new(),
            event_count: 0,
            parsed_bytes: None,
            padding: None,
        }
    }

    fn extend(&mut self, rtmr: usize, kind: u32, digest: Bytes<48>, description: String) {
        if let Some(value) = self.rtmr.get_mut(rtmr) {
            value.0 = Sha384::new()
                .chain_update(value.0)
                .chain_update(digest.0)
                .finalize()
                .into();
        }
        let kind_name = kind::name(kind);
        self.events.push(RtmrEvent {
            rtmr,
            kind,
            kind_name,
            digest,
            description,
        });
    }

    /// Compares with the registers of a quote; the first that differs is named.
    pub fn check(&self, quoted: &[Bytes<48>; 4]) -> Result<(), CcelError> {
        for (rtmr, (replayed, quoted)) in self.rtmr.iter().zip(quoted).enumerate() {
            if replayed != quoted {
                let (replayed, quoted) = (*replayed, *quoted);
                return Err(CcelError::Mismatch {
                    rtmr,
                    replayed,
                    quoted,
                });
            }
        }
        Ok(())
    }
}

fn register(event: usize, index: u32) -> Result<usize, CcelError> {
    match index {
        1 => Ok(0),
        2 => Ok(1),
        3 => Ok(2),
        4 => Ok(3),
        found => Err(CcelError::Index { event, found }),
    }
}

#[derive(Deserialize)]
struct JsonEvent<'a> {
    imr: u32,
    event_type: u32,
    #[serde(default, borrow)]
    digest: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    event_payload: Option<Cow<'a, str>>,
}

impl JsonEvent<'_> {
    fn name(&self) -> &str {
        self.event.as_deref().unwrap_or_default()
    }

    /// The digest that was extended: as given, or made of name and payload, which dstack's events must fit.
    fn digest(&self, number: usize) -> Result<Bytes<48>, CcelError> {
        let refuse = |why: &str| CcelError::Json {
            why: format!("event {number}: {why}"),
        };
        let given = match self.digest.as_deref().unwrap_or_default() {
            "" => None,
            text => Some(
                Bytes::from_hex(text).ok_or_else(|| refuse("its digest is not 48 bytes in hex"))?,
            ),
        };
        if self.event_type != DSTACK_EVENT {
            return given.ok_or_else(|| refuse("it has no digest"));
        }
        let name = self.name();
        let payload = self.event_payload.as_deref().unwrap_or_default();
        if payload.len() > MAX_PAYLOAD || name.len() > MAX_PAYLOAD {
            return Err(refuse("its name or payload is too long"));
        }
        let payload = hex::decode(payload).map_err(|_| refuse("its payload is not hex"))?;
        let made = Sha384::new()
            .chain_update(self.event_type.to_le_bytes())
            .chain_update(b":")
            .chain_update(name.as_bytes())
            .chain_update(b":")
            .chain_update(payload)
            .finalize();
        let made = Bytes(made.into());
        if given.is_some_and(|given| given != made) {
            let name = name.chars().take(64).collect();
            return Err(CcelError::EventDigest {
                event: number,
                name,
            });
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EVENT: &str = r#"[{"imr":3,"event_type":134217729,"event":"system-ready","event_payload":"","digest":""}]"#;

    #[test]
    fn makes_the_digest_of_a_runtime_event_that_has_none() {
        let log = RtmrLog::parse(EVENT.as_bytes()).unwrap();
        let digest = "1a76b2a80a0be71eae59f80945d876351a7a3fb8e9fd1ff1cede5734aa84ea11fd72b4edfbb6f04e5a85edd114c751bd";
        assert_eq!(log.events.first().unwrap().digest.to_string(), digest);
    }

    #[test]
    fn takes_an_absent_and_a_null_digest_for_none() {
        let wanted = RtmrLog::parse(EVENT.as_bytes()).unwrap();
        for other in ["", ",\"digest\":null"] {
            let text = EVENT.replace(",\"digest\":\"\"", other);
            assert_eq!(RtmrLog::parse(text.as_bytes()).unwrap(), wanted);
        }
    }

    #[test]
    fn refuses_a_runtime_event_whose_name_was_changed() {
        let text = EVENT.replace(
            "\"digest\":\"\"",
            &format!("\"digest\":\"{}\"", "00".repeat(48)),
        );
        assert!(matches!(
            RtmrLog::parse(text.as_bytes()),
            Err(CcelError::EventDigest { event: 0, .. })
        ));
    }

    #[test]
    fn refuses_a_register_that_does_not_exist() {
        let text = EVENT.replace("\"imr\":3", "\"imr\":4");
        assert!(matches!(
            RtmrLog::parse(text.as_bytes()),
            Err(CcelError::Json { .. })
        ));
        assert_eq!(register(7, 5), Err(CcelError::Index { event: 7, found: 5 }));
    }

    #[test]
    fn names_the_register_that_differs_and_both_values() {
        let log = RtmrLog::parse(EVENT.as_bytes()).unwrap();
        let zero = Bytes([0; 48]);
        let wanted = CcelError::Mismatch {
            rtmr: 3,
            replayed: log.rtmr[3],
            quoted: zero,
        };
        assert_eq!(log.check(&[zero; 4]), Err(wanted));
    }
}
