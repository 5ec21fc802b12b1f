//! Whether a disk is blank, and if not, what is on it.
//!
//! Blank means that the first 16 MiB read as zeros. Whether a blank disk may be formatted is for the key service to
//! say: a disk whose header was wiped looks the same.

use std::io;

use crate::disk::Disk;
use crate::geometry::DATA_OFFSET_BYTES;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// What was recognised on a disk that is not blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A LUKS header of version 1 or 2, or half of one.
    Luks,
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// FAT.
    Fat,
    /// NTFS.
    Ntfs,
    /// SquashFS.
    Squashfs,
    /// ISO 9660.
    Iso9660,
    /// ZFS, by an uberblock.
    Zfs,
    /// Swap space.
    Swap,
    /// GUID partition table.
    Gpt,
    /// MS-DOS partition table or boot sector.
    Mbr,
    /// LVM physical volume.
    Lvm,
    /// Linux software RAID member.
    Raid,
    /// A dm-integrity device without LUKS.
    Integrity,
    /// A dm-verity hash device.
    Verity,
    /// bcache.
    Bcache,
    /// Something that is none of these.
    Unknown,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Luks => "a LUKS header",
            Self::Ext => "an ext2, ext3 or ext4 filesystem",
            Self::Xfs => "an XFS filesystem",
            Self::Btrfs => "a btrfs filesystem",
            Self::F2fs => "an F2FS filesystem",
            Self::Fat => "a FAT filesystem",
            Self::Ntfs => "an NTFS filesystem",
            Self::Squashfs => "a SquashFS filesystem",
            Self::Iso9660 => "an ISO 9660 filesystem",
            Self::Zfs => "a ZFS pool member",
            Self::Swap => "swap space",
            Self::Gpt => "a GUID partition table",
            Self::Mbr => "an MS-DOS partition table or boot sector",
            Self::Lvm => "an LVM physical volume",
            Self::Raid => "a software RAID member",
            Self::Integrity => "a dm-integrity device",
            Self::Verity => "a dm-verity hash device",
            Self::Bcache => "a bcache device",
            Self::Unknown => "data of an unknown kind",
        })
    }
}

/// Signatures: byte from the disk's begin, the bytes there, what they mean. The first match is the answer.
const SIGNATURES: &[(usize, &[u8], Content)] = &[
    (0, b"LUKS\xba\xbe", Content::Luks),
    (0x4000, b"SKUL\xba\xbe", Content::Luks),
    (0x438, b"\x53\xef", Content::Ext),
    (0, b"XFSB", Content::Xfs),
    (0x1_0040, b"_BHRfS_M", Content::Btrfs),
    (0x400, b"\x10\x20\xf5\xf2", Content::F2fs),
    (54, b"FAT", Content::Fat),
    (82, b"FAT32", Content::Fat),
    (3, b"EXFAT", Content::Fat),
    (3, b"NTFS", Content::Ntfs),
    (0, b"hsqs", Content::Squashfs),
    (0x8001, b"CD001", Content::Iso9660),
    (0x2_0000, b"\x0c\xb1\xba\x00", Content::Zfs),
    (0x2_1000, b"\x0c\xb1\xba\x00", Content::Zfs),
    (4086, b"SWAPSPACE2", Content::Swap),
    (512, b"EFI PART", Content::Gpt),
    (4096, b"EFI PART", Content::Gpt),
    (0, b"LABELONE", Content::Lvm),
    (512, b"LABELONE", Content::Lvm),
    (1024, b"LABELONE", Content::Lvm),
    (1536, b"LABELONE", Content::Lvm),
    (0, b"\xfc\x4e\x2b\xa9", Content::Raid),
    (4096, b"\xfc\x4e\x2b\xa9", Content::Raid),
    (0, b"integrt\0", Content::Integrity),
    (0, b"verity\0\0", Content::Verity),
    (
        4096 + 24,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca",
        Content::Bcache,
    ),
    (510, b"\x55\xaa", Content::Mbr),
];

/// Reads the first 16 MiB. `None` means that every byte is zero.
pub fn content(disk: &dyn Disk) -> io::Result<Option<Content>> {
    let (mut chunk, zeros) = (vec![0; CHUNK], vec![0; CHUNK]);
    let end = disk.bytes().min(DATA_OFFSET_BYTES);
    let mut offset = 0;
    let mut found = None;
    while offset < end && found.is_none() {
        let length = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get_mut(..length).unwrap_or_default();
        disk.read_at(offset, part)?;
        if !zeros.starts_with(part) {
            let begins_here = offset == 0;
            found = Some(if begins_here {
                recognise(part)
            } else {
                Content::Unknown
            });
        }
        offset += length as u64;
    }
    Ok(found)
}

/// Names what the begin of a disk is the begin of. All signatures lie within the first MiB.
fn recognise(begin: &[u8]) -> Content {
    let hit = SIGNATURES.iter().find(|(offset, signature, _)| {
        begin
            .get(*offset..)
            .is_some_and(|rest| rest.starts_with(signature))
    });
    hit.map_or(Content::Unknown, |(_, _, content)| *content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::testing::MemoryDisk;

    #[test]
    fn zeros_are_blank_whatever_lies_behind_16_mib() {
        let mut disk = MemoryDisk::zeros(32 << 20);
        disk.write_at(DATA_OFFSET_BYTES, b"left by an interrupted format")
            .unwrap();
        assert_eq!(content(&disk).unwrap(), None);
    }

    #[test]
    fn recognises_every_signature() {
        for (offset, signature, wanted) in SIGNATURES {
            let mut disk = MemoryDisk::zeros(32 << 20);
            disk.write_at(*offset as u64, signature).unwrap();
            assert_eq!(content(&disk).unwrap(), Some(*wanted), "{wanted}");
        }
    }

    #[test]
    fn one_byte_anywhere_in_16_mib_is_not_blank() {
        for offset in [0, 1 << 20, (5 << 20) + 77, DATA_OFFSET_BYTES - 1] {
            let mut disk = MemoryDisk::zeros(32 << 20);
            disk.write_at(offset, &[1]).unwrap();
            assert_eq!(content(&disk).unwrap(), Some(Content::Unknown));
        }
    }

    #[test]
    fn recognises_filesystems_as_their_own_tools_make_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let made = std::process::Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let disk = crate::disk::OsDisk::open(&path, crate::disk::Access::Read).unwrap();
        assert_eq!(content(&disk).unwrap(), Some(Content::Ext));
    }
}
