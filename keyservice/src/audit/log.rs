//! Writing the log: one thread owns the file; whoever appends waits until the record is on disk.
//!
//! Records that arrive together share one `fsync`. After a failed write nothing is appended any more, so that
//! no key is released unseen; a restart begins with a check of the chain.

use super::chain::{self, AuditError};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::sync::oneshot;

/// How much of an existing log's end is checked at start.
const TAIL_BYTES: u64 = 16 << 20;
/// Most records that share one `fsync`.
const BATCH: usize = 64;
/// Most records that wait for the writer.
const QUEUE: usize = 1024;

/// The log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened or written.
    #[error("write the audit log {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process writes to it.
    #[error("open the audit log {0}: another process writes to it")]
    InUse(PathBuf),
    /// What is there is not an unbroken chain.
    #[error(
        "continue the audit log {path}: {source}; keep that file for the investigation and name another one in [audit] file"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where it is broken.
        source: AuditError,
    },
    /// An earlier write failed or the log is closed: nothing is appended any more.
    #[error("append to the audit log: an earlier write failed or the service is stopping")]
    Closed,
}

/// What is to be recorded: an event's name and its circumstances.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    event: &'static str,
    fields: Map<String, Value>,
}

impl Entry {
    /// A record of this event.
    #[must_use]
    pub fn new(event: &'static str) -> Self {
        Self {
            event,
            fields: Map::new(),
        }
    }

    /// Adds a circumstance.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a circumstance if there is one.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The event's name.
    #[must_use]
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// One circumstance.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }
}

/// The newest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 when there is none.
    pub seq: u64,
    /// Its hash; zeros when there is none.
    pub hash: [u8; 32],
}

struct Job {
    entry: Entry,
    done: oneshot::Sender<Result<(), LogError>>,
}

/// An open log. Dropping it ends the writer after the records that were handed over.
pub struct AuditLog {
    jobs: mpsc::SyncSender<Job>,
    head: Arc<Mutex<Option<Head>>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl AuditLog {
    /// Opens a log, or makes it readable by its owner only, and checks the end of what is there.
    ///
    /// A last line without its end is what a power cut leaves of a record that nobody was told of: it is
    /// removed, and a record `audit-repaired` keeps its length.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let io = |source| LogError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(LogError::InUse(path.to_owned()));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(io(e)),
        }
        let cut = cut_fragment(&mut file).map_err(io)?;
        let head = resume(&mut file).map_err(|source| LogError::Broken {
            path: path.to_owned(),
            source,
        })?;
        let mut writer = Writer {
            path: path.to_owned(),
            file,
            head,
        };
        if cut > 0 {
            let repaired = Entry::new("audit-repaired").with("removed_bytes", cut);
            writer.write(std::slice::from_ref(&repaired))?;
        }
        let shared = Arc::new(Mutex::new(Some(writer.head)));
        let (jobs, inbox) = mpsc::sync_channel(QUEUE);
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&inbox, &state))
            .map_err(io)?;
        Ok(Self {
            jobs,
            head: shared,
            writer: Some(thread),
        })
    }

    /// Appends one record and returns when it is on disk.
    pub async fn append(&self, entry: Entry) -> Result<(), LogError> {
        let (done, answer) = oneshot::channel();
        // A full queue means that the disk is slower than the verdicts: refuse instead of blocking the runtime.
        self.jobs
            .try_send(Job { entry, done })
            .map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// The newest record; `None` after a failed write.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        // Closing the channel ends the writer once it has written what was handed over.
        let (closed, _) = mpsc::sync_channel(0);
        drop(std::mem::replace(&mut self.jobs, closed));
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has closed the log already.
            let _ = writer.join();
        }
    }
}

/// Removes an unterminated last line and returns its length.
fn cut_fragment(file: &mut File) -> std::io::Result<u64> {
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

/// Checks the end of the log and returns its newest record.
fn resume(file: &mut File) -> Result<Head, AuditError> {
    let length = file.seek(SeekFrom::End(0))?;
    let from_start = length <= TAIL_BYTES;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut reader = BufReader::new(file.take(length.min(TAIL_BYTES)));
    if !from_start {
        // Begin with the first whole line of the tail.
        std::io::BufRead::skip_until(&mut reader, b'\n')?;
    }
    let summary = chain::walk(reader, from_start, |_| ())?;
    let mut hash = chain::ZERO_HASH;
    hex::decode_to_slice(&summary.head, &mut hash).map_err(|e| AuditError::Malformed {
        line: summary.records,
        problem: e.to_string(),
    })?;
    Ok(Head {
        seq: summary.last_seq,
        hash,
    })
}

struct Writer {
    path: PathBuf,
    file: File,
    head: Head,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Job>, shared: &Mutex<Option<Head>>) {
        while let Ok(first) = inbox.recv() {
            let mut jobs = vec![first];
            while jobs.len() < BATCH {
                match inbox.try_recv() {
                    Ok(job) => jobs.push(job),
                    Err(_) => break,
                }
            }
            let (entries, waiting): (Vec<_>, Vec<_>) =
                jobs.into_iter().map(|job| (job.entry, job.done)).unzip();
            let outcome = self.write(&entries);
            let head = outcome.is_ok().then_some(self.head);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = head;
            let failed = outcome.is_err();
            let mut first = Some(outcome);
            for done in waiting {
                let told = match (failed, first.take()) {
                    (_, Some(outcome)) => outcome,
                    (false, None) => Ok(()),
                    (true, None) => Err(LogError::Closed),
                };
                // Whoever asked may have gone; the record stands all the same.
                let _ = done.send(told);
            }
            if failed {
                return;
            }
        }
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        let io = |source| LogError::Io {
            path: self.path.clone(),
            source,
        };
        let (mut bytes, mut head) = (Vec::new(), self.head);
        for entry in entries {
            let (seq, now) = (head.seq + 1, Timestamp::now());
            let (line, hash) = chain::line(seq, now, entry.event, &entry.fields, &head.hash)
                .map_err(|e| io(e.into()))?;
            bytes.extend_from_slice(&line);
            head = Head { seq, hash };
        }
        self.file.write_all(&bytes).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.head = head;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        (directory, path)
    }

    async fn fill(path: &Path, count: usize) -> Head {
        let log = AuditLog::open(path).unwrap();
        for n in 0..count {
            let entry = Entry::new("refuse").with("n", n);
            log.append(entry).await.unwrap();
        }
        log.head().unwrap()
    }

    #[tokio::test]
    async fn a_reopened_log_continues_its_chain() {
        let (_keep, path) = scratch();
        fill(&path, 2).await;
        let head = fill(&path, 3).await;
        let summary = chain::verify(std::fs::read(&path).unwrap().as_slice()).unwrap();
        assert_eq!((summary.records, head.seq), (5, 5));
        assert_eq!(summary.head, hex::encode(head.hash));
    }

    #[tokio::test]
    async fn concurrent_appends_make_one_chain() {
        let (_keep, path) = scratch();
        let log = Arc::new(AuditLog::open(&path).unwrap());
        let all: Vec<_> = (0..200)
            .map(|n| {
                let log = Arc::clone(&log);
                tokio::spawn(async move { log.append(Entry::new("refuse").with("n", n)).await })
            })
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }
        let summary = chain::verify(std::fs::read(&path).unwrap().as_slice()).unwrap();
        assert_eq!(summary.records, 200);
    }

    #[tokio::test]
    async fn refuses_to_continue_a_broken_chain() {
        let (_keep, path) = scratch();
        fill(&path, 3).await;
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"n\":1", "\"n\":2", 1)).unwrap();
        assert!(matches!(
            AuditLog::open(&path),
            Err(LogError::Broken {
                source: AuditError::Changed { line: 2, .. },
                ..
            })
        ));
    }

    #[tokio::test]
    async fn a_line_cut_by_a_power_failure_is_removed_and_reported() {
        let (_keep, path) = scratch();
        fill(&path, 2).await;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 10);
        std::fs::write(&path, &bytes).unwrap();
        let head = fill(&path, 1).await;
        let mut events = Vec::new();
        let bytes = std::fs::read(&path).unwrap();
        chain::read(bytes.as_slice(), |record| events.push(record.event)).unwrap();
        assert_eq!(events, ["refuse", "audit-repaired", "refuse"]);
        assert_eq!(head.seq, 3);
    }

    #[tokio::test]
    async fn refuses_a_log_that_another_writer_has_open() {
        let (_keep, path) = scratch();
        let _first = AuditLog::open(&path).unwrap();
        assert!(matches!(AuditLog::open(&path), Err(LogError::InUse(_))));
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_is_appended_any_more() {
        let log = AuditLog::open(Path::new("/dev/full")).unwrap();
        let first = log.append(Entry::new("refuse")).await;
        assert!(matches!(first, Err(LogError::Io { .. })));
        let second = log.append(Entry::new("refuse")).await;
        assert!(matches!(second, Err(LogError::Closed)));
        assert_eq!(log.head(), None);
    }
}
