//! The command line with the real binary: usage errors, confirmation, generated files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{dawnkey, dawnkey_with, init};

const ID: &str = "5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11";

#[test]
fn wrong_flags_end_with_code_2_and_the_usage() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["--nonsense"][..],
        &[],
        &["volume"],
        &["volume", "create"],
        &["volume", "show", "not-a-uuid"],
        &["volume", "list", "extra"],
        &["init", "set"],
        &["init", "set", "--name", "ks", "--days", "0"],
        &["master-secret"],
    ] {
        let run = dawnkey(dir.path(), args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.err);
        assert!(
            run.err.contains("Usage: dawnkey") || run.err.contains("--help"),
            "{args:?}: {}",
            run.err
        );
        assert!(run.out.is_empty(), "{args:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let run = dawnkey(dir.path(), &["volume", "create", "--help"]);
    assert_eq!(run.code, 0);
    assert!(
        run.out.contains("Examples:\n  dawnkey volume create"),
        "{}",
        run.out
    );
    let run = dawnkey(dir.path(), &["--help"]);
    assert!(run.out.contains("Exit codes:\n  0  done"), "{}", run.out);
}

#[test]
fn a_new_master_secret_is_64_hex_digits_and_never_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let one = dawnkey(dir.path(), &["master-secret", "new"]);
    let two = dawnkey(dir.path(), &["master-secret", "new"]);
    assert_eq!(one.code, 0, "{}", one.err);
    assert_eq!(one.out.trim_end().len(), 64);
    assert!(one.out.trim_end().bytes().all(|b| b.is_ascii_hexdigit()));
    assert_ne!(one.out, two.out);
    let json = dawnkey(dir.path(), &["master-secret", "new", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["master_secret"].as_str().unwrap().len(), 64);
}

#[test]
fn retiring_without_confirmation_ends_with_code_2_before_the_service_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    // Nothing listens at the profile's endpoint: asking it would end with 3.
    for answer in ["", "yes\n", "5f3c2f0e\n"] {
        let run = dawnkey_with(dir.path(), &["volume", "retire", ID], answer);
        assert_eq!(run.code, 2, "{answer:?}: {}", run.err);
        assert!(run.err.contains("typed in full"), "{}", run.err);
    }
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let run = dawnkey(dir.path(), &["completions", "bash"]);
    assert!(run.out.contains("break-lease"), "{}", run.err);
    let run = dawnkey(dir.path(), &["man", "."]);
    assert_eq!(run.code, 0, "{}", run.err);
    for page in ["dawnkey.1", "dawnkey-volume.1", "dawnkey-volume-create.1"] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
    let again = dawnkey(dir.path(), &["man", "."]);
    assert_eq!(again.code, 5, "{}", again.err);
}
