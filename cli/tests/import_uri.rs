//! `dawnkey import-uri` with the real binary: where the URI comes from and where its secret goes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{dawnkey, dawnkey_with};
use std::os::unix::fs::PermissionsExt;

const URI: &str =
    "storage://aws?bucket=b&region=eu-central-1&accessKeyID=AKIA1&accessKey=topsecret\n";

#[test]
fn the_secret_goes_to_a_private_file_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s3.credential");
    let path = file.to_str().unwrap();
    let run = dawnkey_with(dir.path(), &["import-uri", "--credentials", path], URI);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains(&format!("credentials = \"file:{path}\"")));
    assert!(!run.out.contains("topsecret") && !run.out.contains("AKIA1"));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("secret_access_key = \"topsecret\""));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn without_a_place_for_the_secret_nothing_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("uri"), URI).unwrap();
    let run = dawnkey(dir.path(), &["import-uri", "uri"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("--credentials PATH"), "{}", run.err);
    assert!(run.out.is_empty() && !run.err.contains("topsecret"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("there");
    std::fs::write(&file, "precious").unwrap();
    let args = ["import-uri", "--credentials", file.to_str().unwrap()];
    let run = dawnkey_with(dir.path(), &args, URI);
    assert_eq!(run.code, 5);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_text_that_is_no_uri_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    for text in [
        "topsecret",
        "kms://aws?topsecret",
        "kms://topsecret?x=topsecret",
        "storage://gcp?topsecret=1",
    ] {
        let run = dawnkey_with(dir.path(), &["import-uri"], text);
        assert_eq!(run.code, 5, "{text}");
        assert!(!run.err.contains("topsecret") && run.out.is_empty());
    }
}
