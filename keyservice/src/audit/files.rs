//! The files of one log: the one that is written to, and those that have ended.
//!
//! `audit.log` is written to. When it ends it is renamed to `audit.log.` and the number of its last record with 12
//! digits, and the next `audit.log` goes on with the next number and the hash of that record.

use super::chain::{self, AuditError, Head, Record, Summary};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How much of the end of an existing log is checked at start.
const TAIL_BYTES: u64 = 16 << 20;
/// Digits of the number in the name of a file that has ended.
const DIGITS: usize = 12;

/// A file of a log is not what it must be.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, with the line in that file.
    pub source: AuditError,
}

/// Opens the file for appending and makes it, readable by its owner only, where it does not exist.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path)
}

/// The name of a file that ends with this record.
pub(super) fn ended(path: &Path, seq: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{seq:0DIGITS$}"));
    PathBuf::from(name)
}

/// The name under which the next file is made.
pub(super) fn next(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    PathBuf::from(name)
}

/// The newest of the files that have ended.
pub(super) fn newest_ended(path: &Path) -> std::io::Result<Option<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut newest = None;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        let is_number = |n: &str| n.len() >= DIGITS && n.bytes().all(|b| b.is_ascii_digit());
        let number = number.filter(|n| is_number(n));
        if let Some(number) = number.and_then(|n| n.parse::<u64>().ok()) {
            newest = newest.max(Some((number, entry.path())));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Removes an unterminated last line and returns its length.
pub(super) fn cut_fragment(file: &mut File) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let window = length.min(chain::MAX_LINE);
    file.seek(SeekFrom::Start(length - window))?;
    let mut tail = Vec::new();
    Read::by_ref(file).take(window).read_to_end(&mut tail)?;
    let kept = match tail.iter().rposition(|b| *b == b'\n') {
        Some(at) => length - window + at as u64 + 1,
        None if window == length => 0,
        // No line is that long: leave it to the check of the chain.
        None => return Ok(0),
    };
    if kept < length {
        file.set_len(kept)?;
        file.sync_all()?;
    }
    Ok(length - kept)
}

/// Checks the end of a file and returns its newest record with its time; `None` when it is empty.
pub(super) fn resume(file: &mut File) -> Result<Option<(Head, jiff::Timestamp)>, AuditError> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut reader = BufReader::new(file.take(length.min(TAIL_BYTES)));
    if length > TAIL_BYTES {
        // Begin with the first whole line of the tail.
        reader.skip_until(b'\n')?;
    }
    let mut summary = Summary::default();
    let head = chain::walk(reader, None, &mut summary, |_, _| ())?;
    Ok(head.zip(summary.last))
}

/// Walks through the files of a log, whatever order they are given in, and hands every record to `each` with its line
/// (without the line feed).
///
/// They must be one unbroken chain, which may begin with any record: [`Summary::first_seq`] says with which.
///
/// # Errors
/// [`FileError`] naming the file; a first record that does not follow the file before is line 1.
pub fn read_files(
    paths: &[PathBuf],
    mut each: impl FnMut(Record, &[u8]),
) -> Result<Summary, FileError> {
    let mut files = Vec::new();
    for path in paths {
        let at = |source| FileError {
            path: path.clone(),
            source,
        };
        let file = File::open(path).map_err(|e| at(e.into()))?;
        let mut reader = BufReader::new(file);
        if let Some(seq) = first_number(&mut reader).map_err(at)? {
            files.push((seq, path, reader));
        }
    }
    files.sort_by_key(|(seq, ..)| *seq);
    let (mut summary, mut head) = (Summary::default(), None);
    for (_, path, reader) in files {
        head = chain::walk(reader, head, &mut summary, &mut each).map_err(|source| FileError {
            path: path.clone(),
            source,
        })?;
    }
    Ok(summary)
}

/// Number of the first record, leaving the reader at the file's begin; `None` when the file is empty.
fn first_number(reader: &mut BufReader<File>) -> Result<Option<u64>, AuditError> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let mut line = Vec::new();
    let limit = reader.by_ref().take(chain::MAX_LINE);
    BufReader::new(limit).read_until(b'\n', &mut line)?;
    reader.seek(SeekFrom::Start(0))?;
    if line.is_empty() {
        return Ok(None);
    }
    // What is wrong with the line is said when it is checked; until then it counts as the first of all.
    let numbered: Option<Numbered> = serde_json::from_slice(&line).ok();
    Ok(Some(numbered.map_or(0, |numbered| numbered.seq)))
}
