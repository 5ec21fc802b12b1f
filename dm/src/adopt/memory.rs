//! A foreign header and its keyslots in memory, read once and written in an order that keeps them usable.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::error::AdoptError;
use super::{ForeignHeader, parse};
use crate::disk::{Disk, IO_UNIT};
use crate::header::{HEADER_COPY_BYTES, REGION_BYTES};

/// A foreign header that was taken, with its keyslots, as they were on the disk when they were read, once.
#[derive(Debug, Clone)]
pub struct Foreign {
    header: ForeignHeader,
    /// Header and keyslot region, from the disk's begin.
    area: Vec<u8>,
    disk_bytes: u64,
}

impl Foreign {
    /// Reads and judges the header of a disk, then reads its keyslots.
    pub fn read(disk: &dyn Disk) -> Result<Self, AdoptError> {
        let failed = |source| AdoptError::Disk {
            doing: "read the LUKS2 header",
            source,
        };
        let mut area = vec![0; REGION_BYTES];
        disk.read_at(0, &mut area).map_err(failed)?;
        let header = parse(&area, disk.bytes())?;
        let bytes = usize::try_from(header.area_bytes())
            .map_err(|e| failed(io::Error::new(io::ErrorKind::OutOfMemory, e)))?;
        area.resize(bytes, 0);
        if let Some(keyslots) = area.get_mut(REGION_BYTES..) {
            disk.read_at(REGION_BYTES as u64, keyslots)
                .map_err(failed)?;
        }
        Ok(Self {
            header,
            area,
            disk_bytes: disk.bytes(),
        })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &ForeignHeader {
        &self.header
    }

    /// Bytes of the disk that it was read from.
    #[must_use]
    pub const fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Header and keyslots as bytes, from the disk's begin.
    #[must_use]
    pub fn area(&self) -> &[u8] {
        &self.area
    }

    /// A file in memory with header and keyslots, for libcryptsetup or cryptsetup to work on.
    pub fn in_memory(&self) -> io::Result<File> {
        let file = File::from(memfd_create(c"dawnkey-luks2", MFdFlags::MFD_CLOEXEC)?);
        file.write_all_at(&self.area, 0)?;
        Ok(file)
    }

    /// Judges what was made of [`Foreign::in_memory`].
    #[cfg(feature = "adopt")]
    pub(super) fn changed(&self, memory: &File) -> Result<Self, AdoptError> {
        let mut area = vec![0; self.area.len()];
        memory
            .read_exact_at(&mut area, 0)
            .map_err(|source| AdoptError::Disk {
                doing: "read the LUKS2 header in memory",
                source,
            })?;
        let region = area.get(..REGION_BYTES).unwrap_or_default();
        Ok(Self {
            header: parse(region, self.disk_bytes)?,
            area,
            disk_bytes: self.disk_bytes,
        })
    }

    /// Writes this over `before`, which is what the disk has: keyslots that changed, flush, secondary copy, flush,
    /// primary copy, flush. Whenever this is cut short, cryptsetup finds the old header or the new one with all its
    /// keyslots, provided that only areas of new keyslots differ.
    pub fn write_over(&self, before: &Self, disk: &mut dyn Disk) -> io::Result<()> {
        let pairs = self.area.chunks(IO_UNIT).zip(before.area.chunks(IO_UNIT));
        let keyslots = pairs.enumerate().skip(REGION_BYTES / IO_UNIT);
        for (at, (new, old)) in keyslots {
            if new != old {
                disk.write_at((at * IO_UNIT) as u64, new)?;
            }
        }
        disk.flush()?;
        for at in [HEADER_COPY_BYTES, 0] {
            let copy = self.area.get(at..at + HEADER_COPY_BYTES);
            disk.write_at(at as u64, copy.unwrap_or_default())?;
            disk.flush()?;
        }
        Ok(())
    }
}
