//! The binary log, both formats, parsed without copying event data.

use super::kind;
use crate::{
    reader::{ReadError, Reader},
    tpm::{PCR_COUNT, hash::Hash},
};

/// Bounds of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole log.
    pub bytes: usize,
    /// Events, the Spec ID event included.
    pub events: usize,
}

impl Default for Limits {
    /// One MiB and ten thousand events: ten times what servers with many option ROMs write.
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            events: 10_000,
        }
    }
}

/// Highest number of banks a Spec ID event may announce.
const MAX_BANKS: usize = 8;
/// Widest digest of any bank.
const MAX_DIGEST: usize = 64;
/// Signature that begins the Spec ID event of a crypto-agile log.
const SPEC_ID_03: &[u8; 16] = b"Spec ID Event03\0";
/// `TPM_ALG_SHA1`, the one bank of the older format.
const SHA1: u16 = 0x0004;

/// Why bytes are not an event log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No event at all.
    #[error("the event log is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("the event log has {found} bytes, at most {most} are accepted")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Limit.
        most: usize,
    },
    /// More events than allowed.
    #[error("the event log has more than {most} events")]
    TooManyEvents {
        /// Limit.
        most: usize,
    },
    /// An event is malformed.
    #[error("event {event} of the log is malformed: {source}")]
    Malformed {
        /// Number of the event, the first is 0.
        event: usize,
        /// What is wrong with it.
        source: ReadError,
    },
}

/// A bank the log has digests for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bank {
    /// `TPM_ALG_ID`.
    pub alg: u16,
    /// Bytes of a digest.
    pub size: usize,
}

/// One digest of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest<'a> {
    /// `TPM_ALG_ID` of the bank.
    pub alg: u16,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Offset of its first byte in the log.
    pub at: usize,
    /// PCR it was extended into; any value where the type is `EV_NO_ACTION`.
    pub pcr: u32,
    /// Event type, see [`kind`].
    pub kind: u32,
    /// Digests of the banks it was extended into: all of the log's, or some (Windows' loader writes one).
    pub digests: Vec<Digest<'a>>,
    /// The event's own bytes.
    pub data: &'a [u8],
}

impl<'a> Event<'a> {
    /// The digest for a bank.
    pub fn digest(&self, alg: u16) -> Option<&'a [u8]> {
        self.digests
            .iter()
            .find(|digest| digest.alg == alg)
            .map(|digest| digest.bytes)
    }
}

/// Filler behind the last event: firmware may hand over the whole buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Offset of its first byte.
    pub at: usize,
    /// The byte it consists of, 0x00 or 0xff.
    pub byte: u8,
}

/// A parsed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    /// Whether the log is in the crypto-agile format.
    pub crypto_agile: bool,
    /// Banks it has digests for.
    pub banks: Vec<Bank>,
    /// Events, the Spec ID event included.
    pub events: Vec<Event<'a>>,
    /// Bytes up to the end of the last event.
    pub parsed_bytes: usize,
    /// Filler behind it.
    pub padding: Option<Padding>,
}

impl<'a> EventLog<'a> {
    /// Parses a log of either format within `limits`.
    pub fn parse(bytes: &'a [u8], limits: Limits) -> Result<Self, LogError> {
        if bytes.is_empty() {
            return Err(LogError::Empty);
        }
        if bytes.len() > limits.bytes {
            return Err(LogError::TooLarge {
                found: bytes.len(),
                most: limits.bytes,
            });
        }
        let malformed = |event| move |source| LogError::Malformed { event, source };
        let mut reader = Reader::new(bytes);
        let first = sha1_event(&mut reader).map_err(malformed(0))?;
        let spec = spec_id(&first).map_err(malformed(0))?;
        let mut log = Self {
            crypto_agile: spec.is_some(),
            banks: spec.unwrap_or_else(|| {
                vec![Bank {
                    alg: SHA1,
                    size: 20,
                }]
            }),
            events: vec![first],
            parsed_bytes: reader.at(),
            padding: None,
        };
        while !reader.is_empty() {
            log.padding = padding(&reader);
            if log.padding.is_some() {
                break;
            }
            let number = log.events.len();
            if number >= limits.events {
                return Err(LogError::TooManyEvents {
                    most: limits.events,
                });
            }
            let event = if log.crypto_agile {
                agile_event(&mut reader, &log.banks)
            } else {
                sha1_event(&mut reader)
            };
            log.events.push(event.map_err(malformed(number))?);
            log.parsed_bytes = reader.at();
        }
        Ok(log)
    }

    /// The algorithms of its banks that are computed here.
    pub fn hashes(&self) -> impl Iterator<Item = Hash> + '_ {
        self.banks.iter().filter_map(|bank| Hash::from_id(bank.alg))
    }

    /// Whether the log has digests for a bank.
    pub fn has_bank(&self, alg: u16) -> bool {
        self.banks.iter().any(|bank| bank.alg == alg)
    }
}

fn padding(reader: &Reader<'_>) -> Option<Padding> {
    let rest = reader.rest();
    let byte = *rest.first()?;
    let uniform = matches!(byte, 0x00 | 0xff) && rest.iter().all(|other| *other == byte);
    uniform.then_some(Padding {
        at: reader.at(),
        byte,
    })
}

/// `TCG_PCClientPCREvent`: the older format, and the first event of a crypto-agile log.
fn sha1_event<'a>(reader: &mut Reader<'a>) -> Result<Event<'a>, ReadError> {
    let at = reader.at();
    let (pcr, kind) = head(reader)?;
    let digest = Digest {
        alg: SHA1,
        bytes: reader.take("digest", 20)?,
    };
    Ok(Event {
        at,
        pcr,
        kind,
        digests: vec![digest],
        data: data(reader)?,
    })
}

/// `TCG_PCR_EVENT2`.
fn agile_event<'a>(reader: &mut Reader<'a>, banks: &[Bank]) -> Result<Event<'a>, ReadError> {
    let start = reader.at();
    let (pcr, kind) = head(reader)?;
    let at = reader.at();
    let count = reader.u32_le("digests.count")?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || count > banks.len() {
        return Err(ReadError::Value {
            what: "digests.count",
            at,
            found: count as u64,
            wanted: "1 to the number of banks in the Spec ID event",
        });
    }
    let mut digests: Vec<Digest<'a>> = Vec::with_capacity(count);
    for _ in 0..count {
        let at = reader.at();
        let alg = reader.u16_le("digest.algorithm")?;
        let bank = banks.iter().find(|bank| bank.alg == alg);
        let bank = bank.filter(|_| digests.iter().all(|seen| seen.alg != alg));
        let bank = bank.ok_or(ReadError::Value {
            what: "digest.algorithm",
            at,
            found: alg.into(),
            wanted: "an algorithm of the Spec ID event, at most once",
        })?;
        digests.push(Digest {
            alg,
            bytes: reader.take("digest", bank.size)?,
        });
    }
    Ok(Event {
        at: start,
        pcr,
        kind,
        digests,
        data: data(reader)?,
    })
}

fn head(reader: &mut Reader<'_>) -> Result<(u32, u32), ReadError> {
    let at = reader.at();
    let pcr = reader.u32_le("pcrIndex")?;
    let kind = reader.u32_le("eventType")?;
    if pcr >= u32::from(PCR_COUNT) && kind != kind::NO_ACTION {
        return Err(ReadError::Value {
            what: "pcrIndex",
            at,
            found: pcr.into(),
            wanted: "0 to 23 for an event that is extended",
        });
    }
    Ok((pcr, kind))
}

fn data<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ReadError> {
    let size = reader.u32_le("eventSize")?;
    reader.take("event", usize::try_from(size).unwrap_or(usize::MAX))
}

/// Banks announced by a `TCG_EfiSpecIDEvent`; `None` if the event is not one.
fn spec_id(event: &Event<'_>) -> Result<Option<Vec<Bank>>, ReadError> {
    if event.kind != kind::NO_ACTION || !event.data.starts_with(SPEC_ID_03) {
        return Ok(None);
    }
    let mut reader = Reader::new(event.data);
    reader.take("specId.signature", SPEC_ID_03.len())?;
    reader.u32_le("specId.platformClass")?;
    reader.take("specId.version", 3)?;
    reader.u8("specId.uintnSize")?;
    let at = reader.at();
    let count = reader.u32_le("specId.numberOfAlgorithms")?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || count > MAX_BANKS {
        return Err(ReadError::Value {
            what: "specId.numberOfAlgorithms",
            at,
            found: count as u64,
            wanted: "1 to 8",
        });
    }
    let mut banks: Vec<Bank> = Vec::with_capacity(count);
    for _ in 0..count {
        let bank = bank(&mut reader)?;
        if banks.iter().any(|seen| seen.alg == bank.alg) {
            return Err(ReadError::Value {
                what: "specId.algorithmId",
                at,
                found: bank.alg.into(),
                wanted: "each algorithm once",
            });
        }
        banks.push(bank);
    }
    let vendor = reader.u8("specId.vendorInfoSize")?;
    reader.take("specId.vendorInfo", usize::from(vendor))?;
    Ok(Some(banks))
}

fn bank(reader: &mut Reader<'_>) -> Result<Bank, ReadError> {
    let at = reader.at();
    let alg = reader.u16_le("specId.algorithmId")?;
    let size = usize::from(reader.u16_le("specId.digestSize")?);
    let known = Hash::from_id(alg).map(|hash| hash.size());
    if size == 0 || size > MAX_DIGEST || known.is_some_and(|known| known != size) {
        return Err(ReadError::Value {
            what: "specId.digestSize",
            at,
            found: size as u64,
            wanted: "the algorithm's own digest size, at most 64",
        });
    }
    Ok(Bank { alg, size })
}
