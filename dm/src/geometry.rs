//! Where things are on the disk, in sectors of 512 bytes, and the dm-integrity arithmetic that decides it.
//!
//! dm-integrity chooses how many data sectors a disk provides from its size, the tag size, the journal's size and the
//! interleaving. The same numbers are computed here (after `drivers/md/dm-integrity.c` of Linux 6.12:
//! `calculate_journal_section_size`, `calculate_device_limits`, `get_provided_data_sectors`), go into the sealed
//! header, and are compared with what the kernel wrote.

use std::fmt;

/// Bytes of a sector, the unit of every device-mapper number.
pub const SECTOR_BYTES: u64 = 512;
/// Bytes of an encrypted block: the sector size of dm-crypt and the block size of dm-integrity.
pub const BLOCK_BYTES: u64 = 4096;
/// Sectors of an encrypted block.
pub const BLOCK_SECTORS: u64 = BLOCK_BYTES / SECTOR_BYTES;
/// Where the encrypted data (or the dm-integrity superblock) begins, in bytes.
pub const DATA_OFFSET_BYTES: u64 = 16 << 20;
/// Where the encrypted data (or the dm-integrity superblock) begins, in sectors.
pub const DATA_OFFSET_SECTORS: u64 = DATA_OFFSET_BYTES / SECTOR_BYTES;
/// The smallest disk that is formatted, in bytes.
pub const MIN_DISK_BYTES: u64 = 32 << 20;
/// Bytes of an HMAC-SHA256 tag, one for each encrypted block.
pub const TAG_BYTES: u64 = 32;
/// Sectors of data between two runs of tags.
pub const INTERLEAVE_SECTORS: u64 = 1 << LOG2_INTERLEAVE_SECTORS;
/// Base-2 logarithm of [`INTERLEAVE_SECTORS`].
pub const LOG2_INTERLEAVE_SECTORS: u8 = 15;
/// Sectors of one dm-integrity journal section with 4096-byte blocks and 32-byte tags.
///
/// An entry takes 8 + 8 × 8 + 32 = 104 bytes, so 4 fit into the 504 usable bytes of a sector, 32 into the 8 sectors of
/// a section's head; the section is those 8 sectors and 32 blocks.
pub const JOURNAL_SECTION_SECTORS: u64 = 8 + 32 * BLOCK_SECTORS;
/// Most sectors of a journal (the kernel's own ceiling: 64 MiB).
pub const MAX_JOURNAL_SECTORS: u64 = 131_072;

const SUPERBLOCK_SECTORS: u64 = 8;
/// Sectors of one run of tags: one tag for each block of an interleave, a power of two here.
const TAG_RUN_SECTORS: u64 = TAG_BYTES * (INTERLEAVE_SECTORS / BLOCK_SECTORS) / SECTOR_BYTES;
/// Upper bound of sector numbers that are computed with: 2^54 sectors are 8 EiB.
const MAX_SECTORS: u64 = 1 << 54;

/// How changed blocks are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// Every block carries an HMAC-SHA256 tag in dm-integrity: a changed block is a read error.
    HmacSha256,
    /// Nothing: a changed block decrypts to noise. Only by explicit choice.
    None,
}

impl Integrity {
    /// Bytes of the volume key: AES-256-XTS, and the HMAC key behind it.
    #[must_use]
    pub const fn volume_key_bytes(self) -> usize {
        match self {
            Self::HmacSha256 => 96,
            Self::None => 64,
        }
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::None => "none",
        })
    }
}

/// The disk has fewer bytes than [`MIN_DISK_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lay out a volume: the disk has {found} bytes, at least {MIN_DISK_BYTES} are needed")]
pub struct DiskTooSmall {
    /// Bytes of the disk.
    pub found: u64,
}

/// Numbers that no disk could have given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "read a volume's layout: {data_sectors} data sectors with {journal_sections} journal sections fit no disk"
)]
pub struct BadLayout {
    /// Data sectors as stated.
    pub data_sectors: u64,
    /// Journal sections as stated.
    pub journal_sections: u32,
}

/// The layout of one volume, fixed when it is formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    integrity: Integrity,
    data_sectors: u64,
    journal_sections: u32,
}

impl Layout {
    /// Lays out a volume over a disk of `disk_bytes`.
    pub fn for_disk(integrity: Integrity, disk_bytes: u64) -> Result<Self, DiskTooSmall> {
        let disk_sectors = (disk_bytes / SECTOR_BYTES).min(MAX_SECTORS);
        if disk_bytes < MIN_DISK_BYTES {
            return Err(DiskTooSmall { found: disk_bytes });
        }
        let (data_sectors, journal_sections) = match integrity {
            Integrity::None => {
                let whole_blocks = (disk_sectors - DATA_OFFSET_SECTORS) / BLOCK_SECTORS;
                (whole_blocks * BLOCK_SECTORS, 0)
            }
            Integrity::HmacSha256 => {
                let sections = journal_sections(disk_sectors);
                (provided_sectors(disk_sectors, sections), sections)
            }
        };
        Ok(Self {
            integrity,
            data_sectors,
            journal_sections,
        })
    }

    /// Takes a layout from a header's numbers, which may be anything.
    pub fn from_parts(
        integrity: Integrity,
        data_sectors: u64,
        journal_sections: u32,
    ) -> Result<Self, BadLayout> {
        let journal_fits = match integrity {
            Integrity::None => journal_sections == 0,
            Integrity::HmacSha256 => {
                journal_sections > 0
                    && u64::from(journal_sections) <= MAX_JOURNAL_SECTORS / JOURNAL_SECTION_SECTORS
            }
        };
        let whole_blocks = data_sectors.is_multiple_of(BLOCK_SECTORS);
        if journal_fits && whole_blocks && (1..=MAX_SECTORS).contains(&data_sectors) {
            Ok(Self {
                integrity,
                data_sectors,
                journal_sections,
            })
        } else {
            Err(BadLayout {
                data_sectors,
                journal_sections,
            })
        }
    }

    /// How changed blocks are found.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// Sectors of clear data: the size of the mapped device.
    #[must_use]
    pub const fn data_sectors(&self) -> u64 {
        self.data_sectors
    }

    /// Sections of the dm-integrity journal, 0 without integrity.
    #[must_use]
    pub const fn journal_sections(&self) -> u32 {
        self.journal_sections
    }

    /// Sectors of the dm-integrity journal, 0 without integrity.
    #[must_use]
    pub const fn journal_sectors(&self) -> u64 {
        self.journal_sections as u64 * JOURNAL_SECTION_SECTORS
    }

    /// The fewest bytes of a disk that holds this volume.
    #[must_use]
    pub fn needed_disk_bytes(&self) -> u64 {
        let sectors = match self.integrity {
            Integrity::None => DATA_OFFSET_SECTORS + self.data_sectors,
            Integrity::HmacSha256 => end_sector(self.data_sectors, self.journal_sections),
        };
        sectors * SECTOR_BYTES
    }
}

/// The kernel's default: 1/128 of the disk, 64 MiB at most, in whole sections and at least one.
fn journal_sections(disk_sectors: u64) -> u32 {
    let sectors = (disk_sectors >> 7).min(MAX_JOURNAL_SECTORS);
    u32::try_from(sectors / JOURNAL_SECTION_SECTORS).map_or(1, |sections| sections.max(1))
}

/// The sector behind the last data sector, counted from the disk's begin (`get_data_sector` + 1).
fn end_sector(data_sectors: u64, journal_sections: u32) -> u64 {
    let last = data_sectors.saturating_sub(1);
    let area = last >> LOG2_INTERLEAVE_SECTORS;
    let offset = last & (INTERLEAVE_SECTORS - 1);
    let initial = SUPERBLOCK_SECTORS + u64::from(journal_sections) * JOURNAL_SECTION_SECTORS;
    DATA_OFFSET_SECTORS
        + initial
        + (area << LOG2_INTERLEAVE_SECTORS)
        + (area + 1) * TAG_RUN_SECTORS
        + offset
        + 1
}

/// The most data sectors, a multiple of 8, that fit (`get_provided_data_sectors`).
fn provided_sectors(disk_sectors: u64, journal_sections: u32) -> u64 {
    (3..=54).rev().fold(0, |provided, bit| {
        let more = provided | 1 << bit;
        if end_sector(more, journal_sections) <= disk_sectors {
            more
        } else {
            provided
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn journal_section_matches_the_kernels_arithmetic() {
        assert_eq!(JOURNAL_SECTION_SECTORS, 264);
        assert_eq!(TAG_RUN_SECTORS, 256);
    }

    #[test]
    fn lays_out_a_256_mib_disk() {
        let layout = Layout::for_disk(Integrity::HmacSha256, 256 << 20).unwrap();
        assert_eq!(layout.journal_sections(), 15);
        assert_eq!(layout.journal_sectors(), 3960);
        // 524288 - 32768 - 8 - 3960 = 487552 for data and 15 runs of 256 sectors.
        assert_eq!(layout.data_sectors(), 483_712);
        let plain = Layout::for_disk(Integrity::None, (256 << 20) + 4095).unwrap();
        assert_eq!(plain.data_sectors(), 524_288 - 32_768);
        assert_eq!(plain.journal_sectors(), 0);
    }

    #[test]
    fn refuses_disk_one_byte_below_the_minimum() {
        for integrity in [Integrity::HmacSha256, Integrity::None] {
            let refused = Layout::for_disk(integrity, MIN_DISK_BYTES - 1);
            let found = MIN_DISK_BYTES - 1;
            assert_eq!(refused, Err(DiskTooSmall { found }));
            assert!(Layout::for_disk(integrity, MIN_DISK_BYTES).is_ok());
        }
    }

    #[test]
    fn refuses_layout_that_no_disk_could_have() {
        use Integrity::{HmacSha256, None};
        for (integrity, data, journal) in [
            (HmacSha256, 0, 1),
            (HmacSha256, 7, 1),
            (HmacSha256, 8, 0),
            (HmacSha256, 8, 497),
            (HmacSha256, u64::MAX - 7, 1),
            (None, 8, 1),
            (None, 0, 0),
        ] {
            let refused = Layout::from_parts(integrity, data, journal);
            let bad = BadLayout {
                data_sectors: data,
                journal_sections: journal,
            };
            assert_eq!(refused, Err(bad));
        }
    }

    proptest! {
        #[test]
        fn every_layout_fits_its_disk_and_wastes_less_than_a_block_and_a_tag_run(
            bytes in MIN_DISK_BYTES..(1_u64 << 50), hmac: bool,
        ) {
            let integrity = if hmac { Integrity::HmacSha256 } else { Integrity::None };
            let layout = Layout::for_disk(integrity, bytes).unwrap();
            prop_assert!(layout.needed_disk_bytes() <= bytes);
            prop_assert!(bytes - layout.needed_disk_bytes() < (BLOCK_SECTORS + TAG_RUN_SECTORS) * SECTOR_BYTES + BLOCK_BYTES);
            let again = Layout::from_parts(integrity, layout.data_sectors(), layout.journal_sections());
            prop_assert_eq!(again, Ok(layout));
        }
    }
}
