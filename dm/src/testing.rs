//! A disk in memory that records what is done to it and fails on demand. Only in this crate's tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::tables::DeviceNumber;

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
    /// Reads return this much at most, then end.
    pub short_reads_at: Option<u64>,
}

impl MemoryDisk {
    pub fn zeros(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            log: Vec::new(),
            fail_after: None,
            short_reads_at: None,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn change(&mut self) -> io::Result<()> {
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
        let at = usize::try_from(offset).unwrap();
        if self
            .short_reads_at
            .is_some_and(|end| offset + buffer.len() as u64 > end)
        {
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
