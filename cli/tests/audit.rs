//! `dawnkey audit` with the real binary, on logs that the key service's own code wrote.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::dawnkey;
use dawnkey_keyservice::audit::{AuditLog, Entry, Settings};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VOLUME: &str = "5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11";

/// Writes a log of four records.
fn log(dir: &Path) -> PathBuf {
    let path = dir.join("audit.log");
    let log = AuditLog::open(&Settings::file(&path), &Arc::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for entry in [
            Entry::new("start").with("version", "0.1.0"),
            Entry::new("provision").with("volume", VOLUME),
            Entry::new("refuse")
                .with("volume", VOLUME)
                .with("detail", "PCR 4 is \u{7} odd"),
            Entry::new("release").with("volume", "another"),
        ] {
            log.append(entry).await.unwrap();
        }
    });
    path
}

fn verify(dir: &Path, more: &[&str]) -> (i32, Value) {
    let args = [&["audit", "verify", "audit.log", "--json"], more].concat();
    let run = dawnkey(dir, &args);
    (run.code, serde_json::from_str(&run.out).unwrap())
}

#[test]
fn an_intact_log_verifies() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let (code, verdict) = verify(dir.path(), &[]);
    assert_eq!(
        (code, &verdict["intact"], &verdict["records"]),
        (0, &true.into(), &4.into())
    );
    let run = dawnkey(dir.path(), &["audit", "verify", "audit.log"]);
    assert!(
        run.out.starts_with("intact   audit.log\nrecords  4\n"),
        "{}",
        run.out
    );
}

#[test]
fn tampering_ends_with_code_1_and_names_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = log(dir.path());
    let good = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    for (bent, named) in [
        (
            good.replace("\"refuse\"", "\"accept\""),
            "audit record 3: its content gives hash",
        ),
        (
            [lines[0], lines[2], lines[3]].concat(),
            "audit record 2: it follows a record with hash",
        ),
        (
            [lines[0], lines[2], lines[1]].concat(),
            "audit record 2: it follows a record with hash",
        ),
        (
            good[..good.len() - 9].to_owned(),
            "audit record 4: the last line is cut off",
        ),
        (format!("{good}garbage\n"), "audit record 5: "),
    ] {
        std::fs::write(&path, bent).unwrap();
        let (code, verdict) = verify(dir.path(), &[]);
        assert_eq!((code, &verdict["intact"]), (1, &false.into()));
        let problem = verdict["problem"].as_str().unwrap();
        let problem = problem.strip_prefix("audit.log: ").unwrap();
        assert!(problem.starts_with(named), "{problem}");
    }
}

#[test]
fn records_cut_off_at_the_end_are_found_by_a_noted_head() {
    let dir = tempfile::tempdir().unwrap();
    let path = log(dir.path());
    let head = verify(dir.path(), &[]).1["head"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(verify(dir.path(), &["--head", &head]).0, 0);
    let good = std::fs::read_to_string(&path).unwrap();
    let cut: Vec<&str> = good.split_inclusive('\n').take(3).collect();
    std::fs::write(&path, cut.concat()).unwrap();
    assert_eq!(
        verify(dir.path(), &[]).0,
        0,
        "a cut at a line's end is a whole chain"
    );
    let (code, verdict) = verify(dir.path(), &["--head", &head]);
    assert_eq!(code, 1);
    assert!(
        verdict["problem"].as_str().unwrap().contains("cut off"),
        "{verdict}"
    );
}

#[test]
fn absent_log_ends_with_code_5() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["verify", "show", "export"] {
        let run = dawnkey(dir.path(), &["audit", command, "audit.log"]);
        assert_eq!(run.code, 5, "{}", run.err);
        assert!(run.err.contains("audit.log"), "{}", run.err);
    }
}

#[test]
fn shows_the_records_asked_for_with_control_characters_made_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let path = log(dir.path());
    let show = |more: &[&str]| {
        let args = [&["audit", "show", "audit.log"], more].concat();
        dawnkey(dir.path(), &args)
    };
    assert_eq!(show(&[]).out.lines().count(), 5);
    let mine = show(&["--volume", VOLUME]).out;
    assert_eq!(mine.lines().count(), 3, "{mine}");
    assert!(
        mine.contains(&format!("refuse     volume={VOLUME} detail=\"PCR 4")),
        "{mine}"
    );
    assert!(!mine.contains('\u{7}'), "{mine:?}");
    assert_eq!(show(&["--event", "release"]).out.lines().count(), 2);
    let json: Value = serde_json::from_str(&show(&["--last", "1", "--json"]).out).unwrap();
    assert_eq!(json[0]["seq"], 4);
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("\"refuse\"", "\"accept\"")).unwrap();
    let run = show(&[]);
    assert_eq!((run.code, run.out.lines().count()), (1, 3), "{}", run.out);
    assert!(run.err.contains("NOT intact"), "{}", run.err);
}

#[test]
fn exported_ranges_verify_one_by_one_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = log(dir.path());
    let export = |more: &[&str]| {
        let args = [&["audit", "export", "audit.log"], more].concat();
        dawnkey(dir.path(), &args).out
    };
    let (first, second) = (export(&["--to", "2"]), export(&["--from", "3"]));
    let whole = std::fs::read_to_string(&path).unwrap();
    assert_eq!(format!("{first}{second}"), whole);
    assert_eq!(export(&["--since", "2100-01-01T00:00:00Z"]), "");
    std::fs::write(dir.path().join("a"), first).unwrap();
    std::fs::write(dir.path().join("b"), second).unwrap();
    let verify = |files: &[&str]| {
        let args = [&["audit", "verify", "--json"], files].concat();
        let run = dawnkey(dir.path(), &args);
        let verdict: Value = serde_json::from_str(&run.out).unwrap();
        (run.code, verdict)
    };
    let (code, verdict) = verify(&["b", "a", "--complete"]);
    assert_eq!((code, &verdict["records"]), (0, &4.into()), "{verdict}");
    let (code, verdict) = verify(&["b"]);
    assert_eq!((code, &verdict["first_seq"]), (0, &3.into()));
    assert_eq!(verify(&["b", "--complete"]).0, 1);
    let text = whole.replace("\"start\"", "\"begin\"");
    std::fs::write(&path, text).unwrap();
    assert_eq!(export(&["--from", "2"]), "");
}
