//! The volume key inside the kernel: a `logon` key of the calling thread, there only while a table is loaded.
//!
//! dm-crypt copies the key out of the keyring when the table is loaded. Loading happens on the thread that added the
//! key; afterwards the key is unlinked and the kernel wipes it.

use std::ffi::CString;
use std::io;

use dawnkey_secret::VolumeKey;
use uuid::Uuid;

use crate::syscalls::{self, KeySerial};

/// The key could not be put into the kernel, or not taken out again.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// `add_key` failed.
    #[error("add the volume key to the kernel's keyring as a logon key")]
    Add(#[source] io::Error),
    /// `keyctl unlink` failed: the key stays in this thread's keyring until the thread ends.
    #[error("unlink the volume key from the kernel's keyring")]
    Unlink(#[source] io::Error),
}

/// A key in the keyring. Unlinked by [`LogonKey::unlink`], or on drop when something failed before.
pub(crate) struct LogonKey {
    serial: Option<KeySerial>,
}

/// The description under which dm-crypt finds the key: `dawnkey:<volume id>`.
pub(crate) fn description(volume: Uuid) -> String {
    format!("dawnkey:{}", volume.hyphenated())
}

impl LogonKey {
    /// Adds the key of a volume.
    pub(crate) fn add(volume: Uuid, key: &VolumeKey) -> Result<Self, KeyringError> {
        let description = CString::new(description(volume))
            .map_err(|error| KeyringError::Add(io::Error::other(error)))?;
        let serial =
            syscalls::add_logon_key(&description, key.expose()).map_err(KeyringError::Add)?;
        Ok(Self {
            serial: Some(serial),
        })
    }

    /// Takes the key out again.
    pub(crate) fn unlink(mut self) -> Result<(), KeyringError> {
        match self.serial.take() {
            Some(serial) => syscalls::unlink_key(serial).map_err(KeyringError::Unlink),
            None => Ok(()),
        }
    }
}

impl Drop for LogonKey {
    fn drop(&mut self) {
        if let Some(serial) = self.serial.take() {
            // Only after another error, which is the one to report; the key goes with its thread in any case.
            let _ = syscalls::unlink_key(serial);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn description_names_the_volume() {
        let volume = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
        assert_eq!(
            description(volume),
            "dawnkey:0f0e0d0c-0b0a-4908-8706-050403020100"
        );
    }
}
