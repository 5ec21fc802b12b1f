//! RTMR 3 of a TD through the kernel's sysfs: reading gives its value, writing 48 bytes extends it.
//!
//! Source: Linux 6.16 `Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest`. Older kernels let user space
//! extend no RTMR.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::error::CollectError;
use super::register::{Register, RuntimeRegister};
use crate::tpm::hash::Hash;

/// The register's file.
pub const RTMR3: &str = "/sys/devices/virtual/misc/tdx_guest/measurements/rtmr3:sha384";
/// Bytes of the register.
const LEN: usize = 48;

/// The register, open for extending.
#[derive(Debug)]
pub(super) struct Rtmr3 {
    path: PathBuf,
}

impl Rtmr3 {
    /// The register at `path`, `None` where the kernel has none.
    pub(super) fn find(path: &Path) -> Result<Option<Self>, CollectError> {
        match path.try_exists() {
            Ok(true) => Ok(Some(Self { path: path.into() })),
            Ok(false) => Ok(None),
            Err(source) => Err(failed("look for", source)),
        }
    }
}

fn failed(doing: &'static str, source: io::Error) -> CollectError {
    CollectError::Register {
        register: Register::Rtmr3,
        doing,
        source,
    }
}

impl RuntimeRegister for Rtmr3 {
    fn which(&self) -> Register {
        Register::Rtmr3
    }

    fn hash(&self) -> Hash {
        Hash::Sha384
    }

    fn read(&mut self) -> Result<Vec<u8>, CollectError> {
        let mut value = Vec::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(LEN as u64 + 1).read_to_end(&mut value));
        match read {
            Ok(LEN) => Ok(value),
            Ok(_) => Err(failed("read", io::ErrorKind::InvalidData.into())),
            Err(source) => Err(failed("read", source)),
        }
    }

    fn banks(&mut self) -> Result<Vec<Hash>, CollectError> {
        Ok(vec![Hash::Sha384])
    }

    fn extend(&mut self, digests: &[(Hash, Vec<u8>)]) -> Result<(), CollectError> {
        let of_bank = digests.iter().find(|(bank, _)| *bank == Hash::Sha384);
        let digest = of_bank.map(|(_, digest)| digest.as_slice());
        let digest = digest.unwrap_or_default();
        let written = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .and_then(|mut file| file.write(digest));
        match written {
            Ok(LEN) => Ok(()),
            Ok(_) => Err(failed("extend", io::ErrorKind::WriteZero.into())),
            Err(source) => Err(failed("extend", source)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kernel_without_the_file_has_no_register() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Rtmr3::find(&dir.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn reads_48_bytes_and_no_other_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rtmr3");
        for (length, sound) in [(47, false), (48, true), (49, false)] {
            std::fs::write(&path, vec![7; length]).unwrap();
            let mut register = Rtmr3::find(&path).unwrap().unwrap();
            assert_eq!(register.read().is_ok(), sound, "{length} bytes");
        }
    }

    #[test]
    fn a_register_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut register = Rtmr3::find(dir.path()).unwrap().unwrap();
        let error = register.extend(&[(Hash::Sha384, vec![0; LEN])]);
        assert!(matches!(
            error,
            Err(CollectError::Register {
                register: Register::Rtmr3,
                doing: "extend",
                ..
            })
        ));
    }
}
