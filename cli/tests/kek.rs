//! `dawnkey kek` and `dawnkey doctor` with the real binary against a service at work.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::scene::{Scene, VOLUME};
use common::{dawnkey, edit};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn with_recovery(dir: &Path) {
    let args = [
        "kek",
        "recovery",
        "new",
        "--key",
        "recovery.key",
        "--public",
        "recovery.pub",
    ];
    let made = dawnkey(dir, &args);
    assert_eq!(made.code, 0, "{}", made.err);
    let again = dawnkey(dir, &args);
    assert_eq!(again.code, 5, "overwrote a key");
    let mode = std::fs::metadata(dir.join("recovery.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    edit(
        &dir.join("keyservice.toml"),
        "recovery-recipient.pub",
        "recovery.pub",
    );
}

#[test]
fn recovery_key_opens_the_dek_of_a_service_that_is_gone() {
    let scene = Scene::start_with(with_recovery);
    scene.create();
    let exported = scene.json(&["kek", "recovery", "export", "--out", "sealed.json"]);
    assert_eq!(
        (&exported["deks"], &exported["without"]),
        (&1.into(), &0.into())
    );
    let expected = hex::encode(scene.dek().expose());
    let dir = scene.stop();
    let id = VOLUME.to_string();
    let open = |key: &str, out: &str| {
        let args = [
            "kek",
            "recovery",
            "open",
            &id,
            "--key",
            key,
            "--sealed",
            "sealed.json",
            "--out",
            out,
        ];
        dawnkey(dir.path(), &args)
    };
    let run = open("recovery.key", "volume.dek");
    assert_eq!(run.code, 0, "{}", run.err);
    let dek = std::fs::read_to_string(dir.path().join("volume.dek")).unwrap();
    assert_eq!(dek.trim(), expected);
    assert!(!run.out.contains(&expected) && !run.err.contains(&expected));
    let other = [
        "kek",
        "recovery",
        "new",
        "--key",
        "other.key",
        "--public",
        "other.pub",
    ];
    assert_eq!(dawnkey(dir.path(), &other).code, 0);
    assert_eq!(open("other.key", "other.dek").code, 5);
    assert!(!dir.path().join("other.dek").exists());
}

#[test]
fn status_rewrap_restore_and_doctor_of_a_ring_with_one_provider() {
    let scene = Scene::start_with(with_recovery);
    scene.create();
    let status = scene.json(&["kek", "status"]);
    let only = &status["providers"][0];
    assert_eq!(
        (&only["name"], &only["state"], &only["deks"]),
        (&"cluster".into(), &"active".into(), &1.into())
    );
    assert_eq!(status["unsealed"], 0);
    let rewrapped = scene.json(&["kek", "rewrap"]);
    assert_eq!(rewrapped["rewrap"]["pending"], false);
    assert_eq!(rewrapped["rewrap"]["changed"], 0);
    let restored = scene.json(&["kek", "restore", "--key", "recovery.key"]);
    assert_eq!(
        (&restored["restored"], &restored["current"]),
        (&0.into(), &1.into())
    );
    let proved = scene.json(&["doctor"]);
    assert_eq!(proved[0]["good"], true);
    let refused = scene.run(&["kek", "rotate", "cluster"]);
    assert_eq!(refused.code, 4);
    assert!(refused.err.contains("active already"), "{}", refused.err);
    let refused = scene.run(&["kek", "remove", "cluster"]);
    assert_eq!(refused.code, 4);
}
