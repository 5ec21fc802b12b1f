//! Predictions compared with what real machines logged: whatever of a log's content is known here, its digest must
//! come out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha384};

use super::{
    SecureBoot, SecureBootMode,
    prediction::Content,
    signature_list,
    tdx::{Machine, Tdvf, td_hob},
};
use crate::{
    eventlog::{Event, EventLog, Limits, kind},
    tpm::hash::Hash,
};

/// The folder of recorded evidence, or `None` (said in one line) where it is absent; in CI that fails.
fn evidence() -> Option<PathBuf> {
    let dir = match std::env::var_os("DAWNKEY_EVIDENCE") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence"),
    };
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(std::env::var_os("CI").is_none(), "no recorded evidence");
    eprintln!("no recorded evidence: set DAWNKEY_EVIDENCE; nothing was tested");
    None
}

/// Every binary log of a family, by name.
fn logs(dir: &Path, family: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir.join(family)).expect("a readable folder");
    let mut found: Vec<_> = entries
        .flat_map(|entry| {
            let dir = entry.expect("an entry").path();
            let files = ["ccel.bin", "eventlog.bin"].map(|file| dir.join(file));
            let bytes = files.iter().find_map(|file| std::fs::read(file).ok())?;
            Some((dir.file_name()?.to_string_lossy().into_owned(), bytes))
        })
        .collect();
    found.sort();
    found
}

fn digest(content: Content, hash: Hash) -> Vec<u8> {
    match content {
        Content::Bytes(bytes) => hash.digest(&[&bytes]),
        Content::Digest(digest) => digest,
    }
}

fn is_digest(alg: u16, digest: &[u8], data: &[u8]) -> bool {
    Hash::from_id(alg).is_some_and(|hash| hash.digest(&[data]) == digest)
}

/// Content of a `UEFI_VARIABLE_DATA` event with this name.
fn variable<'a>(event: &Event<'a>, name: &str) -> Option<&'a [u8]> {
    let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (head, rest) = event.data.split_at_checked(32)?;
    let same = head[16..24] == (name.len() as u64).to_le_bytes();
    rest.strip_prefix(wide.as_slice()).filter(|_| same)
}

/// Secure Boot's state from a log's own content, where it has the five variables one after the other.
fn secure_boot(log: &EventLog<'_>, register: u32) -> Option<(SecureBoot, usize)> {
    let events: Vec<_> = log
        .events
        .iter()
        .enumerate()
        .filter(|(_, event)| event.pcr == register)
        .collect();
    let first = events
        .iter()
        .position(|(_, event)| variable(event, "SecureBoot").is_some())?;
    let names = ["SecureBoot", "PK", "KEK", "db", "dbx"];
    let mut contents = Vec::new();
    for (name, (_, event)) in names.iter().zip(&events[first..]) {
        contents.push(variable(event, name)?.to_vec());
    }
    let [mode, pk, kek, db, dbx] = <[Vec<u8>; 5]>::try_from(contents).ok()?;
    let mode = match mode.as_slice() {
        [] => SecureBootMode::Unsupported,
        [0] => SecureBootMode::Off,
        [1] => SecureBootMode::On,
        _ => return None,
    };
    let state = SecureBoot {
        mode,
        pk,
        kek,
        db,
        dbx,
    };
    Some((state, first))
}

/// How many logs of a family have the five variables, all of which must come out digest for digest.
fn check_variables(family: &str, register: u32, bank: Hash) -> Option<(usize, usize)> {
    let dir = evidence()?;
    let (mut checked, mut on) = (0, 0);
    for (name, bytes) in logs(&dir, family) {
        let Ok(log) = EventLog::parse(&bytes, Limits::default()) else {
            continue;
        };
        if !log.has_bank(bank.id()) {
            continue;
        }
        let Some((state, first)) = secure_boot(&log, register) else {
            continue;
        };
        assert_eq!(state.check(), Ok(()), "{name}");
        let logged = log
            .events
            .iter()
            .filter(|event| event.pcr == register)
            .skip(first);
        for (event, logged) in state.before_boot().into_iter().zip(logged).take(5) {
            let computed = digest(event.content, bank);
            assert_eq!(
                logged.digest(bank.id()),
                Some(computed.as_slice()),
                "{name} {}",
                event.description
            );
        }
        checked += 1;
        on += usize::from(state.is_on());
    }
    Some((checked, on))
}

#[test]
fn secure_boot_variables_come_out_as_firmware_of_many_makers_logged_them() {
    let Some((checked, on)) = check_variables("tpm-eventlog", 7, Hash::Sha256) else {
        return;
    };
    assert!(
        checked >= 4 && on >= 1,
        "{checked} logs, {on} with Secure Boot on"
    );
}

#[test]
fn secure_boot_variables_come_out_as_tds_logged_them() {
    let Some((checked, on)) = check_variables("tdx-eventlog", 1, Hash::Sha384) else {
        return;
    };
    assert!(
        checked >= 6 && on >= 1,
        "{checked} logs, {on} with Secure Boot on"
    );
}

/// Where firmware let an image run by db, the logged entry is one that is read from db.
#[test]
fn logged_authorities_are_entries_of_the_logged_db() {
    let Some(dir) = evidence() else { return };
    let mut found = 0;
    for (family, register) in [("tpm-eventlog", 7), ("tdx-eventlog", 1)] {
        for (name, bytes) in logs(&dir, family) {
            let Ok(log) = EventLog::parse(&bytes, Limits::default()) else {
                continue;
            };
            let Some((state, _)) = secure_boot(&log, register) else {
                continue;
            };
            let entries = signature_list::signatures(&state.db).unwrap();
            // shim logs certificates too, but extends something else than what it logs.
            let authorities = log.events.iter().filter(|event| {
                event.kind == kind::EFI_VARIABLE_AUTHORITY
                    && event
                        .digests
                        .iter()
                        .all(|one| is_digest(one.alg, one.bytes, event.data))
            });
            for entry in authorities.filter_map(|event| variable(event, "db")) {
                assert!(entries.iter().any(|one| one.whole == entry), "{name}");
                found += 1;
            }
        }
    }
    assert!(found >= 2, "{found} entries");
}

/// Firmware with OVMF's TDX sections.
fn firmware() -> Vec<u8> {
    let sections: [[u32; 8]; 6] = [
        [0x2_0000, 0x1e_0000, 0xffe2_0000, 0, 0x1e_0000, 0, 0, 1],
        [0, 0x2_0000, 0xffe0_0000, 0, 0x2_0000, 0, 1, 0],
        [0, 0, 0x81_0000, 0, 0x1_0000, 0, 3, 0],
        [0, 0, 0x80_b000, 0, 0x2000, 0, 3, 0],
        [0, 0, 0x80_9000, 0, 0x2000, 0, 2, 0],
        [0, 0, 0x80_0000, 0, 0x6000, 0, 3, 0],
    ];
    let mut bytes = vec![0; 2 << 20];
    let mut metadata = b"TDVF".to_vec();
    for word in [208, 1, 6]
        .into_iter()
        .chain(sections.into_iter().flatten())
    {
        metadata.extend_from_slice(&u32::to_le_bytes(word));
    }
    bytes[..metadata.len()].copy_from_slice(&metadata);
    let mut table = u32::to_le_bytes(2 << 20).to_vec();
    table.extend_from_slice(&22u16.to_le_bytes());
    table.extend(hex::decode("35657ae44a989847865e4685a7bf8ec2").unwrap());
    table.extend_from_slice(&40u16.to_le_bytes());
    table.extend(hex::decode("de82b596b21ff745baeaa366c55a082d").unwrap());
    let end = bytes.len() - 32;
    bytes[end - table.len()..end].copy_from_slice(&table);
    bytes
}

#[test]
fn the_td_hob_of_a_memory_size_is_what_machines_of_that_size_logged() {
    let Some(dir) = evidence() else { return };
    let firmware = firmware();
    let tdvf = Tdvf::parse(&firmware).unwrap();
    for (name, machine, mib) in [
        ("trustee-ovmf", Machine::Qemu, 2 * 1024),
        ("preproduction", Machine::Qemu, 2 * 1024),
        ("trustee-grub", Machine::Qemu, 10 * 1024),
        ("cos-113", Machine::Gce, 16 * 1024),
        ("trustee-gcp", Machine::Gce, 16 * 1024),
    ] {
        let bytes = std::fs::read(dir.join("tdx-eventlog").join(name).join("ccel.bin")).unwrap();
        let log = EventLog::parse(&bytes, Limits::default()).unwrap();
        let logged = log
            .events
            .iter()
            .find(|event| event.kind == kind::EFI_HANDOFF_TABLES2)
            .unwrap();
        let computed = Sha384::digest(td_hob(&tdvf, machine, mib).unwrap());
        assert_eq!(logged.digest(0x000c), Some(computed.as_slice()), "{name}");
    }
}

/// The TD HOB that Google published for a firmware, and where in it the size of the upper memory stands.
#[test]
fn the_td_hob_of_gce_is_what_google_published() {
    let Some(dir) = evidence() else { return };
    let path = dir.join("tdx/v4-gcp-2026/firmware.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let published = text
        .split_whitespace()
        .max_by_key(|word| word.len())
        .unwrap();
    let mut published = hex::decode(published).unwrap();
    let firmware = firmware();
    let tdvf = Tdvf::parse(&firmware).unwrap();
    for gib in [16, 88] {
        published[576..584].copy_from_slice(&u64::to_le_bytes((gib - 3) << 30));
        assert_eq!(
            td_hob(&tdvf, Machine::Gce, gib << 10).unwrap(),
            published,
            "{gib} GiB"
        );
    }
}
