//! `dawnkey volume migrate` and `adopt` with the real binary, a real key service and disks that stock `cryptsetup` made.
#![cfg(feature = "adopt")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::scene::{Scene, VOLUME};
use common::{Run, dawnkey_with, edit};
use dawnkey_dm::geometry::{Integrity, Layout};
use dawnkey_dm::header;
use dawnkey_dm::superblock;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

const DISK_BYTES: u64 = 32 << 20;
const DATA_OFFSET: usize = 16 << 20;
const COPY: usize = 16384;
/// Constellation's master secret and salt in these tests.
const OLD_MASTER: [u8; 32] = [0x11; 32];
const OLD_SALT: [u8; 32] = [0x22; 32];

/// A key service and a disk beside it.
struct Disk {
    scene: Scene,
}

impl Disk {
    /// A disk as Constellation leaves it, filled with a pattern.
    fn of_constellation(integrity: Integrity) -> Self {
        let disk = Self::formatted(&old_dek(), &["--sector-size", "4096"]);
        let token =
            json!({"type": "constellation-state-disk", "keyslots": [], "diskIsInitialized": true});
        std::fs::write(disk.file("token"), token.to_string()).unwrap();
        disk.cryptsetup(&["token", "import", "--json-file", "token", "disk"]);
        if integrity == Integrity::HmacSha256 {
            disk.give_integrity();
        }
        for (name, secret) in [("secret", OLD_MASTER), ("salt", OLD_SALT)] {
            disk.private(name, hex::encode(secret).as_bytes());
        }
        disk
    }

    fn formatted(passphrase: &[u8], options: &[&str]) -> Self {
        let scene = Scene::start_with(|dir| {
            edit(&dir.join("policy.toml"), "instances = []", "adopted = true");
        });
        let disk = Self { scene };
        let pattern = vec![0xa5; usize::try_from(DISK_BYTES).unwrap()];
        std::fs::write(disk.file("disk"), pattern).unwrap();
        disk.private("old-key", passphrase);
        let id = VOLUME.to_string();
        let format = ["luksFormat", "-q", "--type", "luks2", "--uuid", &id];
        let kdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        disk.cryptsetup(&[&format[..], &kdf, options, &["disk", "old-key"]].concat());
        disk
    }

    /// Makes a plain volume one with integrity, as `luksFormat --integrity hmac-sha256` would where device-mapper is:
    /// a keyslot with a key of 96 bytes, the segment's integrity, the superblock.
    fn give_integrity(&self) {
        std::fs::write(self.file("vk"), [0x42; 96]).unwrap();
        let unbound = [
            "luksAddKey",
            "-q",
            "--unbound",
            "--key-size",
            "768",
            "-S",
            "1",
        ];
        let key = ["--volume-key-file", "vk", "--key-file", "old-key"];
        let kdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        self.cryptsetup(&[&unbound[..], &key, &kdf, &["disk", "old-key"]].concat());
        self.edit_json(|json| {
            json["keyslots"].as_object_mut().unwrap().shift_remove("0");
            let digest = json["digests"]["1"].take();
            json["digests"] = json!({"0": digest});
            json["digests"]["0"]["segments"] = json!(["0"]);
            json["segments"]["0"]["integrity"] = json!({"type": "hmac(sha256)",
                "journal_encryption": "none", "journal_integrity": "none"});
        });
        let layout = Layout::for_disk(Integrity::HmacSha256, DISK_BYTES).unwrap();
        self.put(DATA_OFFSET, &superblock::expected(&layout));
    }

    fn edit_json(&self, change: impl Fn(&mut Value)) {
        let mut bytes = self.bytes();
        for copy in bytes[..2 * COPY].chunks_exact_mut(COPY) {
            let end = copy[4096..].iter().position(|byte| *byte == 0).unwrap();
            let mut json: Value = serde_json::from_slice(&copy[4096..4096 + end]).unwrap();
            change(&mut json);
            copy[4096..].fill(0);
            let text = json.to_string();
            copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
            copy[448..512].fill(0);
            let sum = Sha256::digest(&*copy);
            copy[448..480].copy_from_slice(&sum);
        }
        std::fs::write(self.file("disk"), bytes).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scene.dir.path().join(name)
    }

    fn private(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).unwrap();
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.file(name), owner_only).unwrap();
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file("disk")).unwrap()
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let disk = std::fs::OpenOptions::new()
            .write(true)
            .open(self.file("disk"));
        disk.unwrap().write_all_at(bytes, at as u64).unwrap();
    }

    fn cryptsetup(&self, args: &[&str]) {
        assert!(self.tried(args), "cryptsetup {args:?}");
    }

    fn tried(&self, args: &[&str]) -> bool {
        let run = Command::new("cryptsetup")
            .args(args)
            .current_dir(self.scene.dir.path())
            .output();
        run.unwrap().status.success()
    }

    /// Whether stock cryptsetup opens a keyslot of the disk.
    fn opens_with(&self, key: &[u8]) -> bool {
        self.private("tried", key);
        self.tried(&["open", "--test-passphrase", "--key-file", "tried", "disk"])
    }

    fn migrate(&self, more: &[&str]) -> Run {
        let args = ["volume", "migrate", "--disk", "disk", "--policy", "state"];
        let secrets = ["--master-secret", "secret", "--salt", "salt"];
        self.scene
            .run(&[&args[..], &secrets, &["--old-header", "old"], more].concat())
    }

    fn adopt(&self, passphrase: &str, old: &str) -> Run {
        let args = [
            "volume", "adopt", "--disk", "disk", "--policy", "state", "--yes",
        ];
        let files = ["--old-header", old, "--passphrase-fd", "0", "--json"];
        dawnkey_with(
            self.scene.dir.path(),
            &[&args[..], &files].concat(),
            passphrase,
        )
    }

    /// The disk is Dawnkey's, stock cryptsetup takes the volume key, and the service knows it.
    fn is_migrated(&self) {
        let id = VOLUME.to_string();
        let checked = self
            .scene
            .json(&["volume", "rescue", &id, "--disk", "disk", "--check"]);
        assert_eq!(
            (&checked["generation"], &checked["epoch"]),
            (&1.into(), &1.into())
        );
        let shown = self.scene.json(&["volume", "show", &id]);
        assert_eq!(
            (&shown["state"], &shown["generation"]),
            (&"active".into(), &1.into())
        );
        let bytes = self.bytes();
        assert!(bytes[2 * COPY..DATA_OFFSET].iter().all(|byte| *byte == 0));
        assert!(!self.opens_with(&old_dek()));
    }
}

/// What Constellation derives for the disk: HKDF-SHA256, info `key-` and the UUID.
fn old_dek() -> Vec<u8> {
    let mut dek = vec![0; 32];
    let info = format!("key-{VOLUME}");
    hkdf::Hkdf::<Sha256>::new(Some(&OLD_SALT), &OLD_MASTER)
        .expand(info.as_bytes(), &mut dek)
        .unwrap();
    dek
}

#[test]
fn migrates_a_state_disk_with_and_without_integrity_and_leaves_its_data() {
    for integrity in [Integrity::None, Integrity::HmacSha256] {
        let disk = Disk::of_constellation(integrity);
        let before = disk.bytes();
        assert!(disk.opens_with(&old_dek()));
        let run = disk.migrate(&["--yes", "--json"]);
        assert_eq!(run.code, 0, "{}", run.err);
        disk.is_migrated();
        assert!(disk.bytes()[DATA_OFFSET..] == before[DATA_OFFSET..]);
        let layout = Layout::for_disk(integrity, DISK_BYTES).unwrap();
        let parsed = header::parse(&disk.bytes()[..2 * COPY]).unwrap();
        assert_eq!(parsed.header.layout(), layout);
        assert!(layout.is_ready());
        // The saved header still opens the data with the old key: that is why it must be destroyed.
        let old = [
            "open",
            "--test-passphrase",
            "--key-file",
            "old-key",
            "--header",
            "old",
            "disk",
        ];
        assert!(disk.tried(&old));
    }
}

#[test]
fn rotates_once_until_the_node_has_unlocked_and_shows_both_epochs() {
    let disk = Disk::of_constellation(Integrity::None);
    let id = VOLUME.to_string();
    let rotate = ["volume", "rotate", &id];
    // Nothing to rotate before the volume has a header.
    assert_eq!(disk.scene.run(&rotate).code, 4);
    assert_eq!(disk.migrate(&["--yes"]).code, 0);
    let rotated = disk.scene.json(&rotate);
    assert_eq!(
        (&rotated["epoch"], &rotated["next_epoch"]),
        (&1.into(), &2.into())
    );
    let shown = disk.scene.run(&["volume", "show", &id]).out;
    assert!(
        shown.contains("1, 2 from the node's next unlock on"),
        "{shown}"
    );
    let again = disk.scene.run(&rotate);
    assert_eq!(again.code, 4);
    assert!(
        again
            .err
            .contains("waits for the node's next unlock already"),
        "{}",
        again.err
    );
}

#[test]
fn a_cut_at_every_write_leaves_the_old_or_the_new_header_and_is_finished_by_the_next_run() {
    let disk = Disk::of_constellation(Integrity::None);
    let before = disk.bytes();
    let run = disk.migrate(&["--yes"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let after = disk.bytes();
    for (cut, secondary, primary, opens_as_before) in [
        ("secondary half written", COPY / 2, 0, true),
        ("secondary written", COPY, 0, true),
        ("primary half written", COPY, COPY / 2, false),
        ("both written", COPY, COPY, false),
    ] {
        let mut bytes = before.clone();
        bytes[COPY..COPY + secondary].copy_from_slice(&after[COPY..COPY + secondary]);
        bytes[..primary].copy_from_slice(&after[..primary]);
        std::fs::write(disk.file("disk"), &bytes).unwrap();
        if opens_as_before {
            assert!(disk.opens_with(&old_dek()), "{cut}");
            // cryptsetup may mend the other copy while it opens.
            std::fs::write(disk.file("disk"), &bytes).unwrap();
        }
        std::fs::remove_file(disk.file("old")).ok();
        if secondary < COPY {
            continue; // cryptsetup mends it, and it is migrated as any other
        }
        let run = disk.migrate(&["--yes"]);
        assert_eq!(run.code, 0, "{cut}: {}", run.err);
        disk.is_migrated();
    }
}

#[test]
fn another_secret_another_layout_and_other_luks_disks_change_nothing() {
    let disk = Disk::of_constellation(Integrity::HmacSha256);
    let good = disk.bytes();
    disk.private("salt", hex::encode([0x23; 32]).as_bytes());
    let run = disk.migrate(&["--yes"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("opens none"), "{}", run.err);
    disk.private("salt", hex::encode(OLD_SALT).as_bytes());
    disk.put(DATA_OFFSET + 12, &[77]);
    let run = disk.migrate(&["--yes"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("journal sections"), "{}", run.err);
    std::fs::write(disk.file("disk"), &good).unwrap();
    let run = disk.migrate(&[]);
    assert_eq!(run.code, 2, "{}", run.err);
    disk.edit_json(|json| json["tokens"] = json!({}));
    let other = disk.bytes();
    let run = disk.migrate(&["--yes"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("no token of type"), "{}", run.err);
    assert!(disk.bytes() == other);
    assert!(!disk.file("old").exists());
    let known = disk.scene.json(&["volume", "list"]);
    assert_eq!(known.as_array().unwrap().len(), 0);
}

#[test]
fn adopted_volume_opens_with_the_services_dek_and_with_its_passphrase() {
    let disk = Disk::formatted(b"a passphrase", &[]);
    let before = disk.bytes();
    let run = disk.adopt("a passphrase", "old");
    assert_eq!(run.code, 0, "{}", run.err);
    let json: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (&json["state"], &json["kind"]),
        (&"active".into(), &"adopted".into())
    );
    assert!(disk.opens_with(disk.scene.dek().expose()));
    assert!(disk.opens_with(b"a passphrase"));
    assert!(disk.bytes()[DATA_OFFSET..] == before[DATA_OFFSET..]);
    assert!(std::fs::read(disk.file("old")).unwrap() == before[..DATA_OFFSET]);
    // A rescue finds the keyslot, and cryptsetup opens it.
    let id = VOLUME.to_string();
    let rescue = ["volume", "rescue", &id, "--disk", "disk", "--check"];
    assert_eq!(disk.scene.json(&rescue)["adopted"], true);
    // A changed header is recorded by the same command; the keyslot is there already.
    disk.private("second", b"second");
    let add = ["luksAddKey", "-q", "--key-file", "old-key"];
    let kdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    disk.cryptsetup(&[&add[..], &kdf, &["disk", "second"]].concat());
    let changed = disk.bytes();
    let run = disk.adopt("a passphrase", "old-2");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(disk.bytes() == changed);
}

#[test]
fn adopting_with_a_wrong_passphrase_or_a_volume_of_dawnkeys_changes_nothing() {
    let disk = Disk::formatted(b"a passphrase", &[]);
    let before = disk.bytes();
    let run = disk.adopt("another", "old");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("opens none"), "{}", run.err);
    assert!(disk.bytes() == before);
    assert!(!disk.file("old").exists());
    let disk = Disk::of_constellation(Integrity::None);
    assert_eq!(disk.migrate(&["--yes"]).code, 0);
    let run = disk.adopt("a passphrase", "old-2");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("Dawnkey's already"), "{}", run.err);
}
