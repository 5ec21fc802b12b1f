#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::audit::log::AuditLog;
use crate::audit::read_files;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file on a disk with so much room.
struct Cramped {
    file: File,
    room: Arc<AtomicU64>,
    used: u64,
}

impl Medium for Cramped {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let room = self.room.load(Ordering::Relaxed).saturating_sub(self.used);
        let fits = bytes.len().min(usize::try_from(room).unwrap());
        self.file.write_all(&bytes[..fits])?;
        self.used += fits as u64;
        match fits == bytes.len() {
            true => Ok(()),
            false => Err(ErrorKind::StorageFull.into()),
        }
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.used = length;
        self.file.cut(length)
    }
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    (directory, path)
}

/// Files of the log, oldest first, and the one that is written to.
fn files_of(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut all: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn cramped(path: &Path, room: &Arc<AtomicU64>) -> AuditLog {
    let medium = Cramped {
        file: files::open(path).unwrap(),
        room: Arc::clone(room),
        used: 0,
    };
    AuditLog::spawn(Writer {
        settings: Settings::file(path),
        medium: Box::new(medium),
        length: 0,
        head: Head::START,
        day: None,
        shipper: None,
        patience: Duration::from_millis(1),
    })
    .unwrap()
}

#[tokio::test]
async fn a_full_disk_refuses_records_until_there_is_room_and_the_chain_has_no_torn_line() {
    let (_keep, path) = scratch();
    let room = Arc::new(AtomicU64::new(400));
    let log = cramped(&path, &room);
    log.append(Entry::new("release")).await.unwrap();
    let refused = log.append(Entry::new("release").with("detail", "x".repeat(400)));
    assert!(matches!(refused.await, Err(LogError::Io { .. })));
    assert!(matches!(
        log.append(Entry::new("release")).await,
        Err(LogError::Full(_))
    ));
    assert_eq!(log.head(), None);
    room.store(1 << 20, Ordering::Relaxed);
    while log
        .append(Entry::new("release").with("n", 2))
        .await
        .is_err()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut events = Vec::new();
    read_files(&[path], |record, _| events.push(record.event)).unwrap();
    assert_eq!(events, ["release", "audit-resumed", "release"]);
}

#[tokio::test]
async fn files_end_by_size_and_their_chain_goes_on() {
    let (_keep, path) = scratch();
    let settings = Settings {
        rotate_bytes: Some(4096),
        ..Settings::file(&path)
    };
    for _ in 0..2 {
        let log = AuditLog::open(&settings, &Arc::default()).unwrap();
        for n in 0..20 {
            log.append(Entry::new("refuse").with("n", n)).await.unwrap();
        }
    }
    let all = files_of(&path);
    assert!(all.len() > 2, "{all:?}");
    assert!(
        all.iter()
            .all(|file| std::fs::metadata(file).unwrap().len() <= 4096)
    );
    let mut befores = Vec::new();
    let summary = read_files(&all, |record, _| {
        befores.extend(record.fields.get("before").cloned());
    });
    let summary = summary.unwrap();
    assert_eq!(summary.records, summary.last_seq);
    assert_eq!(summary.last_seq, 40 + befores.len() as u64);
    assert_eq!(befores.len(), all.len() - 1);
    // By name, the file that is written to stands first, then the oldest.
    let error = read_files(&all[..2], |_, _| ()).unwrap_err();
    assert_eq!(error.path, path);
    assert!(matches!(
        error.source,
        crate::audit::AuditError::Broken { line: 1, .. }
    ));
}

#[tokio::test]
async fn a_file_ends_with_its_day() {
    let (_keep, path) = scratch();
    drop(AuditLog::open(&Settings::file(&path), &Arc::default()).unwrap());
    let time: Timestamp = "2026-11-21T23:59:59Z".parse().unwrap();
    let fields = serde_json::Map::new();
    let (line, _) = chain::line(1, time, "start", &fields, &chain::ZERO_HASH).unwrap();
    std::fs::write(&path, line).unwrap();
    let settings = Settings {
        rotate_daily: true,
        ..Settings::file(&path)
    };
    let log = AuditLog::open(&settings, &Arc::default()).unwrap();
    log.append(Entry::new("release")).await.unwrap();
    log.append(Entry::new("release")).await.unwrap();
    let all = files_of(&path);
    assert_eq!(all, [path.clone(), files::ended(&path, 1)]);
    assert_eq!(read_files(&all, |_, _| ()).unwrap().records, 4);
}

#[tokio::test]
async fn a_rotation_that_a_power_cut_interrupted_is_finished_at_start() {
    let (_keep, path) = scratch();
    let settings = Settings::file(&path);
    let head = {
        let log = AuditLog::open(&settings, &Arc::default()).unwrap();
        log.append(Entry::new("release")).await.unwrap();
        log.head().unwrap()
    };
    std::fs::rename(&path, files::ended(&path, head.seq)).unwrap();
    std::fs::write(files::next(&path), "").unwrap();
    let log = AuditLog::open(&settings, &Arc::default()).unwrap();
    log.append(Entry::new("release")).await.unwrap();
    assert_eq!(log.head().unwrap().seq, 2);
    let all = [path.clone(), files::ended(&path, 1)];
    assert_eq!(read_files(&all, |_, _| ()).unwrap().first_seq, 1);
}
