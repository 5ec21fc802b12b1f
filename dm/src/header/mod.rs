//! The header of a volume: 32 KiB of exact template, pure bytes in and out.
//!
//! A LUKS2 header as `cryptsetup luksDump` and `blkid` know it, in two copies of 16 KiB, without keyslots. The volume
//! key is inside a token of type `dawnkey`, sealed under the DEK with the whole header as associated data: **a header
//! that is not the one that was written does not yield the volume key**. `docs/volume-format.md` gives every byte.
//!
//! [`parse`] takes bytes that anyone may have written and yields the one header that these bytes are the writing of,
//! or names what is wrong. [`SealedHeader::encode`] is its inverse.

mod binary;
mod copies;
mod detached;
mod error;
mod json;
mod keyslot;
mod seal;
mod shape;
mod suspects;
#[cfg(test)]
mod tests;

use dawnkey_secret::{Dek, VolumeKey};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::geometry::{Integrity, Layout};
use binary::{Binary, COPY_BYTES};
use json::Fields;

pub use binary::COPY_BYTES as HEADER_COPY_BYTES;
pub(crate) use binary::whole as copy_is_whole;
pub use copies::{Condition, Parsed, claimed_volumes, has_luks_magic, parse};
pub use detached::Detached;
pub(crate) use seal::journal_key;

pub use error::{CopyError, CopyName, HeaderError, SealError, Torn};

/// Bytes of the two copies together, from the disk's begin.
pub const REGION_BYTES: usize = 2 * COPY_BYTES;
/// Begin of the associated data; the two copies follow.
const AAD_DOMAIN: &[u8] = b"dawnkey volume header v1";

/// What a header says of itself, for the key service. Nothing in it is authentic before the seal is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderSeen {
    /// Generation.
    pub generation: u64,
    /// Epoch of the DEK that opens the seal.
    pub epoch: u32,
    /// SHA-256 over both copies as they are written.
    pub digest: [u8; 32],
}

/// What a header says that its predecessor did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Generation, higher than before.
    pub generation: u64,
    /// Epoch of the DEK that it is sealed under.
    pub epoch: u32,
    /// Layout: as before, or with more data or ready sectors.
    pub layout: Layout,
}

/// A header with its seal closed: everything that is on the disk, as values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedHeader {
    binary: Binary,
    fields: Fields,
}

impl SealedHeader {
    /// Makes the first header of a volume around a fresh random volume key, which is returned with it.
    pub fn create(
        volume: Uuid,
        epoch: u32,
        generation: u64,
        layout: Layout,
        dek: &Dek,
    ) -> Result<(Self, VolumeKey), SealError> {
        let key = VolumeKey::fill(layout.integrity().volume_key_bytes(), seal::random)?;
        let header = Self::around(volume, epoch, generation, layout, dek, &key)?;
        Ok((header, key))
    }

    /// Makes the first header of a volume around the key that its data has been written with.
    pub fn around(
        volume: Uuid,
        epoch: u32,
        generation: u64,
        layout: Layout,
        dek: &Dek,
        key: &VolumeKey,
    ) -> Result<Self, SealError> {
        let mut salt = [0; json::DIGEST_BYTES];
        seal::random(&mut salt)?;
        let header = Self {
            binary: Binary {
                volume,
                sequence: 1,
            },
            fields: Fields {
                epoch,
                generation,
                layout,
                salt,
                digest: seal::key_digest(key, &salt),
                nonce: [0; json::NONCE_BYTES],
                sealed: Vec::new(),
            },
        };
        header.sealed(dek, key)
    }

    /// What follows this header when nothing but its generation changes.
    #[must_use]
    pub const fn next(&self, generation: u64) -> Next {
        Next {
            generation,
            epoch: self.fields.epoch,
            layout: self.fields.layout,
        }
    }

    /// Makes the header that follows this one: next sequence number, the same key sealed anew under `dek`, which is
    /// the one of the next header's epoch.
    ///
    /// Refuses a step that a reader of both copies would not take for one: see [`parse`].
    pub fn advance(&self, next: Next, dek: &Dek, key: &VolumeKey) -> Result<Self, SealError> {
        let sequence = self.binary.sequence.checked_add(1);
        let mut header = self.clone();
        header.binary.sequence = sequence.ok_or(SealError::Counter)?;
        header.fields.generation = next.generation;
        header.fields.epoch = next.epoch;
        header.fields.layout = next.layout;
        let header = header.sealed(dek, key)?;
        if copies::precedes(self, &header) {
            Ok(header)
        } else {
            Err(SealError::Step)
        }
    }

    /// Opens the seal. Succeeds only for the DEK of this volume and epoch, and a header that was sealed as it is.
    pub fn open(&self, dek: &Dek) -> Result<VolumeKey, SealError> {
        let aad = self.associated_data().ok_or(SealError::Open)?;
        seal::open(dek, &self.fields.nonce, &aad, &self.fields.sealed)
    }

    /// The two copies as they are written.
    #[must_use]
    pub fn encode(&self) -> Box<[u8; REGION_BYTES]> {
        let mut region = Box::new([0; REGION_BYTES]);
        for (which, place) in [CopyName::Primary, CopyName::Secondary]
            .into_iter()
            .zip(region.chunks_exact_mut(COPY_BYTES))
        {
            if let Some(copy) = self.copy(which) {
                place.copy_from_slice(copy.as_slice());
            }
        }
        region
    }

    /// One copy as it is written. `None` is impossible for a header that was parsed or sealed: its text always fits.
    fn copy(&self, which: CopyName) -> Option<Box<[u8; COPY_BYTES]>> {
        let mut copy = self.copy_without_checksum(which)?;
        binary::finish(&mut copy);
        Some(copy)
    }

    fn copy_without_checksum(&self, which: CopyName) -> Option<Box<[u8; COPY_BYTES]>> {
        let json = json::encode(&self.fields)?;
        binary::encode(which, &self.binary, &self.fields.nonce, &json)
    }

    /// Domain, then both copies with zeros for the sealed key and for the checksums.
    fn associated_data(&self) -> Option<Vec<u8>> {
        let mut blank = self.clone();
        let integrity = self.fields.layout.integrity();
        blank.fields.sealed = vec![0; integrity.volume_key_bytes() + json::TAG_OF_SEAL_BYTES];
        let mut aad = AAD_DOMAIN.to_vec();
        for which in [CopyName::Primary, CopyName::Secondary] {
            aad.extend_from_slice(blank.copy_without_checksum(which)?.as_slice());
        }
        Some(aad)
    }

    fn sealed(mut self, dek: &Dek, key: &VolumeKey) -> Result<Self, SealError> {
        let (found, wanted) = (
            key.expose().len(),
            self.fields.layout.integrity().volume_key_bytes(),
        );
        if found != wanted {
            return Err(SealError::KeyLength { found, wanted });
        }
        if self.fields.epoch == 0 || self.fields.generation == 0 {
            return Err(SealError::Counter);
        }
        seal::random(&mut self.fields.nonce)?;
        let aad = self.associated_data().ok_or(SealError::Cipher)?;
        self.fields.sealed = seal::seal(dek, &self.fields.nonce, &aad, key)?;
        Ok(self)
    }

    /// The volume's id.
    #[must_use]
    pub const fn volume(&self) -> Uuid {
        self.binary.volume
    }

    /// Sequence number: one more with every write.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.binary.sequence
    }

    /// Layout, with the kind of integrity.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.fields.layout
    }

    /// How changed blocks are found.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.fields.layout.integrity()
    }

    /// What the header says of itself.
    #[must_use]
    pub fn seen(&self) -> HeaderSeen {
        HeaderSeen {
            generation: self.fields.generation,
            epoch: self.fields.epoch,
            digest: Sha256::digest(self.encode().as_slice()).into(),
        }
    }
}
