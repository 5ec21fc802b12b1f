//! The chain itself: bytes of a line, and the proof that lines follow one another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::io::BufRead;

/// `prev` of the first record.
pub const ZERO_HASH: [u8; 32] = [0; 32];

/// Longest line, in bytes, that is read.
pub(super) const MAX_LINE: u64 = 64 << 10;

/// `,"hash":"` + 64 hex digits + `"}`.
const SUFFIX_BYTES: usize = 9 + 64 + 2;

/// One record as it stands in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// 1, 2, 3, …
    pub seq: u64,
    /// When it was written, RFC 3339.
    pub time: Timestamp,
    /// What happened, `release`.
    pub event: String,
    /// The circumstances.
    pub fields: Map<String, Value>,
    /// Hash of the record before, hex.
    pub prev: String,
    /// Hash of this record, hex.
    pub hash: String,
}

#[derive(Serialize)]
struct Body<'a> {
    seq: u64,
    time: Timestamp,
    event: &'a str,
    fields: &'a Map<String, Value>,
    prev: String,
}

/// The log is not an unbroken chain.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read.
    #[error("read the audit log: {0}")]
    Read(#[from] std::io::Error),
    /// A line is not a record.
    #[error("audit record {line}: {problem}")]
    Malformed {
        /// Line number, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A record was changed after it was written.
    #[error(
        "audit record {line}: its content gives hash {computed}, it says {claimed}; it was changed after it was written"
    )]
    Changed {
        /// Line number, from 1.
        line: u64,
        /// Hash of what stands there.
        computed: String,
        /// Hash that the line claims.
        claimed: String,
    },
    /// A record does not follow the one before.
    #[error(
        "audit record {line}: it follows a record with hash {claimed}, the line before has {found}; records were removed, inserted or swapped"
    )]
    Broken {
        /// Line number, from 1.
        line: u64,
        /// `prev` of this line.
        claimed: String,
        /// `hash` of the line before.
        found: String,
    },
    /// The numbers of two neighbours do not follow one another.
    #[error("audit record {line}: it has number {found} instead of {expected}")]
    Sequence {
        /// Line number, from 1.
        line: u64,
        /// What follows the line before.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// The last line has no end: writing it was interrupted, or the file was cut.
    #[error("audit record {line}: the last line is cut off after {bytes} bytes")]
    Unterminated {
        /// Line number, from 1.
        line: u64,
        /// Bytes of the fragment.
        bytes: usize,
    },
}

/// A record's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 when there is none.
    pub seq: u64,
    /// Its hash; zeros when there is none.
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first record.
    pub const START: Self = Self {
        seq: 0,
        hash: ZERO_HASH,
    };
}

/// What an intact log holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records that were checked.
    pub records: u64,
    /// Number of the first record; 0 when there is none. Above 1, earlier records are in other files.
    pub first_seq: u64,
    /// Number of the last record; 0 when there is none.
    pub last_seq: u64,
    /// Hash of the last record in hex; 64 zeros when there is none.
    pub head: String,
    /// Time of the first record.
    pub first: Option<Timestamp>,
    /// Time of the last record.
    pub last: Option<Timestamp>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            records: 0,
            first_seq: 0,
            last_seq: 0,
            head: hex::encode(ZERO_HASH),
            first: None,
            last: None,
        }
    }
}

impl Summary {
    fn add(&mut self, record: &Record) {
        if self.records == 0 {
            self.first_seq = record.seq;
            self.first = Some(record.time);
        }
        self.records += 1;
        self.last_seq = record.seq;
        self.head.clone_from(&record.hash);
        self.last = Some(record.time);
    }
}

fn digest(prev: &[u8; 32], body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(prev)
        .chain_update(body)
        .finalize()
        .into()
}

/// Makes the line of a record, with its line feed, and its hash.
pub(super) fn line(
    seq: u64,
    time: Timestamp,
    event: &str,
    fields: &Map<String, Value>,
    prev: &[u8; 32],
) -> Result<(Vec<u8>, [u8; 32]), serde_json::Error> {
    let mut bytes = serde_json::to_vec(&Body {
        seq,
        time,
        event,
        fields,
        prev: hex::encode(prev),
    })?;
    let hash = digest(prev, &bytes);
    bytes.pop();
    bytes.extend_from_slice(format!(",\"hash\":\"{}\"}}\n", hex::encode(hash)).as_bytes());
    Ok((bytes, hash))
}

fn hash32(line: u64, name: &str, text: &str) -> Result<[u8; 32], AuditError> {
    let problem = || AuditError::Malformed {
        line,
        problem: format!("`{name}` is not 64 lowercase hex digits"),
    };
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| problem())?;
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(problem());
    }
    Ok(bytes)
}

/// Parses one line (without its line feed) and checks its hash against its own content.
fn parse(number: u64, bytes: &[u8]) -> Result<(Record, [u8; 32], [u8; 32]), AuditError> {
    let malformed = |problem: String| AuditError::Malformed {
        line: number,
        problem,
    };
    let record: Record = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    let prev = hash32(number, "prev", &record.prev)?;
    let hash = hash32(number, "hash", &record.hash)?;
    let at = bytes.len().saturating_sub(SUFFIX_BYTES);
    let (head, suffix) = bytes.split_at(at);
    if suffix != format!(",\"hash\":\"{}\"}}", record.hash).as_bytes() {
        return Err(malformed("its hash does not stand at its end".into()));
    }
    let mut body = head.to_vec();
    body.push(b'}');
    let computed = digest(&prev, &body);
    if computed != hash {
        return Err(AuditError::Changed {
            line: number,
            computed: hex::encode(computed),
            claimed: record.hash,
        });
    }
    Ok((record, prev, hash))
}

/// Walks through a log and hands every record to `each`, checking the chain from its first record on.
pub fn read(reader: impl BufRead, mut each: impl FnMut(Record)) -> Result<Summary, AuditError> {
    let mut summary = Summary::default();
    walk(reader, Some(Head::START), &mut summary, |record, _| {
        each(record)
    })?;
    Ok(summary)
}

/// Checks that a log is one unbroken chain from its first record on.
pub fn verify(reader: impl BufRead) -> Result<Summary, AuditError> {
    read(reader, |_| ())
}

/// Walks on from the record `before` and gives the newest one; `None` begins with any record. `each` gets every record
/// and its line without the line feed; `summary` is added to.
pub(super) fn walk(
    mut reader: impl BufRead,
    mut before: Option<Head>,
    summary: &mut Summary,
    mut each: impl FnMut(Record, &[u8]),
) -> Result<Option<Head>, AuditError> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let got = std::io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut bytes)?;
        if got == 0 {
            break;
        }
        if bytes.pop_if(|last| *last == b'\n').is_none() {
            if got as u64 == MAX_LINE {
                let problem = format!("longer than {MAX_LINE} bytes");
                return Err(AuditError::Malformed {
                    line: number,
                    problem,
                });
            }
            return Err(AuditError::Unterminated {
                line: number,
                bytes: got,
            });
        }
        let (record, prev, hash) = parse(number, &bytes)?;
        match before {
            Some(before) => follows(number, &record, prev, &before)?,
            // The first record of all has nothing before it.
            None if record.seq == 1 => follows(number, &record, prev, &Head::START)?,
            None => {}
        }
        before = Some(Head {
            seq: record.seq,
            hash,
        });
        summary.add(&record);
        each(record, &bytes);
    }
    Ok(before)
}

fn follows(line: u64, record: &Record, prev: [u8; 32], before: &Head) -> Result<(), AuditError> {
    if prev != before.hash {
        return Err(AuditError::Broken {
            line,
            claimed: record.prev.clone(),
            found: hex::encode(before.hash),
        });
    }
    if record.seq != before.seq + 1 {
        return Err(AuditError::Sequence {
            line,
            expected: before.seq + 1,
            found: record.seq,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn log(count: u64) -> Vec<u8> {
        let (mut bytes, mut prev) = (Vec::new(), ZERO_HASH);
        for seq in 1..=count {
            let fields = serde_json::json!({"volume": "v", "detail": "é \" \\ x"});
            let time = Timestamp::from_second(1_800_000_000).unwrap();
            let fields = fields.as_object().unwrap();
            let (line, hash) = line(seq, time, "release", fields, &prev).unwrap();
            bytes.extend(line);
            prev = hash;
        }
        bytes
    }

    fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes
            .split_inclusive(|b| *b == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }

    #[test]
    fn intact_log_verifies() {
        let summary = verify(log(3).as_slice()).unwrap();
        assert_eq!((summary.records, summary.last_seq), (3, 3));
        assert_eq!(verify([].as_slice()).unwrap().records, 0);
    }

    #[test]
    fn detects_every_flipped_bit() {
        let good = log(3);
        for bit in 0..good.len() * 8 {
            let mut bent = good.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(bent.as_slice()).is_err(), "bit {bit} went unseen");
        }
    }

    #[test]
    fn detects_a_changed_record() {
        let text = String::from_utf8(log(2)).unwrap();
        let bent = text.replacen("\"release\"", "\"refuse\"", 1);
        let found = verify(bent.as_bytes());
        assert!(matches!(found, Err(AuditError::Changed { line: 1, .. })));
    }

    #[test]
    fn detects_removed_swapped_and_repeated_records() {
        let all = lines(&log(4));
        for order in [
            vec![0, 2, 3],
            vec![0, 2, 1, 3],
            vec![0, 1, 1, 2],
            vec![1, 2],
        ] {
            let bent: Vec<u8> = order.iter().flat_map(|i| all[*i].clone()).collect();
            let found = verify(bent.as_slice());
            assert!(matches!(found, Err(AuditError::Broken { .. })), "{order:?}");
        }
    }

    #[test]
    fn detects_a_cut_line() {
        let mut cut = log(2);
        cut.truncate(cut.len() - 5);
        let found = verify(cut.as_slice());
        assert!(matches!(
            found,
            Err(AuditError::Unterminated { line: 2, .. })
        ));
    }

    #[test]
    fn refuses_a_line_without_end_before_reading_it_all() {
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        let found = verify(endless);
        assert!(matches!(found, Err(AuditError::Malformed { line: 1, .. })));
    }

    #[test]
    fn number_out_of_sequence_is_detected_even_with_a_right_hash() {
        let (first, second) = (log(1), {
            let head = hash32(1, "x", &verify(log(1).as_slice()).unwrap().head).unwrap();
            let time = Timestamp::from_second(0).unwrap();
            line(7, time, "refuse", &Map::new(), &head).unwrap().0
        });
        let found = verify([first, second].concat().as_slice());
        assert!(matches!(
            found,
            Err(AuditError::Sequence {
                expected: 2,
                found: 7,
                ..
            })
        ));
    }
}
