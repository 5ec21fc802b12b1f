//! What stock tools make of a volume: `cryptsetup` and `blkid` on plain files. They must be installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use dawnkey_dm::header::Detached;
use dawnkey_dm::{Integrity, Layout, SealedHeader};
use dawnkey_secret::{Dek, VolumeKey};
use uuid::Uuid;

const VOLUME: Uuid = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
const DISK_BYTES: u64 = 40 << 20;

fn volume(dir: &Path, integrity: Integrity) -> (std::path::PathBuf, VolumeKey) {
    let layout = Layout::for_disk(integrity, DISK_BYTES).unwrap();
    // A volume that is not ready, with every option that it may have.
    let ready = layout.with_ready(layout.data_sectors() / 16 * 8);
    let layout = ready.unwrap_or(layout).with_journal_mac(true);
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
    for (integrity, cipher, tags) in [
        (
            Integrity::HmacSha256,
            "aes-xts-plain64",
            Some("hmac(sha256)"),
        ),
        (Integrity::AesGcm, "aes-gcm-random", Some("aead")),
        (Integrity::Aegis128, "aegis128-random", Some("aead")),
        (Integrity::None, "aes-xts-plain64", None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _) = volume(dir.path(), integrity);
        let before = std::fs::read(&disk).unwrap();
        let (dumped, text) = run("cryptsetup", &["luksDump"], &disk);
        assert!(dumped, "{text}");
        for line in [
            "Version:       \t2",
            "UUID:          \t0f0e0d0c-0b0a-4908-8706-050403020100",
            "Subsystem:     \tdawnkey",
            &format!("cipher: {cipher}"),
            "sector: 4096 [bytes]",
            "0: dawnkey",
            "0: pbkdf2",
        ] {
            assert!(text.contains(line), "no {line:?} in {text}");
        }
        match tags {
            Some(tags) => assert!(text.contains(&format!("integrity: {tags}")), "{text}"),
            None => assert!(!text.contains("integrity:"), "{text}"),
        }
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
    for integrity in Integrity::ALL {
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

/// What cryptsetup 2.6.1 writes and Linux 6.12 lays out on a disk of 200 MiB, seen in a virtual machine after
/// `luksFormat --cipher aes-gcm-random --key-size 256 --integrity aead --sector-size 4096` and the same with
/// `aegis128-random --key-size 128`: the segment, and the data sectors of the superblock.
#[test]
fn segment_and_size_are_those_of_volumes_that_cryptsetup_made() {
    for (integrity, cipher, sectors) in [
        (Integrity::AesGcm, "aes-gcm-random", 370_968),
        (Integrity::Aegis128, "aegis128-random", 370_584),
    ] {
        let layout = Layout::for_disk(integrity, 200 << 20).unwrap();
        assert_eq!(layout.data_sectors(), sectors);
        let dek = Dek::take(&mut [7; 32]).unwrap();
        let (header, key) = SealedHeader::create(VOLUME, 1, 1, layout, &dek).unwrap();
        assert_eq!(
            key.expose().len(),
            if cipher == "aes-gcm-random" { 32 } else { 16 }
        );
        let segment = format!(
            "\"segments\":{{\"0\":{{\"type\":\"crypt\",\"offset\":\"16777216\",\"size\":\"dynamic\",\"iv_tweak\":\"0\",\
             \"encryption\":\"{cipher}\",\"sector_size\":4096,\"integrity\":{{\"type\":\"aead\",\
             \"journal_encryption\":\"none\",\"journal_integrity\":\"none\"}}}}}}"
        );
        let region = header.encode();
        let text = String::from_utf8_lossy(region.as_slice());
        assert!(text.contains(&segment), "{text}");
    }
}

/// The header for the system's own tools opens with its passphrase, read as a file's bytes, and with no other; the volume
/// key behind it is the one that was put in.
#[test]
fn cryptsetup_opens_the_detached_header_with_its_passphrase_and_no_other() {
    for integrity in Integrity::ALL {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::for_disk(integrity, DISK_BYTES).unwrap();
        let len = integrity.volume_key_bytes();
        let key = VolumeKey::fill(len, |bytes| {
            bytes.copy_from_slice(
                &(0..len)
                    .map(|at| u8::try_from(at).unwrap())
                    .collect::<Vec<_>>(),
            );
            Ok::<_, ()>(())
        })
        .unwrap();
        let detached = Detached::new(VOLUME, &layout, &key).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (header, right) = (
            file("header", &detached.bytes),
            file("right", detached.key.expose()),
        );
        let mut other = *detached.key.expose();
        other[31] ^= 1;
        let wrong = file("wrong", &other);
        // Every byte of the disk but its header is there; the disk's header is not looked at.
        let disk = dir.path().join("disk");
        std::fs::write(&disk, vec![0; usize::try_from(DISK_BYTES).unwrap()]).unwrap();
        let open = |passphrase: &str| {
            let arguments = [
                "open",
                "--test-passphrase",
                "--header",
                &header,
                "--key-file",
                passphrase,
            ];
            run("cryptsetup", &arguments, &disk)
        };
        let (opened, text) = open(&right);
        assert!(opened, "{integrity}: {text}");
        assert!(!open(&wrong).0);
        let dumped = dir.path().join("dumped");
        let arguments = [
            "luksDump",
            "--batch-mode",
            "--dump-volume-key",
            "--volume-key-file",
            dumped.to_str().unwrap(),
            "--key-file",
            &right,
        ];
        let (ended, text) = run("cryptsetup", &arguments, Path::new(&header));
        assert!(ended, "{text}");
        assert_eq!(std::fs::read(dumped).unwrap(), key.expose());
        let (_, text) = run("cryptsetup", &["luksDump"], Path::new(&header));
        assert!(text.contains("UUID:          \t0f0e0d0c-0b0a-4908-8706-050403020100"));
        assert!(!text.contains("0: dawnkey"), "a token is left: {text}");
    }
}
