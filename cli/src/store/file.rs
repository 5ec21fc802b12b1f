//! The file of an export: one line says what it is, then one line per record, and the last line proves that none is
//! missing.

use crate::files;
use crate::outcome::Failure;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FORMAT: &str = "dawnkey-export-1";
/// Longest line: a record of the largest size, and what stands around it.
const MAX_LINE: u64 = 2 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    format: String,
    /// The service that exported.
    pub(super) service: Uuid,
    /// The service that got the volumes; absent in copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Uuid>,
}

/// The last line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    records: u64,
    /// SHA-256 of everything above this line.
    sha256: String,
}

impl Head {
    pub(super) fn new(service: Uuid, to: Option<Uuid>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            service,
            to,
        }
    }
}

/// An export that is being written.
pub(super) struct Writer {
    file: File,
    path: PathBuf,
    digest: Sha256,
    records: u64,
}

impl Writer {
    /// Makes the file, which must not exist, for its owner alone.
    pub(super) fn create(path: &Path, head: &Head) -> Result<Self, Failure> {
        files::must_be_absent(path, "the export")?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(files::PRIVATE)
            .open(path);
        let mut writer = Self {
            file: file.map_err(|e| unwritable(path, &e))?,
            path: path.to_owned(),
            digest: Sha256::new(),
            records: 0,
        };
        writer.line(&json(head)?)?;
        Ok(writer)
    }

    /// Adds records; they are on disk when this returns.
    pub(super) fn records(&mut self, lines: &[String]) -> Result<(), Failure> {
        for line in lines {
            self.line(line)?;
            self.records += 1;
        }
        self.file
            .sync_data()
            .map_err(|e| unwritable(&self.path, &e))
    }

    /// Writes the last line. Returns how many records there are.
    pub(super) fn end(mut self) -> Result<u64, Failure> {
        let end = End {
            records: self.records,
            sha256: hex::encode(self.digest.clone().finalize()),
        };
        self.line(&json(&end)?)?;
        self.file
            .sync_all()
            .map_err(|e| unwritable(&self.path, &e))?;
        Ok(self.records)
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        let line = format!("{text}\n");
        self.digest.update(&line);
        self.file
            .write_all(line.as_bytes())
            .map_err(|e| unwritable(&self.path, &e))
    }
}

/// An export whose end was found to be right.
pub(crate) struct Checked {
    pub(super) head: Head,
    pub(super) records: u64,
    lines: BufReader<File>,
    path: PathBuf,
}

impl Checked {
    /// Reads a whole export once, to see that it is one and that it is complete.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|e| unreadable(path, &e.to_string()))?;
        let mut lines = BufReader::new(file);
        let mut digest = Sha256::new();
        let first = line(&mut lines, path)?.unwrap_or_default();
        let head: Head = serde_json::from_str(&first)
            .map_err(|e| unreadable(path, &format!("its first line is not an export's: {e}")))?;
        if head.format != FORMAT {
            return Err(unreadable(path, "another version of this tool wrote it"));
        }
        digest.update(&first);
        let mut records = 0;
        let mut last = line(&mut lines, path)?;
        while let Some(text) = last {
            let next = line(&mut lines, path)?;
            if next.is_none() {
                let end = serde_json::from_str(&text).ok();
                let sha256 = hex::encode(digest.finalize());
                if end != Some(End { records, sha256 }) {
                    break;
                }
                lines
                    .rewind()
                    .map_err(|e| unreadable(path, &e.to_string()))?;
                line(&mut lines, path)?;
                let path = path.to_owned();
                return Ok(Self {
                    head,
                    records,
                    lines,
                    path,
                });
            }
            digest.update(&text);
            records += 1;
            last = next;
        }
        Err(unreadable(
            path,
            "it is not complete, or was changed: its last line does not fit the others",
        ))
    }

    /// The next records, at most so many; none when all were read.
    pub(crate) fn next(&mut self, most: u64) -> Result<Vec<String>, Failure> {
        let mut batch = Vec::new();
        for _ in 0..most.min(self.records) {
            let Some(text) = line(&mut self.lines, &self.path)? else {
                return Err(unreadable(&self.path, "it became shorter"));
            };
            self.records -= 1;
            batch.push(text.trim_end().to_owned());
        }
        Ok(batch)
    }
}

fn line(from: &mut BufReader<File>, path: &Path) -> Result<Option<String>, Failure> {
    let mut text = String::new();
    let read = from.take(MAX_LINE).read_line(&mut text);
    match read.map_err(|e| unreadable(path, &e.to_string()))? {
        0 => Ok(None),
        _ if text.ends_with('\n') => Ok(Some(text)),
        _ => Err(unreadable(path, "a line has no end, or is too long")),
    }
}

fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|e| Failure::local(e, "the export", "JSON"))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("write the export: {error}");
    Failure::local(what, path.display(), "a file system with space left")
}

fn unreadable(path: &Path, problem: &str) -> Failure {
    let what = format!("read the export: {problem}");
    Failure::local(
        what,
        path.display(),
        "a file that `dawnkey store export` has finished",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(path: &Path) -> u64 {
        let head = Head::new(Uuid::from_u128(1), Some(Uuid::from_u128(2)));
        let mut writer = Writer::create(path, &head).unwrap();
        writer
            .records(&["{\"a\":1}".into(), "{\"b\":2}".into()])
            .unwrap();
        writer.records(&["{\"c\":3}".into()]).unwrap();
        writer.end().unwrap()
    }

    #[test]
    fn export_reads_back_in_order_and_in_batches() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        assert_eq!(written(&path), 3);
        let mut read = Checked::open(&path).unwrap();
        assert_eq!(read.head.to, Some(Uuid::from_u128(2)));
        assert_eq!(read.next(2).unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(read.next(2).unwrap(), ["{\"c\":3}"]);
        assert!(read.next(2).unwrap().is_empty());
    }

    #[test]
    fn refuses_an_export_that_was_cut_or_changed_anywhere() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        written(&path);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Checked::open(&path).is_err(), "cut at {cut}");
        }
        for place in 0..whole.len() {
            let mut bent = whole.clone();
            bent[place] ^= 1;
            std::fs::write(&path, &bent).unwrap();
            assert!(Checked::open(&path).is_err(), "changed at {place}");
        }
    }

    #[test]
    fn export_overwrites_nothing_and_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        written(&path);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let head = Head::new(Uuid::from_u128(1), None);
        assert!(Writer::create(&path, &head).is_err());
    }
}
