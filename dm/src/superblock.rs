//! The dm-integrity superblock: 4096 bytes at 16 MiB, written once by the kernel when the volume is formatted.
//!
//! It lies outside the sealed header and the kernel reads it from the disk itself, so this comparison only names damage
//! early. What the kernel took is compared by the module `taken`; what protects the data is the tag of every block,
//! checked by dm-crypt with the volume key.
//!
//! Layout (little-endian), from `struct superblock` of `drivers/md/dm-integrity.c`: magic 8, version 1,
//! log2 interleave 1, tag bytes 2, journal sections 4, data sectors 8, flags 4, log2 sectors per block 1,
//! log2 blocks per bitmap bit 1, padding 2, recalculated sector 8, padding 8, salt 16; zeros to the end.

use crate::geometry::{BLOCK_SECTORS, LOG2_INTERLEAVE_SECTORS, Layout, SECTOR_BYTES};

/// Bytes of the superblock.
pub const SUPERBLOCK_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"integrt\0";
/// Version that goes with [`FLAG_FIXED_PADDING`].
const VERSION: u8 = 4;
/// Version that goes with [`FLAGS_OF_MAC`].
const VERSION_WITH_MAC: u8 = 5;
/// `SB_FLAG_HAVE_JOURNAL_MAC` and `SB_FLAG_FIXED_HMAC`: journal and superblock have MACs over a salt, too.
const FLAGS_OF_MAC: u32 = 1 | 16;
/// Where the kernel keeps the salt and the superblock's own MAC, which it checks itself.
const SALT_AND_MAC: [std::ops::Range<usize>; 2] = [48..64, 480..512];
/// `SB_FLAG_FIXED_PADDING`: tag runs are padded to 4 KiB, as every current tool formats.
const FLAG_FIXED_PADDING: u32 = 8;

/// Where the number of data sectors is.
const DATA_SECTORS: std::ops::Range<usize> = 16..24;
/// Where the bitmap granularity is.
const BITMAP: usize = 29;
/// The granularity of every volume below 8 PiB on a disk of 8 PiB: 2^15 sectors for a bit.
const LEAST_BITMAP: u8 = 15 - LOG2_SECTORS_PER_BLOCK;
/// Base-2 logarithm of the sectors of a block.
const LOG2_SECTORS_PER_BLOCK: u8 = 3;

/// The superblock is not the one that belongs to the header's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// No dm-integrity superblock is there.
    #[error(
        "compare the dm-integrity superblock at 16 MiB: it does not begin with `integrt`; the volume needs one"
    )]
    Absent,
    /// A field has another value than the sealed header demands.
    #[error(
        "compare the dm-integrity superblock at 16 MiB: byte {offset} ({field}) is {found:#04x}, the sealed header demands {wanted:#04x}"
    )]
    Differs {
        /// Byte within the superblock.
        offset: usize,
        /// Name of the field at that byte.
        field: &'static str,
        /// What is there.
        found: u8,
        /// What the layout demands.
        wanted: u8,
    },
}

/// The superblock that the kernel writes for `layout`.
#[must_use]
pub fn expected(layout: &Layout) -> [u8; SUPERBLOCK_BYTES] {
    let tag_bytes = u16::try_from(layout.integrity().tag_bytes()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(SUPERBLOCK_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.push(if layout.journal_mac() {
        VERSION_WITH_MAC
    } else {
        VERSION
    });
    bytes.push(LOG2_INTERLEAVE_SECTORS);
    bytes.extend_from_slice(&tag_bytes.to_le_bytes());
    bytes.extend_from_slice(&layout.journal_sections().to_le_bytes());
    bytes.extend_from_slice(&layout.data_sectors().to_le_bytes());
    let mac = if layout.journal_mac() {
        FLAGS_OF_MAC
    } else {
        0
    };
    bytes.extend_from_slice(&(FLAG_FIXED_PADDING | mac).to_le_bytes());
    bytes.push(LOG2_SECTORS_PER_BLOCK);
    bytes.push(log2_blocks_per_bitmap_bit(layout));
    bytes.resize(SUPERBLOCK_BYTES, 0);
    let mut block = [0; SUPERBLOCK_BYTES];
    block.copy_from_slice(&bytes);
    block
}

/// What the kernel notes for bitmap mode, which is never used here: 32768 sectors for each bit, or so many more that
/// the journal's space holds all bits (`dm_integrity_ctr`).
fn log2_blocks_per_bitmap_bit(layout: &Layout) -> u8 {
    let bits = (layout.journal_sectors() * SECTOR_BYTES * 8).min(u64::from(u32::MAX));
    let enough = |log2: &u8| layout.data_sectors().div_ceil(1 << log2) <= bits;
    let log2_sectors = (15..=54).find(enough).unwrap_or(54);
    log2_sectors - LOG2_SECTORS_PER_BLOCK
}

/// Compares a superblock that the kernel has just written with the one `layout` demands.
pub fn check_new(
    found: &[u8; SUPERBLOCK_BYTES],
    layout: &Layout,
    _: u64,
) -> Result<(), SuperblockError> {
    let mut wanted = expected(layout);
    leave_to_the_kernel(found, layout, &mut wanted);
    compare(found, &wanted)
}

/// Takes salt and MAC over from what was found, in a volume that has them.
fn leave_to_the_kernel(
    found: &[u8; SUPERBLOCK_BYTES],
    layout: &Layout,
    wanted: &mut [u8; SUPERBLOCK_BYTES],
) {
    for field in SALT_AND_MAC.into_iter().filter(|_| layout.journal_mac()) {
        if let (Some(found), Some(wanted)) = (found.get(field.clone()), wanted.get_mut(field)) {
            wanted.copy_from_slice(found);
        }
    }
}

/// Compares a superblock read from the disk with the one `layout` demands.
///
/// When the disk has grown the kernel notes the larger number of data sectors that it computes from the disk's size.
/// The volume stays where it was, so a number of at least `least` is no difference: the sealed number of data sectors,
/// which is less than the layout's while the volume grows. The bitmap granularity stays what it was at format, when
/// there were fewer sectors.
pub fn check(
    found: &[u8; SUPERBLOCK_BYTES],
    layout: &Layout,
    least: u64,
) -> Result<(), SuperblockError> {
    let mut wanted = expected(layout);
    let noted = found.get(DATA_SECTORS).unwrap_or_default();
    let sectors = <[u8; 8]>::try_from(noted).map_or(0, u64::from_le_bytes);
    if sectors >= least
        && sectors.is_multiple_of(BLOCK_SECTORS)
        && let Some(field) = wanted.get_mut(DATA_SECTORS)
    {
        field.copy_from_slice(noted);
    }
    if let (Some(found), Some(wanted)) = (found.get(BITMAP), wanted.get_mut(BITMAP))
        && (LEAST_BITMAP..=*wanted).contains(found)
    {
        *wanted = *found;
    }
    leave_to_the_kernel(found, layout, &mut wanted);
    compare(found, &wanted)
}

fn compare(
    found: &[u8; SUPERBLOCK_BYTES],
    wanted: &[u8; SUPERBLOCK_BYTES],
) -> Result<(), SuperblockError> {
    if !found.starts_with(MAGIC) {
        return Err(SuperblockError::Absent);
    }
    let differing = found.iter().zip(wanted).position(|(a, b)| a != b);
    match differing {
        None => Ok(()),
        Some(offset) => Err(SuperblockError::Differs {
            offset,
            field: field_at(offset),
            found: found.get(offset).copied().unwrap_or_default(),
            wanted: wanted.get(offset).copied().unwrap_or_default(),
        }),
    }
}

fn field_at(offset: usize) -> &'static str {
    match offset {
        0..8 => "magic",
        8 => "version",
        9 => "interleave",
        10..12 => "tag size",
        12..16 => "journal sections",
        16..24 => "data sectors",
        24..28 => "flags",
        28 => "sectors per block",
        29 => "bitmap granularity",
        32..40 => "recalculated sector",
        48..64 => "salt",
        _ => "padding",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::geometry::Integrity;

    fn layout() -> Layout {
        Layout::for_disk(Integrity::HmacSha256, 256 << 20).unwrap()
    }

    #[test]
    fn superblock_of_a_256_mib_disk_is_pinned() {
        let head: Vec<String> = expected(&layout())[..32]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            head.concat(),
            "696e746567727400\
             040f20000f000000\
             8061070000000000\
             08000000030c0000"
        );
    }

    #[test]
    fn refuses_every_changed_bit_of_the_superblock() {
        let mut grown = 0;
        for (offset, bit) in (0..SUPERBLOCK_BYTES).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bent = expected(&layout());
            bent[offset] ^= 1 << bit;
            let refused = check_new(&bent, &layout(), 0).unwrap_err();
            if offset < 8 {
                assert_eq!(refused, SuperblockError::Absent);
            } else {
                assert!(
                    matches!(refused, SuperblockError::Differs { offset: at, .. } if at == offset)
                );
            }
            match check(&bent, &layout(), layout().data_sectors()) {
                Err(again) => assert_eq!(again, refused),
                // The note of a disk that has grown.
                Ok(()) => {
                    assert!(DATA_SECTORS.contains(&offset));
                    let more = u64::from_le_bytes(bent[DATA_SECTORS].try_into().unwrap());
                    assert!(more > layout().data_sectors() && more.is_multiple_of(8));
                    grown += 1;
                }
            }
        }
        assert!(grown > 40, "{grown}");
    }

    #[test]
    fn refuses_recalculating_superblock_by_name() {
        let mut bent = expected(&layout());
        bent[24] |= 2;
        let refused = check(&bent, &layout(), layout().data_sectors());
        assert!(matches!(
            refused,
            Err(SuperblockError::Differs { field: "flags", .. })
        ));
    }
}
