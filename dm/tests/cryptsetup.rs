//! What stock tools make of a volume: `cryptsetup` and `blkid` on plain files. They must be installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use dawnkey_dm::{Integrity, Layout, SealedHeader};
use dawnkey_secret::{Dek, VolumeKey};
use uuid::Uuid;

const VOLUME: Uuid = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
const DISK_BYTES: u64 = 40 << 20;

fn volume(dir: &Path, integrity: Integrity) -> (std::path::PathBuf, VolumeKey) {
    let layout = Layout::for_disk(integrity, DISK_BYTES).unwrap();
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let (header, key) = SealedHeader::create(VOLUME, 1, 1, layout, &dek).unwrap();
    let disk = dir.join("disk");
    let mut bytes = header.encode().to_vec();
    bytes.resize(usize::try_from(DISK_BYTES).unwrap(), 0);
    std::fs::write(&disk, bytes).unwrap();
    (disk, key)
}

fn run(program: &str, arguments: &[&str], path: &Path) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .arg(path)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}

#[test]
fn cryptsetup_dumps_the_header_as_a_luks2_volume() {
    for integrity in [Integrity::HmacSha256, Integrity::None] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _) = volume(dir.path(), integrity);
        let before = std::fs::read(&disk).unwrap();
        let (dumped, text) = run("cryptsetup", &["luksDump"], &disk);
        assert!(dumped, "{text}");
        for line in [
            "Version:       \t2",
            "UUID:          \t0f0e0d0c-0b0a-4908-8706-050403020100",
            "Subsystem:     \tdawnkey",
            "cipher: aes-xts-plain64",
            "sector: 4096 [bytes]",
            "0: dawnkey",
            "0: pbkdf2",
        ] {
            assert!(text.contains(line), "no {line:?} in {text}");
        }
        let hmac = text.contains("integrity: hmac(sha256)");
        assert_eq!(hmac, integrity == Integrity::HmacSha256);
        // cryptsetup repairs what it takes for damage: it must have found none.
        assert_eq!(before, std::fs::read(&disk).unwrap());
    }
}

#[test]
fn cryptsetup_accepts_the_header_as_luks2_only() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = volume(dir.path(), Integrity::HmacSha256);
    assert!(run("cryptsetup", &["isLuks", "--type", "luks2"], &disk).0);
    assert!(!run("cryptsetup", &["isLuks", "--type", "luks1"], &disk).0);
}

#[test]
fn blkid_knows_the_volume_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = volume(dir.path(), Integrity::HmacSha256);
    let (known, text) = run("blkid", &["-p", "-o", "export"], &disk);
    assert!(known, "{text}");
    assert!(text.contains("TYPE=crypto_LUKS"), "{text}");
    assert!(
        text.contains("UUID=0f0e0d0c-0b0a-4908-8706-050403020100"),
        "{text}"
    );
}

/// `cryptsetup luksAddKey --volume-key-file` verifies the key against the digest before it writes: the right key is
/// accepted, another is refused. (Mapping the volume with the key needs device-mapper: a VM test.)
#[test]
fn cryptsetup_recognises_the_volume_key_by_the_digest() {
    for integrity in [Integrity::HmacSha256, Integrity::None] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, key) = volume(dir.path(), integrity);
        let bits = (key.expose().len() * 8).to_string();
        let key_file = dir.path().join("volume-key");
        let passphrase = dir.path().join("passphrase");
        std::fs::write(&passphrase, "new").unwrap();
        let add = |key: &[u8]| {
            std::fs::write(&key_file, key).unwrap();
            let arguments = [
                "luksAddKey",
                "--batch-mode",
                "--volume-key-file",
                key_file.to_str().unwrap(),
                "--key-size",
                &bits,
                "--pbkdf",
                "pbkdf2",
                "--pbkdf-force-iterations",
                "1000",
                "--new-keyfile",
                passphrase.to_str().unwrap(),
            ];
            run("cryptsetup", &arguments, &disk)
        };
        let mut wrong = key.expose().to_vec();
        wrong.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        let (accepted, text) = add(&wrong);
        assert!(!accepted, "{text}");
        let (accepted, text) = add(key.expose());
        assert!(accepted, "{text}");
    }
}
