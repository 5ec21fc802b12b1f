//! Disks: the port through which this crate reads and writes, and its implementation over the operating system.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::syscalls;
use crate::tables::DeviceNumber;

/// Every offset and length given to a [`Disk`] is a multiple of this.
pub const IO_UNIT: usize = 4096;

/// One open disk. Reads and writes are complete or errors; nothing is durable before [`Disk::flush`].
pub trait Disk: Send {
    /// How the disk is called in messages.
    fn path(&self) -> &Path;
    /// Size in bytes.
    fn bytes(&self) -> u64;
    /// The kernel's number, if it is a block device.
    fn number(&self) -> Option<DeviceNumber>;
    /// Fills `buffer` from `offset`. A short read is an error of kind `UnexpectedEof`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable, in the device's own cache too.
    fn flush(&mut self) -> io::Result<()>;
}

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// A disk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("open {device}: it does not exist")]
    Absent {
        /// The disk.
        device: PathBuf,
    },
    /// It cannot be written.
    #[error("open {device} for writing: it is read-only")]
    ReadOnly {
        /// The disk.
        device: PathBuf,
    },
    /// It is no block device.
    #[error("open {device}: it is not a block device")]
    NotABlockDevice {
        /// The path.
        device: PathBuf,
    },
    /// Something else.
    #[error("open {device}")]
    Io {
        /// The disk.
        device: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where disks come from.
pub trait Disks {
    /// Every disk of the machine.
    fn list(&self) -> io::Result<Vec<PathBuf>>;
    /// Opens one.
    fn open(&self, device: &Path, access: Access) -> Result<Box<dyn Disk>, OpenError>;
    /// The mapping or filesystem that holds the disk, if the kernel names one.
    fn holder(&self, disk: &dyn Disk) -> Option<String>;
}

/// The block devices that the kernel lists in `/sys/class/block`.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemDisks;

/// Whether there is anything to read from a block device, by its directory in sysfs: drives without a medium have
/// nothing, and whoever reads a suspended mapping waits, perhaps for ever.
fn answers(device: &Path) -> bool {
    let says = |name: &str, value: &str| {
        let text = std::fs::read_to_string(device.join(name));
        text.is_ok_and(|text| text.trim() == value)
    };
    !says("size", "0") && !says("dm/suspended", "1")
}

impl Disks for SystemDisks {
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let mut devices = Vec::new();
        for entry in std::fs::read_dir("/sys/class/block")? {
            let entry = entry?;
            if answers(&entry.path()) {
                // The kernel writes `!` for the `/` in the names of a few drivers.
                let name = entry.file_name().to_string_lossy().replace('!', "/");
                devices.push(Path::new("/dev").join(name));
            }
        }
        devices.sort();
        Ok(devices)
    }

    fn open(&self, device: &Path, access: Access) -> Result<Box<dyn Disk>, OpenError> {
        let disk = OsDisk::open(device, access)?;
        if disk.number.is_none() {
            let device = device.to_owned();
            return Err(OpenError::NotABlockDevice { device });
        }
        Ok(Box::new(disk))
    }

    fn holder(&self, disk: &dyn Disk) -> Option<String> {
        let number = disk.number()?;
        let holders = std::fs::read_dir(format!("/sys/dev/block/{number}/holders")).ok()?;
        let first = holders.flatten().next()?;
        Some(first.file_name().to_string_lossy().into_owned())
    }
}

/// A block device, read and written around the page cache, or a plain file.
///
/// Around the page cache, because dm-integrity and other mappings write to the same disk behind it.
pub struct OsDisk {
    file: File,
    path: PathBuf,
    bytes: u64,
    number: Option<DeviceNumber>,
}

impl fmt::Debug for OsDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsDisk")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl OsDisk {
    /// Opens a block device or a plain file.
    pub fn open(device: &Path, access: Access) -> Result<Self, OpenError> {
        Self::open_with(device, access, 0)
    }

    /// Opens a disk for writing that nobody in the kernel has claimed: no mapping, no mount.
    pub(crate) fn open_exclusive(device: &Path) -> Result<Self, OpenError> {
        Self::open_with(device, Access::Write, libc::O_EXCL)
    }

    fn open_with(device: &Path, access: Access, flags: i32) -> Result<Self, OpenError> {
        let failed = |source: io::Error| open_error(device, access, source);
        let metadata = std::fs::metadata(device).map_err(failed)?;
        let block = metadata.file_type().is_block_device();
        if !block && !metadata.is_file() {
            let device = device.to_owned();
            return Err(OpenError::NotABlockDevice { device });
        }
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        if block {
            options.custom_flags(libc::O_DIRECT | flags);
        }
        let file = options.open(device).map_err(failed)?;
        // The name may lead elsewhere by now: everything below is about the file that was opened.
        let metadata = file.metadata().map_err(failed)?;
        if metadata.file_type().is_block_device() != block {
            let device = device.to_owned();
            return Err(OpenError::NotABlockDevice { device });
        }
        let (bytes, number) = if block {
            let read_only = syscalls::block_device_is_read_only(&file).map_err(failed)?;
            if access == Access::Write && read_only {
                let device = device.to_owned();
                return Err(OpenError::ReadOnly { device });
            }
            let bytes = syscalls::block_device_bytes(&file).map_err(failed)?;
            (bytes, Some(device_number(metadata.rdev())))
        } else {
            (metadata.len(), None)
        };
        Ok(Self {
            file,
            path: device.to_owned(),
            bytes,
            number,
        })
    }
}

fn device_number(rdev: u64) -> DeviceNumber {
    let field = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    DeviceNumber {
        major: field(nix::sys::stat::major(rdev)),
        minor: field(nix::sys::stat::minor(rdev)),
    }
}

fn open_error(device: &Path, access: Access, source: io::Error) -> OpenError {
    let device = device.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => OpenError::Absent { device },
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            if access == Access::Write =>
        {
            OpenError::ReadOnly { device }
        }
        // ENXIO: a device node without a device.
        _ if source.raw_os_error() == Some(libc::ENXIO) => OpenError::Absent { device },
        _ => OpenError::Io { device, source },
    }
}

impl OsDisk {
    /// Locks the disk against others who do the same, until it is dropped. `false` if somebody has it locked.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(std::fs::TryLockError::WouldBlock) => Ok(false),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Reads into a buffer that is aligned already.
    pub(crate) fn read_aligned_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Writes a buffer that is aligned already.
    pub(crate) fn write_aligned_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
}

impl Disk for OsDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn number(&self) -> Option<DeviceNumber> {
        self.number
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut aligned = AlignedBuffer::new(buffer.len());
        self.file.read_exact_at(aligned.bytes_mut(), offset)?;
        buffer.copy_from_slice(aligned.bytes());
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut aligned = AlignedBuffer::new(bytes.len());
        aligned.bytes_mut().copy_from_slice(bytes);
        self.file.write_all_at(aligned.bytes(), offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// A zeroed buffer that begins on an [`IO_UNIT`] boundary, as direct input and output demands.
pub(crate) struct AlignedBuffer {
    storage: Vec<u8>,
    begin: usize,
    length: usize,
}

impl AlignedBuffer {
    pub(crate) fn new(length: usize) -> Self {
        let storage = vec![0; length + IO_UNIT];
        // `align_offset` may in theory give up (`usize::MAX`): then the kernel refuses the transfer, nothing worse.
        let begin = storage.as_ptr().align_offset(IO_UNIT).min(IO_UNIT);
        Self {
            storage,
            begin,
            length,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.storage
            .get(self.begin..self.begin + self.length)
            .unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.storage
            .get_mut(self.begin..self.begin + self.length)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn drives_without_medium_and_suspended_mappings_are_not_listed() {
        let sysfs = tempfile::tempdir().unwrap();
        let device = |name: &str, files: &[(&str, &str)]| {
            let device = sysfs.path().join(name);
            std::fs::create_dir_all(device.join("dm")).unwrap();
            for (file, text) in files {
                std::fs::write(device.join(file), text).unwrap();
            }
            answers(&device)
        };
        assert!(device("vda", &[("size", "131072\n")]));
        assert!(!device("sr0", &[("size", "0\n")]));
        assert!(device("dm-0", &[("size", "8\n"), ("dm/suspended", "0\n")]));
        assert!(!device("dm-1", &[("size", "8\n"), ("dm/suspended", "1\n")]));
    }
}
