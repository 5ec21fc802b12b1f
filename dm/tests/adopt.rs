//! Volumes that stock `cryptsetup` formatted, through libcryptsetup and back to `cryptsetup`, on images. Mapping needs
//! device-mapper and is tried in a virtual machine.
#![cfg(feature = "adopt")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use dawnkey_dm::adopt::{AdoptError, Foreign, ForeignError};
use dawnkey_dm::disk::{Access, OsDisk};
use dawnkey_dm::geometry::Integrity;
use dawnkey_secret::Dek;
use std::path::{Path, PathBuf};
use std::process::Command;

const ID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

/// An image of 32 MiB with the passphrase `a passphrase`.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(options: &[&str]) -> Self {
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let image = std::fs::File::create(scene.image()).unwrap();
        image.set_len(32 << 20).unwrap();
        std::fs::write(scene.file("pass"), "a passphrase").unwrap();
        let format = ["luksFormat", "-q", "--type", "luks2", "--uuid", ID];
        scene.cryptsetup(&[&format[..], options, &["disk", "pass"]].concat());
        scene
    }

    fn quick() -> Self {
        Self::new(&["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.file("disk")
    }

    fn cryptsetup(&self, args: &[&str]) {
        assert!(self.tried(args), "cryptsetup {args:?}");
    }

    fn tried(&self, args: &[&str]) -> bool {
        let run = Command::new("cryptsetup")
            .args(args)
            .current_dir(self.dir.path())
            .output();
        run.unwrap().status.success()
    }

    fn opens_with(&self, key: &[u8]) -> bool {
        std::fs::write(self.file("key"), key).unwrap();
        self.tried(&["open", "--test-passphrase", "--key-file", "key", "disk"])
    }

    fn read(&self) -> Result<Foreign, AdoptError> {
        Foreign::read(&open(&self.image(), Access::Read))
    }
}

fn open(path: &Path, access: Access) -> OsDisk {
    OsDisk::open(path, access).unwrap()
}

fn dek() -> Dek {
    Dek::take(&mut [7; 32]).unwrap()
}

#[test]
fn volume_key_is_the_one_that_cryptsetup_dumps() {
    let argon2 = ["--pbkdf", "argon2id", "--pbkdf-memory", "65536"];
    let times = ["--pbkdf-force-iterations", "4", "--pbkdf-parallel", "4"];
    let scene = Scene::new(&[&argon2[..], &times, &["--sector-size", "4096"]].concat());
    let foreign = scene.read().unwrap();
    assert_eq!(foreign.header().volume().to_string(), ID);
    assert_eq!(foreign.header().integrity(), Integrity::None);
    let key = foreign.volume_key(b"a passphrase").unwrap();
    let dump = ["luksDump", "-q", "--dump-volume-key", "--key-file", "pass"];
    scene.cryptsetup(&[&dump[..], &["--volume-key-file", "vk", "disk"]].concat());
    assert_eq!(std::fs::read(scene.file("vk")).unwrap(), key.expose());
    let refused = foreign.volume_key(b"another");
    assert!(matches!(refused, Err(AdoptError::WrongKey)), "{refused:?}");
}

#[test]
fn added_keyslot_opens_with_the_dek_and_the_passphrase_still_does() {
    let scene = Scene::quick();
    let before = scene.read().unwrap();
    let key = before.volume_key(b"a passphrase").unwrap();
    let after = before.with_dek(&key, &dek()).unwrap();
    assert_eq!(after.header().keyslots(), [0, 1]);
    // Nothing has reached the disk so far.
    assert!(!scene.opens_with(dek().expose()));
    let mut disk = open(&scene.image(), Access::Write);
    after.write_over(&before, &mut disk).unwrap();
    assert!(scene.opens_with(dek().expose()));
    assert!(scene.opens_with(b"a passphrase"));
    let again = scene.read().unwrap();
    assert_eq!(again.header(), after.header());
    assert_eq!(
        again.volume_key(dek().expose()).unwrap().expose(),
        key.expose()
    );
}

#[test]
fn a_cut_at_any_write_leaves_a_header_that_cryptsetup_opens() {
    let scene = Scene::quick();
    let before = scene.read().unwrap();
    let key = before.volume_key(b"a passphrase").unwrap();
    let after = before.with_dek(&key, &dek()).unwrap();
    let (old, new) = (before.area(), after.area());
    // Keyslots, secondary, primary: the order of the writes.
    let mut cut = old.to_vec();
    let steps = [32768..old.len(), 16384..32768, 0..16384];
    for step in steps {
        cut[step.clone()].copy_from_slice(&new[step]);
        let mut image = std::fs::read(scene.image()).unwrap();
        image[..cut.len()].copy_from_slice(&cut);
        std::fs::write(scene.image(), image).unwrap();
        assert!(scene.opens_with(b"a passphrase"));
    }
    assert!(scene.opens_with(dek().expose()));
}

#[test]
fn what_cryptsetup_can_weaken_is_refused_by_name() {
    let weak = Scene::new(&["-c", "aes-cbc-essiv:sha256", "--pbkdf", "pbkdf2"]);
    let refused = weak.read();
    assert!(
        matches!(
            refused,
            Err(AdoptError::Header(ForeignError::Cipher { .. }))
        ),
        "{refused:?}"
    );
    let reencrypting = Scene::quick();
    let init = ["reencrypt", "--init-only", "-q", "--key-file", "pass"];
    let kdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    reencrypting.cryptsetup(&[&init[..], &kdf, &["disk"]].concat());
    let refused = reencrypting.read();
    assert!(
        matches!(
            refused,
            Err(AdoptError::Header(ForeignError::Reencryption { .. }))
        ),
        "{refused:?}"
    );
}

#[test]
fn keyslot_damaged_under_a_good_header_opens_nothing() {
    let scene = Scene::quick();
    let mut image = std::fs::read(scene.image()).unwrap();
    image[32768..32768 + 4096].fill(0);
    std::fs::write(scene.image(), image).unwrap();
    let refused = scene.read().unwrap().volume_key(b"a passphrase");
    assert!(matches!(refused, Err(AdoptError::WrongKey)), "{refused:?}");
}
