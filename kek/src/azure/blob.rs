//! The form of a wrapped DEK: what Azure gave, and the version of the key that it must be given back to.
//!
//! Form byte ‖ digest of the key's URL, 32 bytes ‖ version of the key, 32 hexadecimal digits ‖ rest. Form 1 (Key Vault): the inner key under RSA-OAEP-256 ‖ the DEK
//! sealed under the inner key, 48 bytes. Form 2 (Managed HSM): nonce, 12 bytes ‖ tag, 16 bytes ‖ ciphertext, 32 bytes.

use super::config::is_version;
use crate::envelope;

const VAULT: u8 = 1;
const HSM: u8 = 2;
const VERSION: usize = 32;
/// An RSA key of 2048 to 4096 bits.
const WRAPPED: std::ops::RangeInclusive<usize> = 256..=512;

/// What is in a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parts {
    /// Of a vault.
    Vault {
        /// The inner key, wrapped.
        wrapped: Vec<u8>,
        /// The DEK under the inner key.
        sealed: Vec<u8>,
    },
    /// Of an HSM.
    Hsm {
        nonce: [u8; 12],
        tag: [u8; 16],
        ciphertext: [u8; 32],
    },
}

/// Writes a blob.
pub(super) fn write(key: &[u8; 32], version: &str, parts: &Parts) -> Vec<u8> {
    let version = version.as_bytes();
    match parts {
        Parts::Vault { wrapped, sealed } => {
            [&[VAULT], key.as_slice(), version, wrapped, sealed].concat()
        }
        Parts::Hsm {
            nonce,
            tag,
            ciphertext,
        } => [&[HSM], key.as_slice(), version, nonce, tag, ciphertext].concat(),
    }
}

/// Reads a blob into digest, version and the rest; `None` for anything that [`write`] does not write.
pub(super) fn read(blob: &[u8]) -> Option<([u8; 32], String, Parts)> {
    let (form, rest) = blob.split_first()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (version, rest) = rest.split_at_checked(VERSION)?;
    let version = std::str::from_utf8(version)
        .ok()
        .filter(|v| is_version(v))?;
    let parts = match *form {
        VAULT => {
            let length = rest.len().checked_sub(envelope::SEALED)?;
            let (wrapped, sealed) = rest.split_at_checked(length)?;
            if !WRAPPED.contains(&length) {
                return None;
            }
            Parts::Vault {
                wrapped: wrapped.to_vec(),
                sealed: sealed.to_vec(),
            }
        }
        HSM => {
            let (nonce, rest) = rest.split_first_chunk()?;
            let (tag, rest) = rest.split_first_chunk()?;
            let ciphertext = rest.try_into().ok()?;
            Parts::Hsm {
                nonce: *nonce,
                tag: *tag,
                ciphertext,
            }
        }
        _ => return None,
    };
    Some((*key, version.to_owned(), parts))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const K: &[u8; 32] = &[9; 32];
    const V: &str = "0123456789abcdef0123456789abcdef";

    fn both() -> [Parts; 2] {
        [
            Parts::Vault {
                wrapped: vec![3; 256],
                sealed: vec![4; envelope::SEALED],
            },
            Parts::Hsm {
                nonce: [1; 12],
                tag: [2; 16],
                ciphertext: [3; 32],
            },
        ]
    }

    #[test]
    fn reads_what_it_writes() {
        for parts in both() {
            assert_eq!(read(&write(K, V, &parts)), Some((*K, V.to_owned(), parts)));
        }
    }

    #[test]
    fn refuses_other_forms_lengths_and_versions() {
        for parts in both() {
            let blob = write(K, V, &parts);
            let mut other_form = blob.clone();
            other_form[0] = 3;
            let mut other_version = blob.clone();
            other_version[33] = b'/';
            for bad in [
                &blob[..40],
                &blob[..blob.len() - 300.min(blob.len())],
                &other_form,
                &other_version,
                &[],
            ] {
                assert_eq!(read(bad), None);
            }
        }
        let hsm = write(K, V, &both()[1]);
        assert_eq!(read(&[&hsm[..], &[0]].concat()), None);
    }
}
