//! Disk images of guests.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::{IoContext, VmError};

/// A raw disk image on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk(PathBuf);

impl Disk {
    /// Makes a new disk of zeros, sparse, `bytes` long.
    ///
    /// # Errors
    /// [`VmError::Io`] when the file exists already or cannot be made.
    pub fn blank(path: &Path, bytes: u64) -> Result<Self, VmError> {
        let file = File::create_new(path).doing(|| format!("create disk {}", path.display()))?;
        file.set_len(bytes)
            .doing(|| format!("size disk {}", path.display()))?;
        Ok(Disk(path.to_path_buf()))
    }

    /// A disk that is there already.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Disk(path.to_path_buf())
    }

    /// Copies the disk as it is now: what a host does that clones or keeps an old state.
    ///
    /// # Errors
    /// [`VmError::Tool`] when the copy fails.
    pub fn copy_to(&self, path: &Path) -> Result<Self, VmError> {
        command::run(
            Command::new("cp")
                .arg("--sparse=always")
                .arg(&self.0)
                .arg(path),
        )?;
        Ok(Disk(path.to_path_buf()))
    }

    /// Overwrites bytes at an offset, as a hostile host would.
    ///
    /// # Errors
    /// [`VmError::Io`] when the file cannot be written.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), VmError> {
        let what = || {
            format!(
                "write {} bytes at {offset} of {}",
                bytes.len(),
                self.0.display()
            )
        };
        let mut file = OpenOptions::new().write(true).open(&self.0).doing(what)?;
        file.seek(SeekFrom::Start(offset)).doing(what)?;
        file.write_all(bytes).doing(what)
    }

    /// Reads bytes at an offset.
    ///
    /// # Errors
    /// [`VmError::Io`] when the file is shorter or cannot be read.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, VmError> {
        let what = || format!("read {length} bytes at {offset} of {}", self.0.display());
        let mut bytes = vec![0; length];
        let mut file = File::open(&self.0).doing(what)?;
        file.seek(SeekFrom::Start(offset)).doing(what)?;
        file.read_exact(&mut bytes).doing(what)?;
        Ok(bytes)
    }

    /// Reads the first `length` bytes.
    ///
    /// # Errors
    /// [`VmError::Io`] when the file is shorter or cannot be read.
    pub fn head(&self, length: usize) -> Result<Vec<u8>, VmError> {
        self.read_at(0, length)
    }

    /// SHA-256 of the whole disk, to prove that nothing on it changed.
    ///
    /// # Errors
    /// [`VmError::Tool`] when it cannot be read.
    pub fn digest(&self) -> Result<String, VmError> {
        let line = command::run(Command::new("sha256sum").arg(&self.0))?;
        Ok(line
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned())
    }

    /// Where the image lies.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn digest_sees_one_changed_byte_and_copies_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::blank(&dir.path().join("a"), 1 << 20).unwrap();
        let before = disk.digest().unwrap();
        disk.write_at(4096, b"x").unwrap();
        let copy = disk.copy_to(&dir.path().join("b")).unwrap();
        assert_ne!(disk.digest().unwrap(), before);
        assert_eq!(copy.digest().unwrap(), disk.digest().unwrap());
        assert_eq!(copy.head(4097).unwrap().last(), Some(&b'x'));
    }

    #[test]
    fn never_overwrites_an_existing_image() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        Disk::blank(&path, 16).unwrap();
        assert!(matches!(Disk::blank(&path, 16), Err(VmError::Io { .. })));
    }
}
