//! The thread that owns the file: chains records, writes them, ends files, and waits where there is no room.

use super::chain::{self, Head};
use super::entry::Entry;
use super::files;
use super::log::{Job, LogError};
use super::settings::Settings;
use super::ship::Shipper;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Most records that share one `fsync`.
const BATCH: usize = 64;

/// What is written to.
pub(super) trait Medium: Send {
    /// Appends all of the bytes, or some of them and an error.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// Returns when what was appended is on disk.
    fn sync(&mut self) -> std::io::Result<()>;
    /// Takes everything behind the first `length` bytes back, durably.
    fn cut(&mut self, length: u64) -> std::io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.set_len(length)?;
        self.sync_all()
    }
}

/// The newest record for readers; `None` while nothing can be written.
pub(super) type Shared = Mutex<Option<Head>>;

pub(super) struct Writer {
    pub settings: Settings,
    pub medium: Box<dyn Medium>,
    /// Bytes of the file that is written to.
    pub length: u64,
    pub head: Head,
    /// Day of the newest record in this file.
    pub day: Option<Date>,
    pub shipper: Option<Shipper>,
    /// How often a full disk is tried again.
    pub patience: Duration,
}

/// What became of a batch.
enum Outcome {
    Written,
    /// No room; nothing of it is there.
    Full(LogError),
    /// What is on disk is not known.
    Failed(LogError),
}

impl Writer {
    /// Writes what comes until nobody can send any more, or a write fails for another reason than missing room.
    pub fn run(mut self, inbox: &mpsc::Receiver<Job>, shared: &Shared) {
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
            let told = match &outcome {
                Outcome::Written => Some(self.head),
                Outcome::Full(_) | Outcome::Failed(_) => None,
            };
            set(shared, told);
            let (mut error, last) = match outcome {
                Outcome::Written => (None, false),
                Outcome::Full(error) => (Some(error), false),
                Outcome::Failed(error) => (Some(error), true),
            };
            let failed = error.is_some();
            for done in waiting.into_iter().flatten() {
                let answer = match (error.take(), failed) {
                    (Some(error), _) => Err(error),
                    (None, true) => Err(LogError::Closed),
                    (None, false) => Ok(()),
                };
                // Whoever asked may have gone; the record stands all the same.
                let _ = done.send(answer);
            }
            if last || (failed && !self.wait_for_room(entries.len(), inbox, shared)) {
                return;
            }
        }
    }

    /// After so many records that were refused, refuses what comes until one can be written again. Whether it can: else
    /// the log is closed.
    fn wait_for_room(
        &mut self,
        mut refused: usize,
        inbox: &mpsc::Receiver<Job>,
        shared: &Shared,
    ) -> bool {
        loop {
            match inbox.recv_timeout(self.patience) {
                Ok(job) => {
                    refused += 1;
                    if let Some(done) = job.done {
                        let _ = done.send(Err(LogError::Full(self.settings.file.clone())));
                    }
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return false,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            let resumed = Entry::new("audit-resumed").with("refused", refused);
            match self.write(std::slice::from_ref(&resumed)) {
                Outcome::Written => {
                    set(shared, Some(self.head));
                    return true;
                }
                Outcome::Full(_) => {}
                Outcome::Failed(_) => return false,
            }
        }
    }

    fn write(&mut self, entries: &[Entry]) -> Outcome {
        let now = Timestamp::now();
        let made = match self.lines(entries, now) {
            Ok(made) => made,
            Err(error) => return Outcome::Failed(self.io(error)),
        };
        let (bytes, head) = match self.is_at_end(made.0.len(), now) {
            false => made,
            true => match self.rotate(entries, now) {
                Ok(made) => made,
                Err(error) => return self.unwritten(error),
            },
        };
        if let Err(error) = self.medium.append(&bytes) {
            return self.unwritten(error);
        }
        if let Err(error) = self.medium.sync() {
            return Outcome::Failed(self.io(error));
        }
        self.length += bytes.len() as u64;
        let records = usize::try_from(head.seq - self.head.seq).unwrap_or(usize::MAX);
        (self.head, self.day) = (head, Some(day(now)));
        if let Some(shipper) = &self.shipper {
            shipper.ship(&bytes, records);
        }
        Outcome::Written
    }

    /// Puts the file back to what it was.
    fn unwritten(&mut self, error: std::io::Error) -> Outcome {
        let no_room = matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        );
        match self.medium.cut(self.length) {
            Ok(()) if no_room => Outcome::Full(self.io(error)),
            _ => Outcome::Failed(self.io(error)),
        }
    }

    fn io(&self, source: std::io::Error) -> LogError {
        LogError::Io {
            path: self.settings.file.clone(),
            source,
        }
    }

    /// The lines of entries behind the newest record, and the record that is the newest then.
    fn lines(&self, entries: &[Entry], now: Timestamp) -> std::io::Result<(Vec<u8>, Head)> {
        let (mut bytes, mut head) = (Vec::new(), self.head);
        for entry in entries {
            let seq = head.seq + 1;
            let (line, hash) = chain::line(seq, now, entry.event, &entry.fields, &head.hash)?;
            bytes.extend_from_slice(&line);
            head = Head { seq, hash };
        }
        Ok((bytes, head))
    }

    /// Whether the file must end before so many bytes more.
    fn is_at_end(&self, more: usize, now: Timestamp) -> bool {
        let too_long = |limit| self.length.saturating_add(more as u64) > limit;
        let by_size = self.settings.rotate_bytes.is_some_and(too_long);
        let by_day = self.settings.rotate_daily && self.day.is_some_and(|last| last != day(now));
        self.length > 0 && (by_size || by_day)
    }

    /// Ends the file and begins the next, whose first record names the one before; gives the lines to write there.
    fn rotate(&mut self, entries: &[Entry], now: Timestamp) -> std::io::Result<(Vec<u8>, Head)> {
        let current = &self.settings.file;
        let (next, ended) = (files::next(current), files::ended(current, self.head.seq));
        // What an interrupted rotation has left there holds nothing.
        let _ = std::fs::remove_file(&next);
        let file = files::open(&next)?;
        file.lock()?;
        std::fs::rename(current, &ended)?;
        if let Err(error) = std::fs::rename(&next, current) {
            std::fs::rename(&ended, current)?;
            return Err(error);
        }
        sync_directory(current)?;
        let name = ended.file_name().map(|name| name.to_string_lossy());
        (self.medium, self.length, self.day) = (Box::new(file), 0, None);
        let begin = Entry::new("audit-file").with("before", name.unwrap_or_default());
        let entries: Vec<Entry> = std::iter::once(begin)
            .chain(entries.iter().cloned())
            .collect();
        self.lines(&entries, now)
    }
}

fn set(shared: &Shared, head: Option<Head>) {
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = head;
}

/// The day of a time, UTC.
pub(super) fn day(time: Timestamp) -> Date {
    Zoned::new(time, TimeZone::UTC).date()
}

/// Makes renamed files stay renamed.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
