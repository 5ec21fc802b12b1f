//! Destroying a volume: without its header the volume key is gone, whoever has the DEK.

use std::path::Path;

use crate::disk::{Access, Disk, Disks, OsDisk, SystemDisks};
use crate::error::MapError;
use crate::geometry::DATA_OFFSET_BYTES;
use crate::volumes::disk_error;

/// Bytes written or read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes zeros over the first 16 MiB of a disk or disk image, flushes, and reads them back.
///
/// Refused when the disk is mapped, mounted or otherwise claimed in the kernel. What a flash disk keeps in spare blocks
/// is beyond this: that the key service forgets the DEK is what counts.
pub fn header(device: &Path) -> Result<(), MapError> {
    let mut disk = OsDisk::open_exclusive(device)?;
    if let Some(holder) = SystemDisks.holder(&disk) {
        let device = device.to_owned();
        return Err(MapError::InUse { device, holder });
    }
    zero(&mut disk)?;
    drop(disk);
    // Opened anew: nothing of what was written may answer from memory.
    read_back(&OsDisk::open(device, Access::Read)?)
}

fn zero(disk: &mut dyn Disk) -> Result<(), MapError> {
    let path = disk.path().to_owned();
    let zeros = vec![0; CHUNK_BYTES];
    for (offset, length) in chunks(disk) {
        let part = zeros.get(..length).unwrap_or_default();
        disk.write_at(offset, part)
            .map_err(disk_error("destroy the header", &path))?;
    }
    disk.flush()
        .map_err(disk_error("destroy the header: flush", &path))
}

fn read_back(disk: &dyn Disk) -> Result<(), MapError> {
    let mut part = vec![0; CHUNK_BYTES];
    for (offset, length) in chunks(disk) {
        let part = part.get_mut(..length).unwrap_or_default();
        disk.read_at(offset, part)
            .map_err(disk_error("read back the destroyed header", disk.path()))?;
        if let Some(at) = part.iter().position(|byte| *byte != 0) {
            return Err(MapError::NotErased {
                device: disk.path().to_owned(),
                offset: offset + at as u64,
            });
        }
    }
    Ok(())
}

/// The header's area in pieces, or as much of it as the disk has.
fn chunks(disk: &dyn Disk) -> impl Iterator<Item = (u64, usize)> + use<> {
    let end = disk.bytes().min(DATA_OFFSET_BYTES);
    (0..end).step_by(CHUNK_BYTES).map(move |offset| {
        let left = usize::try_from(end - offset).unwrap_or(CHUNK_BYTES);
        (offset, left.min(CHUNK_BYTES))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::disk::OpenError;
    use crate::testing::MemoryDisk;

    #[test]
    fn destroys_the_first_16_mib_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, vec![0xa5; (20 << 20) + 512]).unwrap();
        header(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes[..16 << 20].iter().all(|byte| *byte == 0));
        assert!(bytes[16 << 20..].iter().all(|byte| *byte == 0xa5));
    }

    #[test]
    fn disk_that_shows_the_header_again_is_an_error_with_the_byte() {
        let mut disk = MemoryDisk::zeros(32 << 20);
        zero(&mut disk).unwrap();
        read_back(&disk).unwrap();
        disk.load((3 << 20) + 77, &[1]);
        let refused = read_back(&disk).unwrap_err();
        assert!(matches!(refused, MapError::NotErased { offset, .. } if offset == (3 << 20) + 77));
    }

    #[test]
    fn failed_write_flush_or_read_is_an_error() {
        for failing in [0, 7, 15, 16] {
            let mut disk = MemoryDisk::zeros(32 << 20);
            disk.fail_after = Some(failing);
            assert!(matches!(zero(&mut disk), Err(MapError::Disk { .. })));
        }
        let mut disk = MemoryDisk::zeros(32 << 20);
        disk.broken_at = Some(5 << 20);
        assert!(matches!(read_back(&disk), Err(MapError::Disk { .. })));
        let absent = header(Path::new("/nonexistent/disk")).unwrap_err();
        assert!(matches!(absent, MapError::Open(OpenError::Absent { .. })));
    }
}
