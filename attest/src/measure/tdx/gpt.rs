//! The partition table as firmware measures it before it loads an image from a disk.
//!
//! Source: EDK2 `DxeTpm2MeasureBootLib`, `EFI_GPT_DATA`: the table's header, the number of entries in use as 64 bits,
//! and those entries.

use super::TdError;
use crate::reader::Reader;

/// Length of the header, bytes.
const HEADER: usize = 92;
/// Bytes at the start of a disk that hold header and entries of every table in use.
pub const DISK_START: usize = 1 << 20;

/// What is digested for a disk, of which at least the first [`DISK_START`] bytes are needed.
pub(super) fn event_data(disk: &[u8]) -> Result<Vec<u8>, TdError> {
    let wrong = |problem| TdError::Disk { problem };
    let block = [512, 4096].into_iter().find(|block| {
        let signature = disk.get(*block..block + 8);
        signature == Some(b"EFI PART")
    });
    let block = block.ok_or_else(|| wrong("no header at the second block"))?;
    let header = disk.get(block..block + HEADER);
    let header = header.ok_or_else(|| wrong("its header is cut"))?;
    let mut fields = Reader::new(header.get(72..).unwrap_or_default());
    let cut = |_| wrong("its header is cut");
    let entries = fields.take("PartitionEntryLBA", 8).map_err(cut)?;
    let entries = u64::from_le_bytes(entries.try_into().unwrap_or_default());
    let count = fields.u32_le("NumberOfPartitionEntries").map_err(cut)?;
    let size = fields.u32_le("SizeOfPartitionEntry").map_err(cut)? as usize;
    if size < 128 || count > 1024 {
        return Err(wrong("its entries have an unusual size or number"));
    }
    let start = usize::try_from(entries).ok();
    let start = start.and_then(|start| start.checked_mul(block));
    let end = start.and_then(|start| start.checked_add(size.checked_mul(count as usize)?));
    let table = start.zip(end).and_then(|(start, end)| disk.get(start..end));
    let table = table.ok_or_else(|| wrong("its entries lie outside what was read"))?;
    let used: Vec<&[u8]> = table
        .chunks_exact(size)
        .filter(|entry| entry.iter().take(16).any(|byte| *byte != 0))
        .collect();
    Ok([header, &(used.len() as u64).to_le_bytes(), &used.concat()].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn disk(block: usize, entry: u32, count: u32) -> Vec<u8> {
        let mut disk = vec![0; 64 * 1024];
        disk[block..block + 8].copy_from_slice(b"EFI PART");
        disk[block + 72..block + 80].copy_from_slice(&2u64.to_le_bytes());
        disk[block + 80..block + 84].copy_from_slice(&count.to_le_bytes());
        disk[block + 84..block + 88].copy_from_slice(&entry.to_le_bytes());
        disk[2 * block] = 1;
        if let Some(third) = disk.get_mut(2 * block + 2 * entry as usize) {
            *third = 3;
        }
        disk
    }

    #[test]
    fn measures_the_header_and_only_entries_in_use() {
        for block in [512, 4096] {
            let disk = disk(block, 128, 4);
            let data = event_data(&disk).unwrap();
            assert_eq!(data.len(), HEADER + 8 + 2 * 128);
            assert_eq!(data[..HEADER], disk[block..block + HEADER]);
            assert_eq!(data[HEADER..HEADER + 8], 2u64.to_le_bytes());
            assert_eq!((data[100], data[228]), (1, 3));
        }
    }

    #[test]
    fn refuses_disks_without_a_usable_table() {
        let outside = disk(512, 128, 1000);
        for disk in [
            vec![0; 8192],
            vec![],
            disk(512, 64, 4),
            disk(512, u32::MAX, 4),
            disk(512, 128, 1025),
            outside,
        ] {
            assert!(matches!(event_data(&disk), Err(TdError::Disk { .. })));
        }
    }
}
