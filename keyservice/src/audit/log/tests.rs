#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::audit::chain;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    (directory, path)
}

fn open(path: &Path) -> Result<AuditLog, LogError> {
    AuditLog::open(&Settings::file(path), &Arc::default())
}

async fn fill(path: &Path, count: usize) -> Head {
    let log = open(path).unwrap();
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
async fn a_note_is_on_disk_with_the_record_behind_it() {
    let (_keep, path) = scratch();
    let log = open(&path).unwrap();
    log.note(Entry::new("kek-unwrap")).unwrap();
    log.append(Entry::new("release")).await.unwrap();
    let summary = chain::verify(std::fs::read(&path).unwrap().as_slice()).unwrap();
    assert_eq!(summary.records, 2);
}

#[tokio::test]
async fn concurrent_appends_make_one_chain() {
    let (_keep, path) = scratch();
    let log = Arc::new(open(&path).unwrap());
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
        open(&path),
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
    let _first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(LogError::InUse(_))));
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_appended_any_more() {
    let log = open(Path::new("/dev/full")).unwrap();
    let first = log.append(Entry::new("refuse")).await;
    assert!(matches!(first, Err(LogError::Io { .. })));
    let second = log.append(Entry::new("refuse")).await;
    assert!(matches!(second, Err(LogError::Closed)));
    assert_eq!(log.head(), None);
}
