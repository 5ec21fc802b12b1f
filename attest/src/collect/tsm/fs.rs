//! The file system below configfs-tsm, behind a small trait: a plain directory does not behave like it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the kernel has it.
pub const ROOT: &str = "/sys/kernel/config/tsm/report";

/// What is done with entries and their attributes.
pub trait TsmFs {
    /// Whether this kernel has configfs-tsm.
    ///
    /// # Errors
    /// Whatever the system says, except that the directory is not there.
    fn has_root(&mut self) -> io::Result<bool>;

    /// Makes an entry.
    ///
    /// # Errors
    /// `ENXIO` without a provider, `EEXIST` if there is one of that name.
    fn make(&mut self, entry: &str) -> io::Result<()>;

    /// Removes an entry.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove(&mut self, entry: &str) -> io::Result<()>;

    /// Reads an attribute, at most `most` bytes and one.
    ///
    /// # Errors
    /// `ENOENT` if entries of this provider have no such attribute; whatever else the provider says.
    fn read(&mut self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>>;

    /// Writes an attribute in one piece and closes it.
    ///
    /// # Errors
    /// Whatever the system says.
    fn write(&mut self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()>;

    /// Waits before another try.
    fn pause(&mut self, time: Duration);
}

/// The kernel's own.
#[derive(Debug, Clone)]
pub struct KernelFs {
    root: PathBuf,
}

impl Default for KernelFs {
    fn default() -> Self {
        Self { root: ROOT.into() }
    }
}

impl KernelFs {
    fn path(&self, entry: &str, attribute: &str) -> PathBuf {
        [&self.root, Path::new(entry), Path::new(attribute)]
            .iter()
            .collect()
    }
}

impl TsmFs for KernelFs {
    fn has_root(&mut self) -> io::Result<bool> {
        self.root.try_exists()
    }

    fn make(&mut self, entry: &str) -> io::Result<()> {
        fs::create_dir(self.root.join(entry))
    }

    fn remove(&mut self, entry: &str) -> io::Result<()> {
        fs::remove_dir(self.root.join(entry))
    }

    fn read(&mut self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(entry, attribute))?
            .take(most as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .open(self.path(entry, attribute))?;
        match file.write(value)? {
            written if written == value.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}
