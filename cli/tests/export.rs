//! `dawnkey volume export-key` with the real binary: everything that must end before the service is asked.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, dawnkey_with, init};
use dawnkey_dm::geometry::{Integrity, Layout};
use dawnkey_dm::header::SealedHeader;
use dawnkey_secret::Dek;
use std::path::Path;
use uuid::Uuid;

const VOLUME: Uuid = Uuid::from_u128(0x5f3c_2f0e_8c1b_4f86_9d0e_2f6f_1f0a_7b11);

/// An initialised directory with a volume's header in `disk`. Nothing listens at the profile's endpoint.
fn scene() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let layout = Layout::for_disk(Integrity::HmacSha256, 64 << 20).unwrap();
    let (header, _) = SealedHeader::create(VOLUME, 1, 1, layout, &dek).unwrap();
    let mut disk = header.encode().to_vec();
    disk.extend_from_slice(&[0xee; 4096]);
    std::fs::write(dir.path().join("disk"), disk).unwrap();
    dir
}

fn export(dir: &Path, id: Uuid, more: &[&str], input: &str) -> Run {
    let id = id.to_string();
    let args = [
        "volume",
        "export-key",
        &id,
        "--header",
        "disk",
        "--out",
        "volume.key",
    ];
    dawnkey_with(dir, &[&args, more].concat(), input)
}

fn nothing_written(dir: &Path) -> bool {
    !dir.join("volume.key").exists()
}

#[test]
fn without_confirmation_it_ends_with_code_2_and_writes_nothing() {
    let dir = scene();
    for answer in [
        "",
        "yes\n",
        "5f3c2f0e\n",
        "5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b12\n",
    ] {
        let run = export(dir.path(), VOLUME, &[], answer);
        assert_eq!(run.code, 2, "{answer:?}: {}", run.err);
        assert!(
            run.err.contains("not confirmed; nothing was done"),
            "{}",
            run.err
        );
        assert!(nothing_written(dir.path()));
    }
}

#[test]
fn confirmed_by_the_id_or_yes_it_asks_the_service_and_writes_nothing_without_an_answer() {
    let dir = scene();
    let typed = export(dir.path(), VOLUME, &[], &format!("{VOLUME}\n"));
    let yes = export(dir.path(), VOLUME, &["--yes"], "");
    for run in [typed, yes] {
        assert_eq!(run.code, 3, "{}", run.err);
        assert!(nothing_written(dir.path()));
    }
}

#[test]
fn header_of_another_volume_ends_with_code_5() {
    let dir = scene();
    let run = export(dir.path(), Uuid::from_u128(1), &["--yes"], "");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(
        run.err.contains(&format!("it is of volume {VOLUME}")),
        "{}",
        run.err
    );
    assert!(nothing_written(dir.path()));
}

#[test]
fn damaged_blank_or_short_header_ends_with_code_5() {
    let dir = scene();
    let disk = dir.path().join("disk");
    let good = std::fs::read(&disk).unwrap();
    let mut torn = good.clone();
    torn[4096] ^= 1;
    torn[16384 + 4096] ^= 1;
    for (bent, named) in [
        (torn, "both copies are torn"),
        (vec![0; 65536], "neither copy begins with a LUKS magic"),
        (good[..32767].to_vec(), "read the header"),
    ] {
        std::fs::write(&disk, bent).unwrap();
        let run = export(dir.path(), VOLUME, &["--yes"], "");
        assert_eq!(run.code, 5, "{}", run.err);
        assert!(run.err.contains(named), "{}", run.err);
        assert!(nothing_written(dir.path()));
    }
}

#[test]
fn one_damaged_copy_is_mentioned_and_the_other_is_read() {
    let dir = scene();
    let disk = dir.path().join("disk");
    let mut bytes = std::fs::read(&disk).unwrap();
    bytes[4096] ^= 1;
    std::fs::write(&disk, bytes).unwrap();
    let run = export(dir.path(), VOLUME, &["--yes"], "");
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(
        run.err
            .contains("the primary copy of the header is damaged"),
        "{}",
        run.err
    );
}

#[test]
fn existing_output_file_is_refused_and_kept() {
    let dir = scene();
    std::fs::write(dir.path().join("volume.key"), "mine").unwrap();
    let run = export(dir.path(), VOLUME, &["--yes"], "");
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(
        run.err.contains("nothing is ever overwritten"),
        "{}",
        run.err
    );
    let kept = std::fs::read_to_string(dir.path().join("volume.key")).unwrap();
    assert_eq!(kept, "mine");
}
