//! `dawnkey volume header` with the real binary, on images.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Run, dawnkey_with};
use dawnkey_dm::geometry::{Integrity, Layout};
use dawnkey_dm::header::SealedHeader;
use dawnkey_secret::Dek;
use std::path::Path;
use uuid::Uuid;

const VOLUME: Uuid = Uuid::from_u128(0x5f3c_2f0e_8c1b_4f86_9d0e_2f6f_1f0a_7b11);
const DISK_BYTES: usize = 64 << 20;
const REGION: usize = 32768;

/// An image with the header of generation 2, and the one of generation 3 beside it.
struct Scene {
    dir: tempfile::TempDir,
    older: Vec<u8>,
    newer: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let dek = Dek::take(&mut [7; 32]).unwrap();
        let layout = Layout::for_disk(Integrity::HmacSha256, DISK_BYTES as u64).unwrap();
        let (header, key) = SealedHeader::create(VOLUME, 1, 2, layout, &dek).unwrap();
        let newer = header
            .advance(header.next(3), &dek, &key)
            .unwrap()
            .encode()
            .to_vec();
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            older: header.encode().to_vec(),
            newer,
        };
        scene.put(&scene.older);
        scene
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the disk anew with `region` at its begin.
    fn put(&self, region: &[u8]) {
        let mut disk = vec![0xa5; DISK_BYTES];
        disk[..region.len()].copy_from_slice(region);
        std::fs::write(self.path().join("disk"), disk).unwrap();
    }

    fn region(&self) -> Vec<u8> {
        let disk = std::fs::read(self.path().join("disk")).unwrap();
        assert_eq!(disk.len(), DISK_BYTES);
        assert!(disk[REGION..].iter().all(|byte| *byte == 0xa5));
        disk[..REGION].to_vec()
    }

    fn save(&self, bytes: &[u8]) {
        std::fs::write(self.path().join("saved"), bytes).unwrap();
    }

    fn restore(&self, more: &[&str], input: &str) -> Run {
        let id = VOLUME.to_string();
        let args = ["volume", "header", "restore", &id, "--disk", "disk"];
        let args = [&args[..], &["--from", "saved"], more].concat();
        dawnkey_with(self.path(), &args, input)
    }

    fn backup(&self, to: &str) -> Run {
        let id = VOLUME.to_string();
        let args = ["volume", "header", "backup", &id, "--disk", "disk"];
        dawnkey_with(
            self.path(),
            &[&args[..], &["--to", to, "--json"]].concat(),
            "",
        )
    }
}

#[test]
fn backup_is_the_region_byte_for_byte_and_goes_to_a_new_file_only() {
    let scene = Scene::new();
    let run = scene.backup("saved");
    assert_eq!(run.code, 0, "{}", run.err);
    let saved = std::fs::read(scene.path().join("saved")).unwrap();
    assert_eq!(saved, scene.older);
    let json: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(json["header"]["generation"], 2);
    let again = scene.backup("saved");
    assert_eq!(again.code, 5, "{}", again.err);
}

#[test]
fn restores_a_destroyed_header_and_keeps_what_was_there() {
    let scene = Scene::new();
    scene.backup("saved");
    scene.put(&[0; REGION]);
    let run = scene.restore(&["--json"], &format!("{VOLUME}\n"));
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(scene.region(), scene.older);
    let json: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(json["replaced"], serde_json::Value::Null);
    let kept = scene.path().join(format!("{VOLUME}.replaced-header"));
    assert_eq!(std::fs::read(kept).unwrap(), vec![0; REGION]);
}

#[test]
fn restores_a_newer_header_over_an_older_one() {
    let scene = Scene::new();
    scene.save(&scene.newer);
    let run = scene.restore(&["--yes", "--replaced", "kept"], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(scene.region(), scene.newer);
    let kept = std::fs::read(scene.path().join("kept")).unwrap();
    assert_eq!(kept, scene.older);
}

#[test]
fn older_header_is_refused_until_it_is_asked_for() {
    let scene = Scene::new();
    scene.put(&scene.newer);
    scene.save(&scene.older);
    let run = scene.restore(&["--yes"], "");
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("stale-generation"), "{}", run.err);
    assert_eq!(scene.region(), scene.newer);
    let run = scene.restore(&["--yes", "--older"], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(scene.region(), scene.older);
}

#[test]
fn nothing_is_written_without_confirmation() {
    let scene = Scene::new();
    scene.save(&scene.newer);
    for answer in ["", "yes\n", "5f3c2f0e\n"] {
        let run = scene.restore(&[], answer);
        assert_eq!(run.code, 2, "{}", run.err);
        assert_eq!(scene.region(), scene.older);
        let kept = scene.path().join(format!("{VOLUME}.replaced-header"));
        assert!(!kept.exists());
    }
}

#[test]
fn header_of_another_volume_is_neither_written_nor_replaced() {
    let scene = Scene::new();
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let layout = Layout::for_disk(Integrity::HmacSha256, DISK_BYTES as u64).unwrap();
    let (other, _) = SealedHeader::create(Uuid::from_u128(1), 1, 9, layout, &dek).unwrap();
    let other = other.encode().to_vec();
    scene.save(&other);
    let run = scene.restore(&["--yes"], "");
    assert_eq!(run.code, 5, "{}", run.err);
    assert_eq!(scene.region(), scene.older);
    scene.save(&scene.newer);
    scene.put(&other);
    let run = scene.restore(&["--yes"], "");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("carries a header of"), "{}", run.err);
    assert_eq!(scene.region(), other);
}

#[test]
fn header_of_a_larger_disk_and_a_changed_one_are_refused() {
    let scene = Scene::new();
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let layout = Layout::for_disk(Integrity::HmacSha256, 2 * DISK_BYTES as u64).unwrap();
    let (large, _) = SealedHeader::create(VOLUME, 1, 9, layout, &dek).unwrap();
    scene.save(large.encode().as_slice());
    let run = scene.restore(&["--yes"], "");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("needs"), "{}", run.err);
    let mut bent = scene.newer.clone();
    bent[4096] ^= 1;
    bent[16384 + 4096] ^= 1;
    scene.save(&bent);
    let run = scene.restore(&["--yes"], "");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("both copies are torn"), "{}", run.err);
    assert_eq!(scene.region(), scene.older);
}

#[test]
fn show_tells_blank_volume_refused_and_other_apart() {
    let scene = Scene::new();
    let show = |code: i32| {
        let args = ["volume", "header", "show", "--disk", "disk", "--json"];
        let run = dawnkey_with(scene.path(), &args, "");
        assert_eq!(run.code, code, "{}", run.err);
        serde_json::from_str::<serde_json::Value>(&run.out).unwrap()
    };
    let volume = show(0);
    assert_eq!(
        (&volume["state"], &volume["volume"], &volume["generation"]),
        (&"volume".into(), &VOLUME.to_string().into(), &2.into())
    );
    assert_eq!(volume["copies"], "clean");
    assert_eq!(volume["ready_bytes"], volume["total_bytes"]);
    let mut cut = scene.newer.clone();
    cut[..16384].copy_from_slice(&scene.older[..16384]);
    scene.put(&cut);
    let interrupted = show(0);
    assert_eq!(interrupted["generation"], 3);
    assert_eq!(
        interrupted["copies"],
        "the primary copy is one write behind"
    );
    let mut torn = scene.older.clone();
    torn[5000] ^= 1;
    torn[16384 + 5000] ^= 1;
    scene.put(&torn);
    let refused = show(1);
    assert_eq!(refused["state"], "refused");
    assert!(
        refused["repair"]
            .as_str()
            .unwrap()
            .contains("header restore")
    );
    scene.put(&[0; REGION]);
    assert_eq!(show(1)["state"], "other");
    std::fs::write(scene.path().join("disk"), vec![0; DISK_BYTES]).unwrap();
    assert_eq!(show(0)["state"], "blank");
}
