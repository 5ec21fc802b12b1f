//! `dawnkey policy` with the real binary: golden outputs of lint and explain.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Run, dawnkey, dawnkey_init_with_roots, edit, init};
use std::path::Path;

const AT: &str = "2026-11-22T12:00:00Z";

/// A complete policy with one image, and claims that meet it.
fn scene() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    dawnkey_init_with_roots(dir.path());
    let (four, eleven, zero) = ("44".repeat(32), "11".repeat(32), "00".repeat(32));
    let measured =
        format!(r#"{{"pcrs":{{"sha256":{{"4":"{four}","11":"{eleven}","12":"{zero}"}}}}}}"#);
    std::fs::write(dir.path().join("image.json"), measured).unwrap();
    let run = dawnkey(
        dir.path(),
        &[
            "policy",
            "add-image",
            "policy.toml",
            "--name",
            "node-1",
            "--from",
            "image.json",
            "--volume-policy",
            "state",
            "--valid-until",
            "2027-11-01T00:00:00Z",
        ],
    );
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let claims = format!(
        r#"{{"kind":"vtpm","trust_class":"hypervisor","binding":"exchange","sources":{{}},
        "pcrs":{{"4":"{four}","11":"{eleven}","12":"{zero}","15":"{zero}"}}}}"#
    );
    std::fs::write(dir.path().join("claims.json"), claims).unwrap();
    dir
}

fn explain(dir: &Path, more: &[&str]) -> Run {
    let args = [
        &[
            "policy",
            "explain",
            "policy.toml",
            "--claims",
            "claims.json",
            "--volume-policy",
            "state",
        ],
        more,
    ];
    dawnkey(dir, &args.concat())
}

#[test]
fn lint_of_a_complete_policy_has_notes_only() {
    let dir = scene();
    let run = dawnkey(dir.path(), &["policy", "lint", "policy.toml"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let (findings, summary) = run.out.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(
        findings,
        "note     volume-policy.state.instances: any endorsed machine that boots a listed image first owns a new volume; list the instances if you know them, or set approval = \"required\""
    );
    assert!(
        summary.starts_with("policy.toml: valid; errors 0, warnings 0, notes 1; sha256 "),
        "{summary}"
    );
}

#[test]
fn lint_of_a_new_policy_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    let run = dawnkey(dir.path(), &["policy", "lint", "policy.toml"]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(
        run.out.contains("error    roots.tpm_ek: is empty"),
        "{}",
        run.out
    );
    assert!(
        run.out
            .contains("error    volume-policy.state.images: no image"),
        "{}",
        run.out
    );
    let dir = tempfile::tempdir().unwrap();
    dawnkey_init_with_roots(dir.path());
    let run = dawnkey(dir.path(), &["policy", "lint", "policy.toml"]);
    assert_eq!(run.code, 1, "{}", run.err);
    let first = run.out.lines().next().unwrap();
    assert!(
        first.starts_with("error    volume-policy.state.images: no image is listed"),
        "{first}"
    );
}

#[test]
fn lint_names_what_makes_a_policy_invalid() {
    let dir = scene();
    edit(&dir.path().join("policy.toml"), "rollback =", "rolback =");
    let run = dawnkey(dir.path(), &["policy", "lint", "policy.toml", "--json"]);
    assert_eq!(run.code, 1, "{}", run.err);
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(report["valid"], false);
    assert!(
        report["error"].as_str().unwrap().contains("rolback"),
        "{report}"
    );
    let run = explain(dir.path(), &[]);
    assert_eq!(run.code, 5, "{}", run.err);
    let run = dawnkey(dir.path(), &["policy", "lint", "absent.toml"]);
    assert_eq!(run.code, 5, "{}", run.err);
}

#[test]
fn explain_shows_every_step_of_an_approval() {
    let dir = scene();
    let run = explain(dir.path(), &["--at", AT]);
    assert_eq!(run.code, 0, "{}", run.err);
    let out = run.out.as_str();
    assert!(
        out.contains("\nmet     volume-policy.state.trust_class"),
        "{out}"
    );
    assert!(
        out.contains("\nmet     volume-policy.state.pcrs_pre_cap"),
        "{out}"
    );
    assert!(
        out.contains("\napproved: image node-1\ndecided by: "),
        "{out}"
    );
    assert!(!out.contains("NOT met"), "{out}");
}

#[test]
fn explain_names_the_pcr_and_both_values_of_a_denial() {
    let dir = scene();
    edit(
        &dir.path().join("claims.json"),
        &"11".repeat(32),
        &"77".repeat(32),
    );
    let run = explain(dir.path(), &["--at", AT]);
    assert_eq!(run.code, 1, "{}", run.err);
    let out = run.out.as_str();
    assert!(out.contains("\ndenied: pcr-mismatch: "), "{out}");
    assert!(
        out.contains(&format!(
            "PCR 11 is {}, expected {}",
            "77".repeat(32),
            "11".repeat(32)
        )),
        "{out}"
    );
    assert!(
        out.contains("\ndecided by: volume-policy.state.images\n"),
        "{out}"
    );
    let json = explain(dir.path(), &["--at", AT, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report["approved"], false);
    assert_eq!(report["reason"], "pcr-mismatch");
    assert_eq!(report["rule"], "volume-policy.state.images");
}

#[test]
fn explain_denies_a_second_request_in_one_boot_and_an_expired_image() {
    let dir = scene();
    let late = explain(dir.path(), &["--at", "2028-01-01T00:00:00Z"]);
    assert_eq!(late.code, 1);
    assert!(late.out.contains("denied: image-expired"), "{}", late.out);
    let zero = "00".repeat(32);
    edit(
        &dir.path().join("claims.json"),
        &format!("\"15\":\"{zero}\""),
        &format!("\"15\":\"{}\"", "15".repeat(32)),
    );
    let second = explain(dir.path(), &["--at", AT]);
    assert_eq!(second.code, 1);
    assert!(
        second
            .out
            .contains("decided by: volume-policy.state.pcrs_pre_cap"),
        "{}",
        second.out
    );
}

#[test]
fn explain_names_the_volume_policies_there_are_and_refuses_other_json() {
    let dir = scene();
    let args = [
        "policy",
        "explain",
        "policy.toml",
        "--claims",
        "claims.json",
        "--volume-policy",
        "data",
    ];
    let run = dawnkey(dir.path(), &args);
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("one of: state"), "{}", run.err);
    std::fs::write(dir.path().join("claims.json"), "{}").unwrap();
    let run = explain(dir.path(), &[]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("missing field"), "{}", run.err);
}

#[test]
fn add_image_extends_a_new_policy_and_refuses_a_taken_name() {
    let dir = tempfile::tempdir().unwrap();
    dawnkey_init_with_roots(dir.path());
    let digest = "ab".repeat(32);
    let measured = format!(r#"{{"pcrs":{{"sha256":{{"4":"{digest}","11":"{digest}"}}}}}}"#);
    std::fs::write(dir.path().join("image.json"), measured).unwrap();
    let read = || std::fs::read_to_string(dir.path().join("policy.toml")).unwrap();
    let before = read();
    let add = &[
        "policy",
        "add-image",
        "policy.toml",
        "--name",
        "n1",
        "--from",
        "image.json",
        "--volume-policy",
        "state",
    ];
    let run = dawnkey(dir.path(), add);
    assert_eq!(run.code, 0, "{}", run.err);
    let after = read();
    for comment in before.lines().filter(|l| l.starts_with('#')) {
        assert!(after.contains(comment), "{comment}");
    }
    assert!(after.contains("images = [\"n1\"]"), "{after}");
    let again = dawnkey(dir.path(), add);
    assert_eq!(again.code, 5, "{}", again.err);
    assert!(
        again.err.contains("has an image of this name"),
        "{}",
        again.err
    );
    assert_eq!(read(), after);
}
