//! The log of what the running system measures, in the form that systemd keeps: records of the TCG's Canonical Event
//! Log as JSON, each after a record separator (RFC 7464), without a number of their own.
//!
//! Like any log it proves nothing by itself: it is right if [`replay`] gives the value that the register has.
//!
//! Source: systemd's `docs/TPM2_PCR_MEASUREMENTS.md` and `/run/log/systemd/tpm2-measure.log`; TCG Canonical Event Log
//! Format 1.0. Departures of systemd's (no `recnum`, a sequence instead of an array) are kept.

use crate::tpm::hash::Hash;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// Most bytes of a log that are read.
pub const MAX: usize = 1 << 20;
/// Most records of a log.
const MAX_RECORDS: usize = 4096;
/// Begins a record.
const SEPARATOR: u8 = 0x1e;
/// `content_type` of this project's records.
const OWN: &str = "dawnkey";

/// Which register a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A PCR.
    Pcr(u64),
    /// An RTMR of a TD.
    Rtmr(u64),
    /// Something else, an NV index of systemd's for example.
    Other,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The register.
    pub place: Place,
    /// What it was extended with in each bank; banks that are not computed here are left out.
    pub digests: Vec<(Hash, Vec<u8>)>,
    /// Whose content it is, `systemd` for example.
    pub content_type: String,
    /// What was measured, as its writer says it.
    pub content: Map<String, Value>,
}

/// A log that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CelError {
    /// Too long.
    #[error("the log of measurements has more than {MAX} bytes or {MAX_RECORDS} records")]
    TooLarge,
    /// It does not begin as one.
    #[error("the log of measurements does not begin with a record separator (RFC 7464)")]
    NoSequence,
    /// A record that is none.
    #[error("record {number} of the log of measurements {problem}")]
    Record {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A register cannot be computed from it.
    #[error("record {number} of the log of measurements has no {} digest", .bank.name())]
    NoDigest {
        /// Which, from 1.
        number: usize,
        /// The bank.
        bank: Hash,
    },
}

impl Record {
    /// A record of this project: `event` is what was measured, `text` and `kind` say it to people and programs, `moment`
    /// is the boot's id in hex and microseconds since the boot.
    #[must_use]
    pub fn own(
        place: Place,
        digests: &[(Hash, Vec<u8>)],
        event: &[u8],
        (text, kind): (&str, &str),
        (boot_id, microseconds): (&str, u64),
    ) -> Self {
        let fields: [(&str, Value); 5] = [
            ("string", text.into()),
            ("bootId", boot_id.into()),
            ("timestamp", microseconds.into()),
            ("eventType", kind.into()),
            ("data", hex::encode(event).into()),
        ];
        Self {
            place,
            digests: digests.to_vec(),
            content_type: OWN.to_owned(),
            content: fields
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        }
    }

    /// What was measured, if the record is this project's and each digest is that of what it says.
    #[must_use]
    pub fn event(&self) -> Option<Vec<u8>> {
        if self.content_type != OWN {
            return None;
        }
        let event = hex::decode(self.content.get("data")?.as_str()?).ok()?;
        let mut digests = self.digests.iter();
        digests
            .all(|(hash, digest)| *digest == hash.digest(&[&event]))
            .then_some(event)
    }

    /// What its writer says of it to people.
    #[must_use]
    pub fn text(&self) -> &str {
        let text = self.content.get("string").and_then(Value::as_str);
        text.unwrap_or_default()
    }

    /// The record as it is appended to a log.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let digests: Vec<_> = self
            .digests
            .iter()
            .map(|(hash, digest)| json!({ "hashAlg": hash.name(), "digest": hex::encode(digest) }))
            .collect();
        let mut record = Map::new();
        match self.place {
            Place::Pcr(number) => drop(record.insert("pcr".to_owned(), number.into())),
            Place::Rtmr(number) => drop(record.insert("rtmr".to_owned(), number.into())),
            Place::Other => {}
        }
        record.insert("digests".to_owned(), digests.into());
        record.insert("content_type".to_owned(), self.content_type.as_str().into());
        record.insert("content".to_owned(), self.content.clone().into());
        format!("{}{}\n", char::from(SEPARATOR), Value::Object(record)).into_bytes()
    }
}

/// Reads a log; one without bytes has no records.
///
/// # Errors
/// [`CelError`] if it is none.
pub fn parse(log: &[u8]) -> Result<Vec<Record>, CelError> {
    if log.len() > MAX {
        return Err(CelError::TooLarge);
    }
    let Some((first, rest)) = log.split_first() else {
        return Ok(Vec::new());
    };
    if *first != SEPARATOR {
        return Err(CelError::NoSequence);
    }
    let mut records = Vec::new();
    for text in rest.split(|byte| *byte == SEPARATOR) {
        if records.len() == MAX_RECORDS {
            return Err(CelError::TooLarge);
        }
        let number = records.len() + 1;
        let record = read(text);
        records.push(record.map_err(|problem| CelError::Record { number, problem })?);
    }
    Ok(records)
}

fn read(text: &[u8]) -> Result<Record, &'static str> {
    let parsed: Value = serde_json::from_slice(text).map_err(|_| "is no JSON")?;
    let number = |name: &str| match parsed.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or("names no register"),
    };
    let place = match (number("pcr")?, number("rtmr")?) {
        (Some(pcr), None) => Place::Pcr(pcr),
        (None, Some(rtmr)) => Place::Rtmr(rtmr),
        (None, None) => Place::Other,
        (Some(_), Some(_)) => return Err("names two registers"),
    };
    let listed = parsed.get("digests").and_then(Value::as_array);
    let mut digests: Vec<(Hash, Vec<u8>)> = Vec::new();
    for one in listed.ok_or("has no list of digests")? {
        let [hash, digest] =
            ["hashAlg", "digest"].map(|name| one.get(name).and_then(Value::as_str));
        let (hash, digest) = hash
            .zip(digest)
            .ok_or("has a digest without name or value")?;
        let Some(hash) = Hash::from_name(hash) else {
            continue;
        };
        let digest = hex::decode(digest).map_err(|_| "has a digest that is not hexadecimal")?;
        if digest.len() != hash.size() {
            return Err("has a digest of another length than its algorithm's");
        }
        if digests.iter().any(|(before, _)| *before == hash) {
            return Err("has two digests of one algorithm");
        }
        digests.push((hash, digest));
    }
    let content_type = parsed.get("content_type").and_then(Value::as_str);
    let content = parsed.get("content").and_then(Value::as_object);
    Ok(Record {
        place,
        digests,
        content_type: content_type.unwrap_or_default().to_owned(),
        content: content.cloned().unwrap_or_default(),
    })
}

/// The value that the records about `place` leave in a register that was zero.
///
/// # Errors
/// [`CelError::NoDigest`] if one of them does not say what the bank was extended with.
pub fn replay(records: &[Record], place: Place, bank: Hash) -> Result<Vec<u8>, CelError> {
    let mut value = vec![0; bank.size()];
    for (number, record) in (1..).zip(records) {
        if record.place != place {
            continue;
        }
        let mut digests = record.digests.iter();
        let digest = digests.find(|(hash, _)| *hash == bank);
        let (_, digest) = digest.ok_or(CelError::NoDigest { number, bank })?;
        value = bank.digest(&[&value, digest]);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const PCR: Place = Place::Pcr(15);

    fn record(event: &[u8]) -> Record {
        let digests = [Hash::Sha256, Hash::Sha384].map(|hash| (hash, hash.digest(&[event])));
        Record::own(PCR, &digests, event, ("what", "unlocked"), ("b0", 7))
    }

    /// In the form in which systemd 255 writes it.
    fn systemd(pcr: u64, text: &str) -> String {
        let digest = hex::encode(Hash::Sha256.digest(&[text.as_bytes()]));
        format!(
            "\x1e{{\"pcr\":{pcr},\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\
             \"content_type\":\"systemd\",\"content\":{{\"string\":\"{text}\",\
             \"bootId\":\"1de5\",\"timestamp\":1,\"eventType\":\"machine-id\"}}}}\n"
        )
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let log = [record(b"one"), record(b"two")]
            .map(|record| record.line())
            .concat();
        let read = parse(&log).unwrap();
        assert_eq!(read, [record(b"one"), record(b"two")]);
        assert_eq!(read[0].event().as_deref(), Some(&b"one"[..]));
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[test]
    fn the_form_is_that_of_systemd() {
        let digest = hex::encode(Hash::Sha256.digest(&[b"e"]));
        let one = Record::own(
            PCR,
            &[(Hash::Sha256, Hash::Sha256.digest(&[b"e"]))],
            b"e",
            ("t", "cap"),
            ("b0", 7),
        );
        let expected = format!(
            "\x1e{{\"pcr\":15,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\
             \"content_type\":\"dawnkey\",\"content\":{{\"string\":\"t\",\"bootId\":\"b0\",\
             \"timestamp\":7,\"eventType\":\"cap\",\"data\":\"65\"}}}}\n"
        );
        assert_eq!(String::from_utf8(one.line()).unwrap(), expected);
    }

    #[test]
    fn replay_takes_the_records_of_its_register_whoever_wrote_them() {
        let mut log = systemd(11, "ready").into_bytes();
        log.extend(record(b"one").line());
        log.extend(systemd(15, "machine-id:1").bytes());
        let records = parse(&log).unwrap();
        let extend = |value: &[u8], event: &[u8]| {
            Hash::Sha256.digest(&[value, &Hash::Sha256.digest(&[event])])
        };
        let wanted = extend(&extend(&[0; 32], b"one"), b"machine-id:1");
        assert_eq!(replay(&records, PCR, Hash::Sha256).unwrap(), wanted);
        assert_eq!(
            replay(&records, Place::Rtmr(3), Hash::Sha384).unwrap(),
            [0; 48]
        );
        let missing = CelError::NoDigest {
            number: 3,
            bank: Hash::Sha384,
        };
        assert_eq!(replay(&records, PCR, Hash::Sha384), Err(missing));
    }

    #[test]
    fn what_a_record_says_counts_only_if_every_digest_is_of_it() {
        let mut changed = record(b"one");
        changed
            .content
            .insert("data".to_owned(), hex::encode(b"two").into());
        assert_eq!(changed.event(), None);
        let mut half = record(b"one");
        half.digests[1].1 = vec![0; 48];
        assert_eq!(half.event(), None);
        let mut foreign = record(b"one");
        foreign.content_type = "systemd".to_owned();
        assert_eq!(foreign.event(), None);
    }

    #[test]
    fn refuses_what_is_no_log() {
        let refused = |log: &[u8], problem| {
            assert_eq!(parse(log), Err(CelError::Record { number: 1, problem }));
        };
        assert_eq!(parse(b"{}"), Err(CelError::NoSequence));
        assert_eq!(parse(&vec![SEPARATOR; MAX + 1]), Err(CelError::TooLarge));
        refused(b"\x1e", "is no JSON");
        refused(b"\x1e{}", "has no list of digests");
        refused(
            br#"{"pcr":-1}"#
                .iter()
                .fold(vec![SEPARATOR], |mut log, byte| {
                    log.push(*byte);
                    log
                })
                .as_slice(),
            "names no register",
        );
        let digests = |list: &str| format!("\x1e{{\"pcr\":15,\"digests\":[{list}]}}").into_bytes();
        refused(&digests("{}"), "has a digest without name or value");
        refused(
            &digests(r#"{"hashAlg":"sha256","digest":"xy"}"#),
            "has a digest that is not hexadecimal",
        );
        refused(
            &digests(r#"{"hashAlg":"sha256","digest":"00"}"#),
            "has a digest of another length than its algorithm's",
        );
        let one = format!(r#"{{"hashAlg":"sha1","digest":"{}"}}"#, "00".repeat(20));
        refused(
            &digests(&format!("{one},{one}")),
            "has two digests of one algorithm",
        );
        let odd = parse(&digests(r#"{"hashAlg":"sm3_256","digest":"00"}"#)).unwrap();
        assert_eq!(odd[0].digests, []);
        let mut many = record(b"e").line().repeat(MAX_RECORDS);
        if many.len() > MAX {
            many = b"\x1e{\"digests\":[]}".repeat(MAX_RECORDS);
        }
        assert_eq!(parse(&many).unwrap().len(), MAX_RECORDS);
        many.extend(b"\x1e{\"digests\":[]}");
        assert_eq!(parse(&many), Err(CelError::TooLarge));
    }
}
