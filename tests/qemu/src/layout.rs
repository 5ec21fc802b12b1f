//! Where blocks and tags of a volume with integrity lie on its disk, from docs/volume-format.md alone: tests that
//! damage a disk must not depend on the code they test.

use serde_json::Value;

use crate::disk::Disk;
use crate::error::VmError;

/// Bytes of a block.
pub const BLOCK: u64 = 4096;
/// First byte behind the header: the dm-integrity superblock.
pub const SUPERBLOCK: u64 = 16 << 20;
/// Bytes of both header copies.
pub const HEADER: u64 = 32768;
/// Bytes of one header copy.
pub const COPY: u64 = 16384;

const SECTOR: u64 = 512;
const SUPERBLOCK_SECTORS: u64 = 8;
const SECTION_SECTORS: u64 = 264;

/// The layout that a header states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    tag_bytes: u64,
    journal_sections: u64,
    interleave_sectors: u64,
    /// Bytes of the mapping.
    pub data_bytes: u64,
}

impl Layout {
    /// Reads the primary header copy of a disk.
    ///
    /// # Errors
    /// [`VmError::Report`] when it holds no header with integrity.
    pub fn of(disk: &Disk) -> Result<Self, VmError> {
        let header = header(disk)?;
        let layout = header.pointer("/tokens/0/layout");
        let layout = layout.ok_or_else(|| VmError::Report(format!("no layout: {header}")))?;
        let number = |name: &str| {
            let value = layout.get(name);
            let text = value.and_then(Value::as_str);
            value
                .and_then(Value::as_u64)
                .or_else(|| text.and_then(|text| text.parse().ok()))
                .filter(|number| *number > 0)
                .ok_or_else(|| VmError::Report(format!("layout without {name}: {layout}")))
        };
        Ok(Layout {
            tag_bytes: number("tag_bytes")?,
            journal_sections: number("journal_sections")?,
            interleave_sectors: number("interleave_sectors")?,
            data_bytes: number("data_sectors")? * SECTOR,
        })
    }

    /// First byte of a block's tag.
    #[must_use]
    pub fn tag(&self, block: u64) -> u64 {
        self.area(block) + self.index(block) * self.tag_bytes
    }

    /// First byte of a block's data.
    #[must_use]
    pub fn data(&self, block: u64) -> u64 {
        self.area(block) + self.tags_bytes() + self.index(block) * BLOCK
    }

    /// Bytes of a tag.
    #[must_use]
    pub fn tag_length(&self) -> usize {
        usize::try_from(self.tag_bytes).unwrap_or_default()
    }

    /// First byte of the journal, and the first behind it.
    #[must_use]
    pub fn journal(&self) -> std::ops::Range<u64> {
        let begin = SUPERBLOCK + SUPERBLOCK_SECTORS * SECTOR;
        begin..begin + self.journal_sections * SECTION_SECTORS * SECTOR
    }

    fn blocks_per_area(&self) -> u64 {
        self.interleave_sectors * SECTOR / BLOCK
    }

    fn index(&self, block: u64) -> u64 {
        block % self.blocks_per_area()
    }

    fn tags_bytes(&self) -> u64 {
        (self.blocks_per_area() * self.tag_bytes).next_multiple_of(BLOCK)
    }

    /// First byte of the area that holds a block: its tags, then its data.
    fn area(&self, block: u64) -> u64 {
        let area_bytes = self.tags_bytes() + self.interleave_sectors * SECTOR;
        self.journal().end + block / self.blocks_per_area() * area_bytes
    }
}

/// The JSON of a disk's primary header copy.
///
/// # Errors
/// [`VmError::Report`] when it holds none.
pub fn header(disk: &Disk) -> Result<Value, VmError> {
    let copy = disk.head(usize::try_from(COPY).unwrap_or_default())?;
    let text = copy.get(BLOCK as usize..).unwrap_or_default();
    let end = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    serde_json::from_slice(text.get(..end).unwrap_or_default())
        .map_err(|e| VmError::Report(format!("{} has no header: {e}", disk.path().display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_one_another_without_gaps() {
        let layout = Layout {
            tag_bytes: 32,
            journal_sections: 15,
            interleave_sectors: 32768,
            data_bytes: 483_712 * SECTOR,
        };
        assert_eq!(layout.journal().start, SUPERBLOCK + BLOCK);
        let journal_end = SUPERBLOCK + BLOCK + 15 * 264 * 512;
        assert_eq!(layout.tag(0), journal_end);
        assert_eq!(layout.data(0), journal_end + 4096 * 32);
        assert_eq!(layout.tag(4095) + 32, layout.data(0));
        assert_eq!(layout.tag(4096), layout.data(4095) + BLOCK);
        // The last block of the example in docs/volume-format.md is the last on its disk of 256 MiB.
        let last = layout.data_bytes / BLOCK - 1;
        assert!(layout.data(last) + BLOCK <= 256 << 20);
    }
}
