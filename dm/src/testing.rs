//! A disk in memory that records what is done to it and fails on demand, and an activation that remembers what is
//! mapped. Only in this crate's tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use dawnkey_secret::VolumeKey;

use crate::disk::{Access, Disk, Disks, OpenError};
use crate::error::MapError;
use crate::geometry::DATA_OFFSET_BYTES;
use crate::mapper::{Filesystem, Progress, Timings};
use crate::superblock::{self, SUPERBLOCK_BYTES};
use crate::tables::{DeviceNumber, MappedName};
use crate::volumes::{Activated, Activation, Plan, check_superblock, disk_error};

/// One change that reached the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Offset and bytes.
    Write(u64, Vec<u8>),
    /// A flush.
    Flush,
}

/// The disk.
pub struct MemoryDisk {
    bytes: Vec<u8>,
    pub log: Vec<Operation>,
    /// Changes that still succeed before one fails with EIO.
    pub fail_after: Option<usize>,
    /// Changes after which the disk is gone, until this is taken back.
    pub gone_after: Option<usize>,
    /// What the disk shows from its begin when a block is read a second time.
    pub second_answer: Option<Vec<u8>>,
    /// How often each block of 4096 bytes was read.
    pub reads: BTreeMap<u64, usize>,
    /// Reads beyond this byte end early.
    pub short_reads_at: Option<u64>,
    /// Reads beyond this byte fail with EIO.
    pub broken_at: Option<u64>,
    /// Opening for writing is refused.
    pub read_only: bool,
    /// Who holds the disk.
    pub holder: Option<&'static str>,
}

impl MemoryDisk {
    pub fn zeros(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            log: Vec::new(),
            fail_after: None,
            gone_after: None,
            second_answer: None,
            reads: BTreeMap::new(),
            short_reads_at: None,
            broken_at: None,
            read_only: false,
            holder: None,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes the disk larger or smaller.
    pub fn resize(&mut self, bytes: usize) {
        self.bytes.resize(bytes, 0);
    }

    /// Sets bytes behind everybody's back.
    pub fn load(&mut self, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).unwrap();
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn gone(&self) -> bool {
        self.gone_after == Some(0)
    }

    /// Counts a read, and answers anew what was read before.
    fn answer_again(&mut self, offset: u64, buffer: &mut [u8]) {
        for (block, part) in (offset / 4096..).zip(buffer.chunks_mut(4096)) {
            let before = self.reads.entry(block).or_default();
            let at = usize::try_from(block * 4096).unwrap();
            if let (1.., Some(other)) = (*before, &self.second_answer)
                && let Some(other) = other.get(at..at + part.len())
            {
                part.copy_from_slice(other);
            }
            *before += 1;
        }
    }

    fn change(&mut self) -> io::Result<()> {
        match &mut self.gone_after {
            Some(0) => return Err(io::Error::from_raw_os_error(libc::ENXIO)),
            Some(left) => *left -= 1,
            None => {}
        }
        match &mut self.fail_after {
            Some(0) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk for MemoryDisk {
    fn path(&self) -> &Path {
        Path::new("/dev/memory")
    }

    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn number(&self) -> Option<DeviceNumber> {
        None
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.gone() {
            return Err(io::Error::from_raw_os_error(libc::ENXIO));
        }
        let at = usize::try_from(offset).unwrap();
        let end = offset + buffer.len() as u64;
        if self.broken_at.is_some_and(|broken| end > broken) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if self.short_reads_at.is_some_and(|short| end > short) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&self.bytes[at..at + buffer.len()]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change()?;
        let at = usize::try_from(offset).unwrap();
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.log.push(Operation::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.change()?;
        self.log.push(Operation::Flush);
        Ok(())
    }
}

/// A machine with one disk that the test keeps hold of.
#[derive(Clone)]
pub struct OneDisk(pub Arc<Mutex<MemoryDisk>>);

impl OneDisk {
    pub fn zeros(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(MemoryDisk::zeros(bytes))))
    }

    pub fn lock(&self) -> MutexGuard<'_, MemoryDisk> {
        self.0.lock().unwrap()
    }
}

impl Disks for OneDisk {
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["/dev/memory".into()])
    }

    fn open(&self, device: &Path, access: Access) -> Result<Box<dyn Disk>, OpenError> {
        let device = device.to_owned();
        match access {
            _ if self.lock().gone() => Err(OpenError::Absent { device }),
            Access::Write if self.lock().read_only => Err(OpenError::ReadOnly { device }),
            _ => Ok(Box::new(self.clone())),
        }
    }

    fn holder(&self, _: &dyn Disk) -> Option<String> {
        self.lock().holder.map(str::to_owned)
    }
}

impl Disk for OneDisk {
    fn path(&self) -> &Path {
        Path::new("/dev/memory")
    }

    fn bytes(&self) -> u64 {
        Disk::bytes(&*self.lock())
    }

    fn number(&self) -> Option<DeviceNumber> {
        None
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.read_at(offset, buffer)?;
        disk.answer_again(offset, buffer);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.lock().write_at(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// What dm-integrity does when it starts on a disk that has grown: it notes how many sectors there are now, durably.
fn note_more_sectors(plan: &Plan<'_>, disk: &mut dyn Disk) -> io::Result<()> {
    let now = plan.layout.grown(disk.bytes()).unwrap_or(plan.layout);
    if plan
        .wiped_before
        .is_none_or(|before| before == now.data_sectors())
    {
        return Ok(());
    }
    disk.write_at(DATA_OFFSET_BYTES, &superblock::expected(&now))?;
    disk.flush()
}

/// Remembers what is mapped, and the key it was mapped with.
#[derive(Debug, Default)]
pub struct Remembered {
    pub mapped: Vec<(String, Vec<u8>)>,
    /// How far the wipe behind the volume has come, in sectors.
    pub wiped_to: u64,
}

impl Activation for Remembered {
    fn refuse_taken(&mut self, _: &MappedName) -> Result<(), MapError> {
        Ok(())
    }

    /// Writes as the kernel does: a superblock over a zeroed one, then blocks, flushed.
    fn prepare(
        &mut self,
        plan: &Plan<'_>,
        disk: &mut dyn Disk,
        _: &VolumeKey,
        _: Option<Filesystem>,
        _: &mut dyn FnMut(Progress),
        _: &mut Timings,
    ) -> Result<(), MapError> {
        let path = disk.path().to_owned();
        let mut write = |offset, bytes: &[u8]| {
            disk.write_at(DATA_OFFSET_BYTES + offset, bytes)?;
            disk.flush()
        };
        write(0, &[0; SUPERBLOCK_BYTES])
            .and_then(|()| write(0, &superblock::expected(&plan.layout)))
            .and_then(|()| write(8192, &[0xa5; 16_384]))
            .map_err(disk_error("prepare", &path))
    }

    fn activate(
        &mut self,
        plan: &Plan<'_>,
        disk: &mut dyn Disk,
        key: &VolumeKey,
        _: &mut Timings,
    ) -> Result<Activated, MapError> {
        check_superblock(disk, plan, superblock::check)?;
        note_more_sectors(plan, disk).map_err(disk_error("start", Path::new("/dev/memory")))?;
        let entry = (plan.name.to_string(), key.expose().to_vec());
        self.mapped.push(entry);
        let found = plan.wiped_before.map_or(0, |end| self.wiped_to.min(end));
        Ok(Activated {
            device: disk.path().to_owned(),
            ready_sectors: found.max(plan.layout.ready_sectors()),
        })
    }

    fn deactivate(&mut self, name: &MappedName) -> Result<(), MapError> {
        self.mapped.retain(|(mapped, _)| mapped != name.as_str());
        Ok(())
    }
}
