//! A disk with an EFI system partition: GPT, FAT, and the image at the fallback path
//! `\EFI\BOOT\BOOTX64.EFI`. Needs neither root nor a loop device.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::error::{IoContext, VmError};

const SECTOR: u64 = 512;
/// First sector of the partition: 1 MiB.
const START: u64 = 2048;
/// Sectors of a GPT header with its table of 128 entries.
const TABLE: u64 = 33;
/// EFI system partition, C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as GPT stores it.
const ESP_TYPE: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// Writes a bootable disk with one unified kernel image.
///
/// # Errors
/// [`VmError::Tool`] with what mtools said.
pub fn write(disk: &Path, uki: &Path) -> Result<(), VmError> {
    let size = fs::metadata(uki)
        .doing(|| format!("size of {}", uki.display()))?
        .len();
    // FAT32's own tables, and the smallest size at which it is FAT32 to every reader.
    let sectors = (size / SECTOR + 16_384).max(70_000).next_multiple_of(2048);
    let total = START + sectors + TABLE;
    let what = || format!("write {}", disk.display());
    let mut file = fs::File::create(disk).doing(what)?;
    file.set_len(total * SECTOR).doing(what)?;
    for (sector, bytes) in partition_table(total, START, START + sectors - 1) {
        file.seek(SeekFrom::Start(sector * SECTOR)).doing(what)?;
        file.write_all(&bytes).doing(what)?;
    }
    drop(file);
    let partition = partition(disk);
    let tool = |name: &str| {
        let mut command = Command::new(name);
        command
            .env("MTOOLS_SKIP_CHECK", "1")
            .args(["-i", &partition]);
        command
    };
    command::run(tool("mformat").args(["-F", "-T", &sectors.to_string(), "-N", "da3b0e5e", "::"]))?;
    command::run(tool("mmd").args(["::/EFI", "::/EFI/BOOT"]))?;
    command::run(tool("mcopy").arg(uki).arg("::/EFI/BOOT/BOOTX64.EFI"))?;
    Ok(())
}

/// The partition on a disk that [`write()`] made, as mtools want it named.
#[must_use]
pub fn partition(disk: &Path) -> String {
    format!("{}@@{}", disk.display(), START * SECTOR)
}

/// Protective MBR, both GPT headers and both tables, as (sector, bytes).
fn partition_table(total: u64, first: u64, last: u64) -> Vec<(u64, Vec<u8>)> {
    let mut entries = vec![0u8; 128 * 128];
    let fields = [
        ESP_TYPE.as_slice(),
        b"dawnkey-esp-0001",
        &first.to_le_bytes(),
        &last.to_le_bytes(),
    ]
    .concat();
    for (to, from) in entries.iter_mut().zip(fields) {
        *to = from;
    }
    let table_crc = crc32(&entries);
    let backup_table = total - TABLE;
    let header = |own: u64, other: u64, table: u64| {
        let build = |crc: u32| {
            [
                b"EFI PART".as_slice(),
                &0x0001_0000u32.to_le_bytes(),
                &92u32.to_le_bytes(),
                &crc.to_le_bytes(),
                &0u32.to_le_bytes(),
                &own.to_le_bytes(),
                &other.to_le_bytes(),
                &(1 + TABLE).to_le_bytes(),
                &(total - TABLE - 1).to_le_bytes(),
                b"dawnkey-disk-001",
                &table.to_le_bytes(),
                &128u32.to_le_bytes(),
                &128u32.to_le_bytes(),
                &table_crc.to_le_bytes(),
            ]
            .concat()
        };
        build(crc32(&build(0)))
    };
    vec![
        (0, protective_mbr(total)),
        (1, header(1, total - 1, 2)),
        (2, entries.clone()),
        (backup_table, entries),
        (total - 1, header(total - 1, 1, backup_table)),
    ]
}

fn protective_mbr(total: u64) -> Vec<u8> {
    let length = u32::try_from(total - 1).unwrap_or(u32::MAX);
    let mut mbr = vec![0u8; 446];
    mbr.extend_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    mbr.extend_from_slice(&length.to_le_bytes());
    mbr.resize(510, 0);
    mbr.extend_from_slice(&[0x55, 0xaa]);
    mbr
}

/// CRC-32 of IEEE 802.3, as GPT wants it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn crc_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn both_headers_point_at_each_other() {
        let parts = partition_table(100_000, 2048, 99_000);
        let header = |index: usize| parts.get(index).unwrap().1.clone();
        assert_eq!(
            header(1).get(32..40),
            Some(99_999u64.to_le_bytes().as_slice())
        );
        assert_eq!(header(4).get(32..40), Some(1u64.to_le_bytes().as_slice()));
        assert!(header(1).len() == 92 && header(0).len() == 512);
    }

    #[test]
    fn mtools_reads_the_image_back() {
        let dir = tempfile::tempdir().unwrap();
        let (uki, disk, back) = (
            dir.path().join("u"),
            dir.path().join("d"),
            dir.path().join("b"),
        );
        fs::write(&uki, vec![9u8; 300_000]).unwrap();
        write(&disk, &uki).unwrap();
        let at = format!("{}@@{}", disk.display(), START * SECTOR);
        command::run(
            Command::new("mcopy")
                .args(["-i", &at, "::/EFI/BOOT/BOOTX64.EFI"])
                .arg(&back),
        )
        .unwrap();
        assert_eq!(fs::read(back).unwrap(), vec![9u8; 300_000]);
    }
}
