//! Every recorded case comes out as written down; folders that are wrong are said to be.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::{fs, process::Command};

use dawnkey_corpus::{case::CorpusError, run};

#[test]
fn every_recorded_case_comes_out_as_written() {
    let Some(dir) = common::evidence_dir() else {
        return;
    };
    let summary = run(&dir).unwrap();
    eprintln!("{} passed, {} failed", summary.passed, summary.failed);
    assert!(
        summary.mismatches.is_empty(),
        "{}",
        summary.mismatches.join("\n")
    );
    assert!(summary.passed > 0);
}

/// A folder with one case over a measurement list.
fn folder(case: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("cases.json"),
        format!("{{\"cases\": [{case}]}}"),
    )
    .unwrap();
    let list = "10 edcfbc3299860219161af60b266f8e2fa1fbd0c0 ima-ng \
                sha1:009b0d8ee8fb8d890fa70f9c8e02b3f1eded1509 /data\n";
    fs::write(dir.path().join("list"), list).unwrap();
    dir
}

const CASE: &str = r#"{"id": "ima/one", "family": "ima", "files": {"ima_log": "list"},
    "verify_time": "2024-01-01T00:00:00Z", "policy": {},
    "expected": {"verdict": "accept", "reason": "ok", "crypto": "n/a", "decoded": {"entries": 1}}}"#;

fn lines(case: &str) -> Vec<String> {
    run(folder(case).path()).unwrap().mismatches
}

#[test]
fn a_case_that_comes_out_as_written_gives_no_line() {
    assert!(lines(CASE).is_empty());
}

#[test]
fn a_difference_is_one_line_with_case_field_and_both_values() {
    let case = CASE.replace("\"entries\": 1", "\"entries\": 2");
    assert_eq!(
        lines(&case),
        ["ima/one: decoded.entries: expected 2, found 1"]
    );
    let case = CASE.replace("\"ok\"", "\"malformed\"");
    assert_eq!(
        lines(&case),
        ["ima/one: reason: expected \"malformed\", found \"ok\""]
    );
}

#[test]
fn an_id_without_its_family_is_named_with_it() {
    let case = CASE
        .replace("ima/one", "one")
        .replace("\"n/a\"", "\"valid\"");
    assert_eq!(
        lines(&case),
        ["ima/one: crypto: expected \"valid\", found \"n/a\""]
    );
}

#[test]
fn a_case_of_another_format_fails_by_itself() {
    let unknown = lines(&CASE.replace("\"family\": \"ima\"", "\"family\": \"sgx\""));
    assert_eq!(unknown, ["sgx/ima/one: family: \"sgx\" is not known"]);
    let demanding = lines(&CASE.replace("\"policy\": {}", "\"policy\": {\"be_nice\": true}"));
    assert_eq!(demanding, ["ima/one: policy.be_nice: no such key is known"]);
    let without = lines(&CASE.replace("ima_log", "log"));
    assert_eq!(without, ["ima/one: files: the role ima_log is missing"]);
    let absent = lines(&CASE.replace("\"list\"", "\"elsewhere\""));
    assert!(
        absent
            .iter()
            .all(|line| line.starts_with("ima/one: ima_log: cannot read"))
    );
    assert_eq!(absent.len(), 1);
}

#[test]
fn a_folder_that_cannot_be_used_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(run(empty.path()), Err(CorpusError::File { .. })));
    let wrong = folder("");
    fs::write(wrong.path().join("cases.json"), "{\"cases\": 1}").unwrap();
    assert!(matches!(run(wrong.path()), Err(CorpusError::List { .. })));
    let nameless = folder("{}");
    assert!(matches!(
        run(nameless.path()),
        Err(CorpusError::List { .. })
    ));
}

#[test]
fn the_exit_status_tells_difference_from_unusable_folder() {
    let status = |dir: &std::path::Path| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_dawnkey-corpus"));
        let output = program.arg(dir).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let good = status(folder(CASE).path());
    assert_eq!(good, (Some(0), "1 passed, 0 failed\n".to_owned()));
    let (code, text) = status(folder(&CASE.replace("\"ok\"", "\"malformed\"")).path());
    assert_eq!(code, Some(1));
    assert!(text.ends_with("\n0 passed, 1 failed\n"), "{text}");
    assert_eq!(status(tempfile::tempdir().unwrap().path()).0, Some(2));
}
