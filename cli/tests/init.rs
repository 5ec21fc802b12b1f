//! `dawnkey init` with the real binary.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{dawnkey, init};
use std::os::unix::fs::PermissionsExt;

const FILES: [(&str, u32); 15] = [
    ("recovery-recipient.pub", 0o644),
    ("offline/recovery.key", 0o600),
    ("offline/grant.key", 0o600),
    ("ca.pem", 0o644),
    ("ca.key", 0o600),
    ("server.pem", 0o644),
    ("server.key", 0o600),
    ("admin-ca.pem", 0o644),
    ("admin-ca.key", 0o600),
    ("admin.pem", 0o644),
    ("admin.key", 0o600),
    ("keyservice.toml", 0o644),
    ("policy.toml", 0o644),
    ("admin.toml", 0o644),
    ("agent.toml.example", 0o644),
];

#[test]
fn makes_the_whole_set_and_keeps_keys_from_other_users() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), "set");
    for (name, mode) in FILES {
        let meta = std::fs::metadata(dir.path().join("set").join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{name}");
    }
    let made = |place: &str| std::fs::read_dir(dir.path().join(place)).unwrap().count();
    assert_eq!(made("set") - 1 + made("set/offline"), FILES.len());
    let set = std::fs::metadata(dir.path().join("set")).unwrap();
    assert_eq!(set.permissions().mode() & 0o777, 0o700);
}

#[test]
fn says_as_json_what_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let run = dawnkey(dir.path(), &["init", "set", "--name", "ks", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(made["files"].as_array().unwrap().len(), FILES.len());
    assert!(!run.out.contains("PRIVATE KEY"));
}

#[test]
fn refuses_to_overwrite_names_the_file_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("server.key"), "mine").unwrap();
    let run = dawnkey(dir.path(), &["init", ".", "--name", "localhost"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("./server.key"), "{}", run.err);
    assert!(
        run.err.contains("nothing is ever overwritten"),
        "{}",
        run.err
    );
    let kept = std::fs::read_to_string(dir.path().join("server.key")).unwrap();
    assert_eq!(kept, "mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn refuses_to_follow_a_dangling_link_in_place_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("elsewhere", dir.path().join("ca.key")).unwrap();
    let run = dawnkey(dir.path(), &["init", ".", "--name", "localhost"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("./ca.key"), "{}", run.err);
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn refuses_names_that_no_certificate_can_carry() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["bücher.example", "two words", "", "-x.example\n"] {
        let run = dawnkey(dir.path(), &["init", "set", &format!("--name={bad}")]);
        assert_eq!(run.code, 2, "{bad:?}: {}", run.err);
        assert!(!dir.path().join("set").exists(), "{bad:?}");
    }
}

#[test]
fn refuses_metrics_on_an_address_that_others_can_reach() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "init",
        "set",
        "--name",
        "ks",
        "--listen-metrics",
        "0.0.0.0:9464",
    ];
    let run = dawnkey(dir.path(), &args);
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(!dir.path().join("set").exists());
}
