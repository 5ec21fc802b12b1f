//! `dawnkey` against a real key service over mutual TLS, both made by `dawnkey init`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::scene::{Scene, VOLUME};
use common::{dawnkey, edit, init};
use dawnkey_dm::geometry::{Integrity, Layout};
use dawnkey_dm::header::SealedHeader;
use dawnkey_secret::Dek;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use uuid::Uuid;

#[test]
fn creates_lists_shows_and_retires_a_volume() {
    let scene = Scene::start();
    let id = VOLUME.to_string();
    let made = scene.create();
    assert_eq!(made["id"], id.as_str());
    assert_eq!(made["state"], "provisioning");
    assert_eq!(
        (&made["label"], &made["epoch"]),
        (&"node-1".into(), &1.into())
    );
    assert_eq!(
        (&made["instance"], &made["lease"]),
        (&Value::Null, &Value::Null)
    );
    let list = scene.json(&["volume", "list"]);
    assert_eq!(
        list.as_array().unwrap().as_slice(),
        std::slice::from_ref(&made)
    );
    assert_eq!(scene.json(&["volume", "show", &id]), made);
    let table = scene.run(&["volume", "list"]).out;
    assert!(table.starts_with("ID  "), "{table}");
    assert!(
        table.contains(&format!("{id}  provisioning  state")),
        "{table}"
    );
    let retired = scene.json(&["volume", "retire", &id, "--yes"]);
    assert_eq!(retired["state"], "retired");
    let shown = scene.run(&["volume", "show", &id]).out;
    assert!(shown.contains("\nstate        retired\n"), "{shown}");
}

#[test]
fn the_service_chooses_an_id_when_none_is_given() {
    let scene = Scene::start();
    let made = scene.json(&["volume", "create", "--policy", "state"]);
    let id: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    assert!(!id.is_nil());
}

#[test]
fn refusals_end_with_code_4_and_say_what_would_be_right() {
    let scene = Scene::start();
    scene.create();
    let id = VOLUME.to_string();
    let other = Uuid::from_u128(1).to_string();
    let forgotten = "0".repeat(68);
    for args in [
        &["volume", "show", &other][..],
        &["volume", "create", "--policy", "state", "--id", &id],
        &["volume", "create", "--policy", "absent"],
        &["volume", "break-lease", &id],
        &["instance", "forget", &forgotten],
        &["instance", "forget", "no-hex"],
    ] {
        let run = scene.run(args);
        assert_eq!(run.code, 4, "{args:?}: {}{}", run.out, run.err);
        assert!(run.out.is_empty(), "{args:?}");
        assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    }
}

#[test]
fn exports_a_key_that_is_the_headers_and_records_it() {
    let scene = Scene::start();
    scene.create();
    let dek = scene.dek();
    let layout = Layout::for_disk(Integrity::HmacSha256, 64 << 20).unwrap();
    let (header, key) = SealedHeader::create(VOLUME, 1, 1, layout, &dek).unwrap();
    std::fs::write(scene.dir.path().join("disk"), header.encode().as_slice()).unwrap();
    let id = VOLUME.to_string();
    let args = [
        "volume",
        "export-key",
        &id,
        "--header",
        "disk",
        "--out",
        "k",
        "--yes",
    ];
    let run = scene.run(&args);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(
        run.err.contains("warning: k holds the volume key in clear"),
        "{}",
        run.err
    );
    assert!(run.err.contains("--key-size 768 "), "{}", run.err);
    let path = scene.dir.path().join("k");
    assert_eq!(std::fs::read(&path).unwrap(), key.expose());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for text in [&run.out, &run.err] {
        assert!(!text.contains(&hex::encode(key.expose())));
    }
    let dir = scene.stop();
    let run = dawnkey(
        dir.path(),
        &["audit", "show", "audit.log", "--event", "export-dek"],
    );
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
    assert!(run.out.contains(&id), "{}", run.out);
}

#[test]
fn exports_the_dek_in_hex_for_a_rescue_without_the_service() {
    let scene = Scene::start();
    scene.create();
    let id = VOLUME.to_string();
    let made = scene.json(&["volume", "export-key", &id, "--dek", "--out", "d", "--yes"]);
    assert_eq!((&made["kind"], &made["epoch"]), (&"dek".into(), &1.into()));
    let path = scene.dir.path().join("d");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("{}\n", hex::encode(scene.dek().expose())));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn exports_nothing_from_a_header_that_another_dek_sealed() {
    let scene = Scene::start();
    scene.create();
    let foreign = Dek::take(&mut [1; 32]).unwrap();
    let layout = Layout::for_disk(Integrity::HmacSha256, 64 << 20).unwrap();
    let (header, _) = SealedHeader::create(VOLUME, 1, 1, layout, &foreign).unwrap();
    std::fs::write(scene.dir.path().join("disk"), header.encode().as_slice()).unwrap();
    let id = VOLUME.to_string();
    let args = [
        "volume",
        "export-key",
        &id,
        "--header",
        "disk",
        "--out",
        "k",
        "--yes",
    ];
    let run = scene.run(&args);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(
        run.err.contains("open the volume key's seal"),
        "{}",
        run.err
    );
    assert!(!scene.dir.path().join("k").exists());
}

#[test]
fn status_shows_the_head_that_audit_verify_finds() {
    let scene = Scene::start();
    scene.create();
    let status = scene.json(&["status"]);
    assert_eq!(
        (&status["kek"], &status["store"]),
        (&"cluster".into(), &"redb".into())
    );
    let head = status["audit_head"].as_str().unwrap().to_owned();
    assert!(scene.run(&["status"]).out.contains(&head));
    let volumes = &status["fleet"]["volumes"];
    let made = scene.json(&["volume", "list"]).as_array().unwrap().len();
    assert!(made > 0);
    assert_eq!(volumes["total"], made, "{status}");
    assert_eq!(volumes["provisioning"], made, "{status}");
    let text = scene.run(&["status"]).out;
    assert!(text.contains(&format!("{made} provisioning\n")), "{text}");
    assert_eq!(scene.json(&["instance", "list"]), Value::Array(Vec::new()));
    let dir = scene.stop();
    let run = dawnkey(
        dir.path(),
        &["audit", "verify", "audit.log", "--head", &head],
    );
    assert_eq!(run.code, 0, "{}", run.out);
}

#[test]
fn the_service_refuses_an_admin_certificate_of_another_ca() {
    let scene = Scene::start();
    init(scene.dir.path(), "theirs");
    for name in ["admin.pem", "admin.key"] {
        let theirs = scene.dir.path().join("theirs").join(name);
        std::fs::copy(theirs, scene.dir.path().join(name)).unwrap();
    }
    let run = scene.run(&["volume", "list"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(
        run.err.contains("not accept the admin certificate"),
        "{}",
        run.err
    );
}

#[test]
fn the_nodes_listener_does_not_answer_operators() {
    let scene = Scene::start();
    let (admin, unlock) = (
        scene.service.addresses.admin,
        scene.service.addresses.unlock,
    );
    let profile = scene.dir.path().join("admin.toml");
    edit(&profile, &admin.to_string(), &unlock.to_string());
    let run = scene.run(&["volume", "list"]);
    assert_ne!(run.code, 0, "{}", run.out);
    assert!(run.out.is_empty(), "{}", run.out);
}

#[test]
fn a_stopped_service_ends_with_code_3() {
    let scene = Scene::start();
    let dir = scene.stop();
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 3, "{}", run.err);
}
