//! Where things are on the disk, in sectors of 512 bytes, and the dm-integrity arithmetic that decides it.
//!
//! dm-integrity chooses how many data sectors a disk provides from its size, the tag size, the journal's size and the
//! interleaving. The same numbers are computed here (after `drivers/md/dm-integrity.c` of Linux 6.12:
//! `calculate_journal_section_size`, `calculate_device_limits`, `get_provided_data_sectors`), go into the sealed
//! header, and are compared with what the kernel wrote.

pub use crate::integrity::Integrity;

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
/// Sectors of data between two runs of tags.
pub const INTERLEAVE_SECTORS: u64 = 1 << LOG2_INTERLEAVE_SECTORS;
/// Base-2 logarithm of [`INTERLEAVE_SECTORS`].
pub const LOG2_INTERLEAVE_SECTORS: u8 = 15;
/// Sectors of one dm-integrity journal section with 4096-byte blocks and tags of 28 or 32 bytes.
///
/// An entry takes 8 + 8 × 8 + tag bytes, in multiples of 8: 104. So 4 fit into the 504 usable bytes of a sector (496
/// with a journal MAC), 32 into the 8 sectors of a section's head; the section is those 8 sectors and 32 blocks.
pub const JOURNAL_SECTION_SECTORS: u64 = 8 + 32 * BLOCK_SECTORS;
/// Most sectors of a journal (the kernel's own ceiling: 64 MiB).
pub const MAX_JOURNAL_SECTORS: u64 = 131_072;

const SUPERBLOCK_SECTORS: u64 = 8;
/// Sectors of one run of tags: one tag for each block of an interleave, padded to 4096 bytes (`fix_padding`).
const fn tag_run_sectors(integrity: Integrity) -> u64 {
    let bytes = integrity.tag_bytes() * (INTERLEAVE_SECTORS / BLOCK_SECTORS);
    bytes.div_ceil(BLOCK_BYTES) * BLOCK_SECTORS
}

/// Upper bound of sector numbers that are computed with: 2^54 sectors are 8 EiB.
const MAX_SECTORS: u64 = 1 << 54;

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
    "read a volume's layout: {data_sectors} data sectors, {ready_sectors} of them ready, with {journal_sections} journal sections fit no disk"
)]
pub struct BadLayout {
    /// Data sectors as stated.
    pub data_sectors: u64,
    /// Ready sectors as stated.
    pub ready_sectors: u64,
    /// Journal sections as stated.
    pub journal_sections: u32,
}

/// The layout of one volume. Growing changes the sectors; nothing else changes after the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    integrity: Integrity,
    journal_mac: bool,
    data_sectors: u64,
    ready_sectors: u64,
    journal_sections: u32,
}

impl Layout {
    /// Lays out a volume over a disk of `disk_bytes`, all of it ready, the journal without a MAC.
    pub fn for_disk(integrity: Integrity, disk_bytes: u64) -> Result<Self, DiskTooSmall> {
        if disk_bytes < MIN_DISK_BYTES {
            return Err(DiskTooSmall { found: disk_bytes });
        }
        let journal_sections = if integrity.has_tags() {
            journal_sections(disk_sectors(disk_bytes))
        } else {
            0
        };
        let data_sectors = provided_sectors(integrity, disk_sectors(disk_bytes), journal_sections);
        Ok(Self {
            integrity,
            journal_mac: false,
            data_sectors,
            ready_sectors: data_sectors,
            journal_sections,
        })
    }

    /// Takes a layout from a header's numbers, which may be anything; all of it is ready, the journal has no MAC.
    pub fn from_parts(
        integrity: Integrity,
        data_sectors: u64,
        journal_sections: u32,
    ) -> Result<Self, BadLayout> {
        let layout = Self {
            integrity,
            journal_mac: false,
            data_sectors,
            ready_sectors: data_sectors,
            journal_sections,
        };
        let most = MAX_JOURNAL_SECTORS / JOURNAL_SECTION_SECTORS;
        let journal_fits = if integrity.has_tags() {
            (1..=most).contains(&u64::from(journal_sections))
        } else {
            journal_sections == 0
        };
        let whole_blocks = data_sectors.is_multiple_of(BLOCK_SECTORS);
        if journal_fits && whole_blocks && (1..=MAX_SECTORS).contains(&data_sectors) {
            Ok(layout)
        } else {
            Err(layout.bad(data_sectors))
        }
    }

    /// The same layout of which only the first sectors are ready: a multiple of 8, and all of them without integrity.
    pub fn with_ready(self, ready_sectors: u64) -> Result<Self, BadLayout> {
        let whole_blocks = ready_sectors.is_multiple_of(BLOCK_SECTORS);
        let possible = if self.integrity.has_tags() {
            (1..=self.data_sectors).contains(&ready_sectors)
        } else {
            ready_sectors == self.data_sectors
        };
        if whole_blocks && possible {
            Ok(Self {
                ready_sectors,
                ..self
            })
        } else {
            Err(self.bad(ready_sectors))
        }
    }

    /// The same layout with a MAC over the journal's section heads, or without one. Without a journal there is none.
    #[must_use]
    pub const fn with_journal_mac(self, journal_mac: bool) -> Self {
        Self {
            journal_mac: journal_mac && self.integrity.has_tags(),
            ..self
        }
    }

    /// The layout after the disk has grown to `disk_bytes`: the same journal, more data sectors, no more of them ready
    /// than before. `None` if the disk gives no more.
    ///
    /// Every sector stays where it is: its place follows from journal and interleaving only.
    #[must_use]
    pub fn grown(self, disk_bytes: u64) -> Option<Self> {
        let sectors = disk_sectors(disk_bytes);
        let data_sectors = provided_sectors(self.integrity, sectors, self.journal_sections);
        let ready_sectors = if self.integrity.has_tags() {
            self.ready_sectors
        } else {
            data_sectors
        };
        (data_sectors > self.data_sectors).then_some(Self {
            data_sectors,
            ready_sectors,
            ..self
        })
    }

    const fn bad(self, ready_sectors: u64) -> BadLayout {
        BadLayout {
            data_sectors: self.data_sectors,
            ready_sectors,
            journal_sections: self.journal_sections,
        }
    }

    /// How changed blocks are found.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// Whether dm-integrity checks a MAC over its journal.
    #[must_use]
    pub const fn journal_mac(&self) -> bool {
        self.journal_mac
    }

    /// Sectors of clear data: the size of the mapped device when all of it is ready.
    #[must_use]
    pub const fn data_sectors(&self) -> u64 {
        self.data_sectors
    }

    /// Sectors from the begin that have a valid tag, as far as is known: the size of the mapped device.
    #[must_use]
    pub const fn ready_sectors(&self) -> u64 {
        self.ready_sectors
    }

    /// Whether every sector has a valid tag.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready_sectors == self.data_sectors
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
        end_sector(self.integrity, self.data_sectors, self.journal_sections) * SECTOR_BYTES
    }
}

fn disk_sectors(disk_bytes: u64) -> u64 {
    (disk_bytes / SECTOR_BYTES).min(MAX_SECTORS)
}

/// The kernel's default: 1/128 of the disk, 64 MiB at most, in whole sections and at least one.
fn journal_sections(disk_sectors: u64) -> u32 {
    let sectors = (disk_sectors >> 7).min(MAX_JOURNAL_SECTORS);
    u32::try_from(sectors / JOURNAL_SECTION_SECTORS).map_or(1, |sections| sections.max(1))
}

/// The sector behind the last data sector, counted from the disk's begin (`get_data_sector` + 1).
fn end_sector(integrity: Integrity, data_sectors: u64, journal_sections: u32) -> u64 {
    if !integrity.has_tags() {
        return DATA_OFFSET_SECTORS + data_sectors;
    }
    let last = data_sectors.saturating_sub(1);
    let area = last >> LOG2_INTERLEAVE_SECTORS;
    let offset = last & (INTERLEAVE_SECTORS - 1);
    let initial = SUPERBLOCK_SECTORS + u64::from(journal_sections) * JOURNAL_SECTION_SECTORS;
    DATA_OFFSET_SECTORS
        + initial
        + (area << LOG2_INTERLEAVE_SECTORS)
        + (area + 1) * tag_run_sectors(integrity)
        + offset
        + 1
}

/// The most data sectors, a multiple of 8, that fit (`get_provided_data_sectors`).
fn provided_sectors(integrity: Integrity, disk_sectors: u64, journal_sections: u32) -> u64 {
    (3..=54).rev().fold(0, |provided, bit| {
        let more = provided | 1 << bit;
        if end_sector(integrity, more, journal_sections) <= disk_sectors {
            more
        } else {
            provided
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn journal_section_matches_the_kernels_arithmetic() {
        assert_eq!(JOURNAL_SECTION_SECTORS, 264);
        for (integrity, run) in [
            (Integrity::HmacSha256, 256),
            (Integrity::Aegis128, 256),
            (Integrity::AesGcm, 224),
        ] {
            // An entry: 8 bytes of sector number, the last 8 bytes of each sector, the tag.
            let entry = (8 + 8 * 8 + integrity.tag_bytes()).next_multiple_of(8);
            for usable in [504, 496] {
                let entries = usable / entry * 8;
                assert_eq!(entries * BLOCK_SECTORS + 8, JOURNAL_SECTION_SECTORS);
            }
            assert_eq!(tag_run_sectors(integrity), run);
        }
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
                ready_sectors: data,
                journal_sections: journal,
            };
            assert_eq!(refused, Err(bad));
        }
    }

    #[test]
    fn refuses_ready_sectors_that_no_volume_could_have() {
        let whole = Layout::for_disk(Integrity::HmacSha256, 256 << 20).unwrap();
        let data = whole.data_sectors();
        for ready in [0, 7, data - 1, data + 8, u64::MAX - 7] {
            let refused = whole.with_ready(ready).unwrap_err();
            assert_eq!(refused.ready_sectors, ready);
        }
        for ready in [8, data - 8, data] {
            let layout = whole.with_ready(ready).unwrap();
            assert_eq!(layout.ready_sectors(), ready);
            assert_eq!(layout.is_ready(), ready == data);
        }
        let plain = Layout::for_disk(Integrity::None, 256 << 20).unwrap();
        assert!(plain.with_ready(plain.data_sectors() - 8).is_err());
        assert!(!plain.with_journal_mac(true).journal_mac());
        assert!(whole.with_journal_mac(true).journal_mac());
    }

    proptest! {
        #[test]
        fn every_layout_fits_its_disk_and_wastes_less_than_a_block_and_a_tag_run(
            bytes in MIN_DISK_BYTES..(1_u64 << 50), kind in 0_usize..4,
        ) {
            let integrity = Integrity::ALL[kind];
            let layout = Layout::for_disk(integrity, bytes).unwrap();
            prop_assert!(layout.needed_disk_bytes() <= bytes);
            prop_assert!(bytes - layout.needed_disk_bytes() < (BLOCK_SECTORS + tag_run_sectors(integrity)) * SECTOR_BYTES + BLOCK_BYTES);
            let again = Layout::from_parts(integrity, layout.data_sectors(), layout.journal_sections());
            prop_assert_eq!(again, Ok(layout));
        }

        #[test]
        fn a_grown_disk_gives_more_sectors_behind_the_same_ready_ones(
            bytes in MIN_DISK_BYTES..(1_u64 << 44), more in 0..(1_u64 << 44), ready in 1_u64..1 << 13, kind in 0_usize..4,
        ) {
            let integrity = Integrity::ALL[kind];
            let old = Layout::for_disk(integrity, bytes).unwrap();
            let ready = (ready * 8).min(old.data_sectors());
            let old = old.with_ready(ready).unwrap_or(old);
            match old.grown(bytes + more) {
                None => prop_assert!(more < (BLOCK_SECTORS + 1 + tag_run_sectors(integrity)) * SECTOR_BYTES),
                Some(grown) => {
                    prop_assert!(grown.needed_disk_bytes() <= bytes + more);
                    prop_assert!(grown.data_sectors() > old.data_sectors());
                    prop_assert_eq!(grown.journal_sections(), old.journal_sections());
                    let ready = if integrity.has_tags() { old.ready_sectors() } else { grown.data_sectors() };
                    prop_assert_eq!(grown.ready_sectors(), ready);
                }
            }
            prop_assert_eq!(old.grown(bytes), None);
        }
    }
}
