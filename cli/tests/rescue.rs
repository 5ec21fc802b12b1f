//! `dawnkey volume rescue` with the real binary and the stock `cryptsetup`, on images. Opening needs device-mapper and is
//! tried in a virtual machine; here cryptsetup reads the header and tries the key.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Run, dawnkey_with};
use dawnkey_dm::geometry::{Integrity, Layout};
use dawnkey_dm::header::SealedHeader;
use dawnkey_dm::superblock;
use dawnkey_secret::{Dek, VolumeKey};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use uuid::Uuid;

const VOLUME: Uuid = Uuid::from_u128(0x5f3c_2f0e_8c1b_4f86_9d0e_2f6f_1f0a_7b11);
const DISK_BYTES: u64 = 64 << 20;
const DATA_OFFSET: u64 = 16 << 20;

/// An image as the agent leaves it, all but the blocks.
struct Scene {
    dir: tempfile::TempDir,
    key: VolumeKey,
    dek: String,
}

impl Scene {
    fn new(integrity: Integrity) -> Self {
        Self::with(Layout::for_disk(integrity, DISK_BYTES).unwrap())
    }

    fn with(layout: Layout) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dek = Dek::take(&mut [7; 32]).unwrap();
        let (header, key) = SealedHeader::create(VOLUME, 1, 4, layout, &dek).unwrap();
        let disk = std::fs::File::create(dir.path().join("disk")).unwrap();
        disk.set_len(DISK_BYTES).unwrap();
        disk.write_all_at(header.encode().as_slice(), 0).unwrap();
        if layout.integrity().has_tags() {
            let superblock = superblock::expected(&layout);
            disk.write_all_at(&superblock, DATA_OFFSET).unwrap();
        }
        Self {
            dir,
            key,
            dek: format!("{}\n", hex::encode([7; 32])),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn bend(&self, at: u64, bytes: &[u8]) {
        let disk = std::fs::OpenOptions::new()
            .write(true)
            .open(self.path().join("disk"))
            .unwrap();
        disk.write_all_at(bytes, at).unwrap();
    }

    fn rescue(&self, more: &[&str], dek: &str) -> Run {
        let id = VOLUME.to_string();
        let args = ["volume", "rescue", &id, "--disk", "disk", "--dek-fd", "0"];
        dawnkey_with(self.path(), &[&args[..], more].concat(), dek)
    }
}

#[test]
fn cryptsetup_accepts_the_key_of_every_kind_of_integrity() {
    for (integrity, bits) in Integrity::ALL.map(|kind| (kind, 8 * kind.volume_key_bytes())) {
        let scene = Scene::new(integrity);
        let run = scene.rescue(&["--check", "--json"], &scene.dek);
        assert_eq!(run.code, 0, "{}", run.err);
        let json: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!(json["key_bits"], bits);
        assert_eq!(json["generation"], 4);
        assert_eq!(json["device"], serde_json::Value::Null);
        assert_eq!(json["read_only"], true);
    }
}

#[test]
fn printed_command_is_one_that_cryptsetup_runs() {
    let scene = Scene::new(Integrity::HmacSha256);
    let run = scene.rescue(&["--print", "--name", "state"], &scene.dek);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(
        run.out,
        "cryptsetup open --type luks2 --readonly --volume-key-file KEY --key-size 768 disk state\n"
    );
    // Tried without a mapping: with the right key it succeeds, with another it fails.
    let key = scene.path().join("KEY");
    for (bytes, succeeds) in [(scene.key.expose().to_vec(), true), (vec![1; 96], false)] {
        std::fs::write(&key, bytes).unwrap();
        let mut words: Vec<&str> = run.out.split_whitespace().collect();
        *words.last_mut().unwrap() = "--test-passphrase";
        let tried = Command::new(words[0])
            .args(&words[1..])
            .current_dir(scene.path())
            .output()
            .unwrap();
        assert_eq!(tried.status.success(), succeeds, "{tried:?}");
    }
}

#[test]
fn no_output_holds_the_key_and_no_file_is_made() {
    let scene = Scene::new(Integrity::HmacSha256);
    let run = scene.rescue(&["--check"], &scene.dek);
    for text in [&run.out, &run.err] {
        assert!(!text.contains(&hex::encode(scene.key.expose())));
        assert!(!text.contains(scene.dek.trim()));
    }
    assert_eq!(std::fs::read_dir(scene.path()).unwrap().count(), 1);
}

#[test]
fn another_dek_opens_nothing_and_no_key_reaches_cryptsetup() {
    let scene = Scene::new(Integrity::HmacSha256);
    let run = scene.rescue(&["--check"], &hex::encode([8; 32]));
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(
        run.err.contains("open the volume key's seal"),
        "{}",
        run.err
    );
    let run = scene.rescue(&["--check"], "no key");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("neither a key nor its hex"), "{}", run.err);
}

#[test]
fn changed_header_superblock_and_size_are_refused_by_name() {
    let scene = Scene::new(Integrity::HmacSha256);
    scene.bend(DATA_OFFSET + 12, &[1]);
    let run = scene.rescue(&["--check"], &scene.dek);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("journal sections"), "{}", run.err);

    let scene = Scene::new(Integrity::HmacSha256);
    let disk = scene.path().join("disk");
    let file = std::fs::OpenOptions::new().write(true).open(disk).unwrap();
    file.set_len(DISK_BYTES - 4096).unwrap();
    let run = scene.rescue(&["--check"], &scene.dek);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("its volume needs"), "{}", run.err);

    let scene = Scene::new(Integrity::None);
    scene.bend(4096, b"[");
    scene.bend(16384 + 4096, b"[");
    let run = scene.rescue(&["--check"], &scene.dek);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("both copies are torn"), "{}", run.err);
}

#[test]
fn writing_needs_the_id_and_a_mapping_needs_a_name_that_fits() {
    let scene = Scene::new(Integrity::None);
    // Standard input held the DEK, so that nothing is left to confirm with.
    let run = scene.rescue(&["--read-write"], &scene.dek);
    assert_eq!(run.code, 2, "{}", run.err);
    let run = scene.rescue(&["--name", "../control"], &scene.dek);
    assert_eq!(run.code, 2, "{}", run.err);
}

#[test]
fn volume_whose_wipe_has_not_ended_is_taken_and_one_with_a_journal_mac_is_refused_by_name() {
    let layout = Layout::for_disk(Integrity::HmacSha256, DISK_BYTES).unwrap();
    let scene = Scene::with(layout.with_ready(32768).unwrap());
    let run = scene.rescue(&["--check"], &scene.dek);
    assert_eq!(run.code, 0, "{}", run.err);
    let scene = Scene::with(layout.with_journal_mac(true));
    let run = scene.rescue(&["--check"], &scene.dek);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("the agent opens it there"), "{}", run.err);
}
