//! What this boot was closed with: left in `/run` by the unlock for a volume that is to be opened again. No secret.
//!
//! Whoever changes it changes nothing but what is asked for: the key service compares it with the evidence.

use crate::lease::RUN;
use crate::run::Finished;
use dawnkey_proto::closing::Opened;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Most bytes of the file that are read.
const MAX: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    closed_with: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    volume: Uuid,
    generation: u64,
}

/// Where it is.
#[must_use]
pub fn file() -> PathBuf {
    Path::new(RUN).join("boot.json")
}

/// Leaves the record of a boot.
///
/// # Errors
/// It could not be written.
pub fn leave(file: &Path, finished: &Finished) -> io::Result<()> {
    let entries = finished.closed_with.iter().map(|opened| Entry {
        volume: opened.volume,
        generation: opened.generation,
    });
    let text = serde_json::to_vec(&Record {
        closed_with: entries.collect(),
    })?;
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}

/// Reads the record of this boot.
///
/// # Errors
/// There is none, or it is none that [`leave`] writes.
pub fn read(file: &Path) -> io::Result<Vec<Opened>> {
    let text = fs::read(file)?;
    if text.len() > MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let record: Record = serde_json::from_slice(&text)?;
    let opened = record.closed_with.into_iter().map(|entry| Opened {
        volume: entry.volume,
        generation: entry.generation,
    });
    Ok(opened.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_attest::collect::{Closing, Register};

    #[test]
    fn a_record_is_read_as_it_was_left_and_garbage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run").join("boot.json");
        assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        let closed_with = [(1, 5), (2, 1)].map(|(volume, generation)| Opened {
            volume: Uuid::from_u128(volume),
            generation,
        });
        let finished = Finished {
            done: Vec::new(),
            missing: Vec::new(),
            evidence: "vtpm",
            closed_with: closed_with.to_vec(),
            closing: Closing::Register(Register::Pcr15),
        };
        leave(&file, &finished).unwrap();
        assert_eq!(read(&file).unwrap(), closed_with);
        for bad in [&b"{}"[..], b"[]", b"", &vec![b' '; MAX + 1]] {
            fs::write(&file, bad).unwrap();
            assert!(read(&file).is_err());
        }
    }
}
