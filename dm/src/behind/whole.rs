//! The encrypting layer of a volume that is not ready, block by block.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::run::{CHUNK_BYTES, Medium};
use crate::disk::{Access, AlignedBuffer, Disk, OsDisk};
use crate::error::MapError;
use crate::steps::Blocks;
use crate::tables::DeviceNumber;
use crate::volumes::disk_error;

/// The device, and a chunk of memory.
pub(crate) struct Whole {
    disk: OsDisk,
    buffer: AlignedBuffer,
}

impl Whole {
    /// Opens the layer to look at it.
    pub(crate) fn read(number: DeviceNumber) -> Result<Self, MapError> {
        Self::open(number, Access::Read)
    }

    /// Opens the layer to wipe it. Refused while somebody else has it opened so.
    pub(crate) fn write(number: DeviceNumber) -> Result<Self, MapError> {
        let whole = Self::open(number, Access::Write)?;
        let path = whole.disk.path();
        let locked = whole.disk.try_lock().map_err(disk_error("lock", path))?;
        if locked {
            Ok(whole)
        } else {
            Err(MapError::InUse {
                device: path.to_owned(),
                holder: "another wipe".to_owned(),
            })
        }
    }

    fn open(number: DeviceNumber, access: Access) -> Result<Self, MapError> {
        let path = PathBuf::from(format!("/dev/dm-{}", number.minor));
        let disk = OsDisk::open(&path, access)?;
        if disk.number() != Some(number) {
            return Err(MapError::Node {
                node: path,
                source: io::Error::other(format!("it is not the block device {number}")),
            });
        }
        Ok(Self::over(disk))
    }

    /// Over any disk.
    pub(crate) fn over(disk: OsDisk) -> Self {
        let buffer = AlignedBuffer::new(usize::try_from(CHUNK_BYTES).unwrap_or(0));
        Self { disk, buffer }
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }
}

/// The bytes in pieces of at most a chunk.
fn chunks(bytes: Range<u64>) -> impl Iterator<Item = (u64, usize)> {
    let step = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
    bytes.clone().step_by(step).map(move |begin| {
        let length = (bytes.end - begin).min(CHUNK_BYTES);
        (begin, usize::try_from(length).unwrap_or(0))
    })
}

impl Blocks for Whole {
    fn authentic(&mut self, bytes: Range<u64>) -> Result<bool, MapError> {
        for (begin, length) in chunks(bytes) {
            let buffer = self.buffer.bytes_mut().get_mut(..length);
            match self.disk.read_aligned_at(begin, buffer.unwrap_or_default()) {
                Ok(()) => {}
                // What dm-crypt answers for a block whose tag is wrong. Anything else is the disk's failure.
                Err(error) if error.raw_os_error() == Some(libc::EILSEQ) => return Ok(false),
                Err(error) => {
                    return Err(disk_error("look for the end of the wipe", self.path())(
                        error,
                    ));
                }
            }
        }
        Ok(true)
    }
}

impl Medium for Whole {
    fn zero(&mut self, bytes: Range<u64>) -> Result<(), MapError> {
        self.buffer.bytes_mut().fill(0);
        for (begin, length) in chunks(bytes) {
            let zeros = self.buffer.bytes().get(..length).unwrap_or_default();
            let written = self.disk.write_aligned_at(begin, zeros);
            written.map_err(disk_error(
                "write a block for the first time",
                self.disk.path(),
            ))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MapError> {
        self.disk
            .flush()
            .map_err(disk_error("flush", self.disk.path()))
    }
}
