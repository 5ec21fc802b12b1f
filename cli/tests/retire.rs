//! `dawnkey volume retire --disk` and `volume status` against a real key service.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::dawnkey;
use common::scene::{Scene, VOLUME};
use dawnkey_dm::geometry::{Integrity, Layout};
use dawnkey_dm::header::SealedHeader;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::Value;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use uuid::Uuid;

const HEADER: usize = 16 << 20;

/// An image of `volume` in `dir`, with the rest of the disk filled.
fn disk(dir: &Path, scene: &Scene, volume: Uuid) -> Vec<u8> {
    let layout = Layout::for_disk(Integrity::None, 32 << 20).unwrap();
    let (header, _) = SealedHeader::create(volume, 1, 1, layout, &scene.dek()).unwrap();
    let mut bytes = vec![0xa5; 32 << 20];
    bytes[..32768].copy_from_slice(header.encode().as_slice());
    std::fs::write(dir.join("disk"), &bytes).unwrap();
    bytes
}

#[test]
fn both_halves_are_done_and_reported() {
    let scene = Scene::start();
    scene.create();
    disk(scene.dir.path(), &scene, VOLUME);
    let id = VOLUME.to_string();
    let done = scene.json(&["volume", "retire", &id, "--disk", "disk", "--yes"]);
    assert_eq!(
        (&done["service"]["done"], &done["disk"]["done"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    assert_eq!(done["volume"]["state"], "retired");
    let left = std::fs::read(scene.dir.path().join("disk")).unwrap();
    assert!(left[..HEADER].iter().all(|byte| *byte == 0));
    assert!(left[HEADER..].iter().all(|byte| *byte == 0xa5));
    let line = scene.json(&["volume", "status", &id]);
    assert_eq!(line[0]["state"], "retired");
}

#[test]
fn header_is_destroyed_and_said_so_when_the_service_cannot_be_reached() {
    let scene = Scene::start();
    scene.create();
    disk(scene.dir.path(), &scene, VOLUME);
    let dir = scene.stop();
    let id = VOLUME.to_string();
    let args = ["volume", "retire", &id, "--disk", "disk", "--yes", "--json"];
    let run = dawnkey(dir.path(), &args);
    assert_eq!(run.code, 3, "{}", run.err);
    let done: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (&done["service"]["done"], &done["disk"]["done"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    let left = std::fs::read(dir.path().join("disk")).unwrap();
    assert!(left[..HEADER].iter().all(|byte| *byte == 0));
}

#[test]
fn keys_are_forgotten_and_said_so_when_the_disk_takes_no_writes() {
    let scene = Scene::start();
    scene.create();
    let bytes = disk(scene.dir.path(), &scene, VOLUME);
    // A file in memory that is sealed opens for writing and refuses every write.
    let memory = memfd_create(c"disk", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let sealed = std::fs::File::from(memory);
    sealed.write_all_at(&bytes, 0).unwrap();
    fcntl(&sealed, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), sealed.as_raw_fd());
    let id = VOLUME.to_string();
    let run = scene.run(&["volume", "retire", &id, "--disk", &path, "--yes", "--json"]);
    assert_eq!(run.code, 5, "{}", run.err);
    let done: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (&done["service"]["done"], &done["disk"]["done"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    assert_eq!(done["volume"]["state"], "retired");
}

#[test]
fn disk_of_another_volume_and_a_missing_confirmation_change_nothing() {
    let scene = Scene::start();
    scene.create();
    let before = disk(scene.dir.path(), &scene, Uuid::from_u128(1));
    let id = VOLUME.to_string();
    let run = scene.run(&["volume", "retire", &id, "--disk", "disk", "--yes"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("carries another volume"), "{}", run.err);
    let run = scene.run(&["volume", "retire", &id]);
    assert_eq!(run.code, 2, "{}", run.err);
    let after = std::fs::read(scene.dir.path().join("disk")).unwrap();
    assert!(before == after);
    assert_eq!(
        scene.json(&["volume", "show", &id])["state"],
        "provisioning"
    );
}

#[test]
fn status_has_one_line_for_each_volume() {
    let scene = Scene::start();
    scene.create();
    scene.json(&["volume", "create", "--policy", "state"]);
    let text = scene.run(&["volume", "status"]).out;
    assert_eq!(text.lines().count(), 3, "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with(&VOLUME.to_string()));
    let cells: Vec<&str> = line.unwrap().split_whitespace().skip(1).collect();
    assert_eq!(cells, ["provisioning", "0", "1", "-", "-"]);
    let json = scene.json(&["volume", "status"]);
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(json[0]["wipe"], Value::Null);
}
