//! The log in use: whoever appends waits until the record is on disk.
//!
//! Records that arrive together share one `fsync`. While a record cannot be written, nothing is appended, so that no key
//! is released unseen: on a full disk until there is room again, after any other failure until a restart, which begins
//! with a check of the chain.

use super::chain::{AuditError, Head};
use super::entry::Entry;
use super::files;
use super::settings::Settings;
use super::ship::Shipper;
use super::writer::{Shared, Writer, day};
use crate::metrics::Metrics;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most records that wait for the writer.
const QUEUE: usize = 1024;
/// How often a full disk is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// There is no room for another record. Tried again every few seconds.
    #[error("append to the audit log {0}: no room on its disk")]
    Full(PathBuf),
    /// Records arrive faster than the disk takes them.
    #[error("append to the audit log: {QUEUE} records wait for the disk already")]
    Busy,
    /// An earlier write failed or the log is closed: nothing is appended any more.
    #[error("append to the audit log: an earlier write failed or the service is stopping")]
    Closed,
}

pub(super) struct Job {
    pub entry: Entry,
    /// Who waits for it, if anybody does.
    pub done: Option<oneshot::Sender<Result<(), LogError>>>,
}

/// An open log. Dropping it ends the writer after the records that were handed over.
pub struct AuditLog {
    jobs: mpsc::SyncSender<Job>,
    head: Arc<Shared>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl AuditLog {
    /// Opens a log, or makes it readable by its owner only, and checks the end of what is there.
    ///
    /// A last line without its end is what a power cut leaves of a record that nobody was told of: it is
    /// removed, and a record `audit-repaired` keeps its length. An empty file goes on where the newest ended one stops.
    pub fn open(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Self, LogError> {
        let path = &settings.file;
        let io = |source| LogError::Io {
            path: path.clone(),
            source,
        };
        let mut file = locked(path)?;
        let cut = files::cut_fragment(&mut file).map_err(io)?;
        let (head, day) = match newest(path, &mut file)? {
            Some((head, time)) => (head, Some(day(time))),
            None => (before(path)?, None),
        };
        let shipper = settings
            .also
            .map(|also| Shipper::start(also, Arc::clone(metrics)));
        let log = Self::spawn(Writer {
            settings: settings.clone(),
            length: file.metadata().map_err(io)?.len(),
            medium: Box::new(file),
            head,
            day,
            shipper: shipper.transpose().map_err(io)?,
            patience: PATIENCE,
        })
        .map_err(io)?;
        if cut > 0 {
            log.note(Entry::new("audit-repaired").with("removed_bytes", cut))?;
        }
        Ok(log)
    }

    pub(super) fn spawn(writer: Writer) -> std::io::Result<Self> {
        let head = Arc::new(Mutex::new(Some(writer.head)));
        let (jobs, inbox) = mpsc::sync_channel(QUEUE);
        let shared = Arc::clone(&head);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&inbox, &shared))?;
        Ok(Self {
            jobs,
            head,
            writer: Some(thread),
        })
    }

    /// Appends one record and returns when it is on disk.
    pub async fn append(&self, entry: Entry) -> Result<(), LogError> {
        let (done, answer) = oneshot::channel();
        self.hand_over(entry, Some(done))?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// Hands a record over without waiting for the disk. It is there as soon as one that is appended after it.
    pub fn note(&self, entry: Entry) -> Result<(), LogError> {
        if self.head().is_none() {
            return Err(LogError::Closed);
        }
        self.hand_over(entry, None)
    }

    /// A full queue means that the disk is slower than the verdicts: refuses instead of blocking the runtime.
    fn hand_over(
        &self,
        entry: Entry,
        done: Option<oneshot::Sender<Result<(), LogError>>>,
    ) -> Result<(), LogError> {
        let sent = self.jobs.try_send(Job { entry, done });
        sent.map_err(|why| match why {
            mpsc::TrySendError::Full(_) => LogError::Busy,
            mpsc::TrySendError::Disconnected(_) => LogError::Closed,
        })
    }

    /// The newest record; `None` while none can be written.
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

/// Opens a file of the log for one process.
fn locked(path: &Path) -> Result<File, LogError> {
    let io = |source| LogError::Io {
        path: path.to_owned(),
        source,
    };
    let file = files::open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(e)) => Err(io(e)),
    }
}

fn newest(path: &Path, file: &mut File) -> Result<Option<(Head, jiff::Timestamp)>, LogError> {
    files::resume(file).map_err(|source| LogError::Broken {
        path: path.to_owned(),
        source,
    })
}

/// The newest record of the files that have ended.
fn before(path: &Path) -> Result<Head, LogError> {
    let ended = files::newest_ended(path).map_err(|source| LogError::Io {
        path: path.to_owned(),
        source,
    })?;
    let Some(ended) = ended else {
        return Ok(Head::START);
    };
    let mut file = locked(&ended)?;
    let newest = newest(&ended, &mut file)?;
    Ok(newest.map_or(Head::START, |(head, _)| head))
}

#[cfg(test)]
mod tests;
