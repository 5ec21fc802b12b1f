//! Writing every block of a mapped device once while formatting, so that every block has a valid tag. What is not
//! mapped yet is written later, by [`crate::behind`].
//!
//! dm-integrity makes no tags by itself: a block that was never written is a read error, and so would be most of what
//! `mke2fs` reads.

use std::path::Path;

use crate::disk::{Access, AlignedBuffer, Disk, OsDisk};
use crate::error::MapError;
use crate::mapper::Progress;
use crate::volumes::disk_error;

/// Bytes in one write: enough that dm-crypt keeps every processor busy.
const CHUNK_BYTES: usize = 8 << 20;

/// Writes zeros over a whole mapped device and flushes it.
pub(crate) fn zeros(device: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), MapError> {
    let mut disk = OsDisk::open(device, Access::Write)?;
    let total = disk.bytes();
    let buffer = AlignedBuffer::new(CHUNK_BYTES);
    let mut done = 0;
    while done < total {
        progress(Progress::Wipe { done, total });
        let left = usize::try_from(total - done).unwrap_or(CHUNK_BYTES);
        let chunk = buffer.bytes().get(..left.min(CHUNK_BYTES));
        let chunk = chunk.unwrap_or_else(|| buffer.bytes());
        disk.write_aligned_at(done, chunk)
            .map_err(disk_error("write every block once", device))?;
        done += chunk.len() as u64;
    }
    disk.flush().map_err(disk_error("flush", device))?;
    progress(Progress::Wipe { done, total });
    Ok(())
}
