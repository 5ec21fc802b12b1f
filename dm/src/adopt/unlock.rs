//! libcryptsetup at work on a header in memory: opening a keyslot, adding one, mapping the volume.
//!
//! It gets the path of a file in memory as the header's device and never the disk's own header. Keyslots are decrypted
//! through the kernel's crypto API for programs (module `algif_skcipher`), or a mapping of its own where that is missing.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use dawnkey_secret::{Dek, VolumeKey};
use libcryptsetup_rs::consts::flags::{CryptActivate, CryptPbkdf, CryptVolumeKey};
use libcryptsetup_rs::consts::vals::{CryptKdf, EncryptionFormat};
use libcryptsetup_rs::{CryptDevice, CryptInit, CryptPbkdfType, Either, LibcryptErr};

use super::error::AdoptError;
use super::memory::Foreign;
use crate::tables::MappedName;

/// PBKDF2 iterations of a keyslot for a DEK: the least that LUKS2 knows, since a DEK has 256 random bits.
const DEK_ITERATIONS: u32 = 1000;

impl Foreign {
    /// The volume key, by the passphrase or DEK of any keyslot.
    pub fn volume_key(&self, passphrase: &[u8]) -> Result<VolumeKey, AdoptError> {
        let memory = self.copy()?;
        let mut device = load(&memory, None)?;
        let bytes = self.header().integrity().volume_key_bytes();
        VolumeKey::fill(bytes, |key| {
            let got = device
                .volume_key_handle()
                .get(None, key, Some(passphrase))
                .map_err(|e| failed("open a keyslot", &e))?;
            if got.1 == bytes {
                Ok(())
            } else {
                Err(AdoptError::WrongKey)
            }
        })
    }

    /// The header with one keyslot more, which `dek` opens. Nothing is written to a disk.
    pub fn with_dek(&self, key: &VolumeKey, dek: &Dek) -> Result<Self, AdoptError> {
        let memory = self.copy()?;
        let mut device = load(&memory, None)?;
        device
            .settings_handle()
            .set_pbkdf_type(&CryptPbkdfType {
                type_: CryptKdf::Pbkdf2,
                hash: Some("sha256".into()),
                time_ms: 0,
                iterations: DEK_ITERATIONS,
                max_memory_kb: 0,
                parallel_threads: 0,
                flags: CryptPbkdf::NO_BENCHMARK,
            })
            .map_err(|e| failed("choose the key derivation", &e))?;
        device
            .keyslot_handle()
            .add_by_key(
                None,
                Some(Either::Left(key.expose())),
                dek.expose(),
                CryptVolumeKey::empty(),
            )
            .map_err(|e| failed("add a keyslot", &e))?;
        drop(device);
        self.changed(&memory)
    }

    /// Maps the volume of `disk` as `/dev/mapper/NAME`, with the header in memory. The kernel gets the volume key as a
    /// `logon` key.
    pub fn activate(
        &self,
        disk: &Path,
        name: &MappedName,
        dek: &Dek,
    ) -> Result<PathBuf, AdoptError> {
        let memory = self.copy()?;
        let mut device = load(&memory, Some(disk))?;
        device
            .activate_handle()
            .activate_by_passphrase(
                Some(name.as_str()),
                None,
                dek.expose(),
                CryptActivate::empty(),
            )
            .map_err(|e| failed("map the volume", &e))?;
        Ok(Path::new("/dev/mapper").join(name.as_str()))
    }

    fn copy(&self) -> Result<File, AdoptError> {
        self.in_memory().map_err(|source| AdoptError::Disk {
            doing: "copy the LUKS2 header into memory",
            source,
        })
    }
}

/// A context over the header in memory.
fn load(memory: &File, data: Option<&Path>) -> Result<CryptDevice, AdoptError> {
    let header = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let devices = match data {
        None => Either::Left(header.as_path()),
        Some(data) => Either::Right((header.as_path(), data)),
    };
    let mut device = CryptInit::init_with_data_device(devices)
        .map_err(|e| failed("begin to work on the header", &e))?;
    device
        .context_handle()
        .load::<()>(Some(EncryptionFormat::Luks2), None)
        .map_err(|e| failed("read the header", &e))?;
    Ok(device)
}

/// The library tells a wrong key by `EPERM`, and a header without a free keyslot by `ENOSPC` or `EINVAL` of the slot.
fn failed(doing: &'static str, error: &LibcryptErr) -> AdoptError {
    let LibcryptErr::IOError(io) = error else {
        return AdoptError::Library {
            doing,
            detail: error.to_string(),
        };
    };
    match io.raw_os_error() {
        Some(libc::EPERM) => AdoptError::WrongKey,
        Some(libc::ENOSPC) => AdoptError::NoFreeKeyslot,
        _ => AdoptError::Library {
            doing,
            detail: io.to_string(),
        },
    }
}
