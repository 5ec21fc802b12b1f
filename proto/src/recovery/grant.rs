//! The grant: one DEK of one volume for one boot, signed by an operator. Its bytes are fixed, so that they are their own
//! canonical encoding and short enough to be typed.

use super::key::SIGNATURE_BYTES;
use super::{BootId, GrantKey, KeyError, KeyId, PublicKey};
use crate::seal::{EXPORT_CIPHERTEXT_BYTES, PUBLIC_KEY_BYTES, Purpose, Sealed};
use uuid::Uuid;

/// What a signature covers begins with these bytes.
const LABEL: &[u8] = b"dawnkey/v1/recovery-grant";
const VERSION: u8 = 1;
const BODY_BYTES: usize =
    1 + 8 + 16 + 16 + 4 + 8 + 32 + 4 + 4 + PUBLIC_KEY_BYTES + EXPORT_CIPHERTEXT_BYTES;
/// Bytes of a grant with its signature.
pub const GRANT_BYTES: usize = BODY_BYTES + SIGNATURE_BYTES;

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names it: a node takes it once.
    pub id: Uuid,
    /// The volume.
    pub volume: Uuid,
    /// Epoch of the DEK, which is the header's.
    pub epoch: u32,
    /// Generation of the header.
    pub generation: u64,
    /// The boot that it is for.
    pub boot: BootId,
    /// Earliest time on the boot's own clock, in seconds since its nonce was drawn.
    pub not_before: u32,
    /// Latest time on the same clock.
    pub not_after: u32,
    /// The DEK, sealed to the boot's key.
    pub sealed: Sealed,
}

/// Bytes are no grant that one of the keys has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Too many or too few bytes.
    #[error("read a grant: {found} bytes instead of {GRANT_BYTES}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A grant without a signature.
    #[error("read a grant: it is not signed")]
    Unsigned,
    /// Another version.
    #[error("read a grant: version {0} instead of {VERSION}")]
    Version(u8),
    /// Signed by a key that is not one of the keys.
    #[error("read a grant: it names key {0}, which is none of this node's recovery keys")]
    UnknownKey(KeyId),
    /// The signature is not one of the key that it names over these bytes.
    #[error("read a grant: its signature does not hold; it was changed, or another key signed it")]
    Signature,
    /// A field has a value that no grant has.
    #[error("read a grant: {0}")]
    Field(&'static str),
}

impl Grant {
    /// What the DEK is sealed for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        Purpose {
            volume: self.volume,
            epoch: self.epoch,
            generation: self.generation,
        }
    }

    /// Its bytes with the signature, [`GRANT_BYTES`].
    ///
    /// # Errors
    /// [`KeyError::Failed`] if the key is of no use or the sealed DEK has another size than one has.
    pub fn sign(&self, key: &GrantKey) -> Result<Vec<u8>, KeyError> {
        let mut bytes = Vec::with_capacity(GRANT_BYTES);
        bytes.push(VERSION);
        bytes.extend(key.public()?.id().0);
        bytes.extend(self.id.as_bytes());
        bytes.extend(self.volume.as_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.boot.0);
        bytes.extend(self.not_before.to_be_bytes());
        bytes.extend(self.not_after.to_be_bytes());
        bytes.extend(&self.sealed.encapsulated_key);
        bytes.extend(&self.sealed.ciphertext);
        if bytes.len() != BODY_BYTES {
            return Err(KeyError::Failed);
        }
        let signature = key.sign(&[LABEL, &bytes].concat());
        bytes.extend(signature);
        Ok(bytes)
    }

    /// Reads a grant that one of `keys` has signed. Returns the key's name with it.
    pub fn verify(bytes: &[u8], keys: &[PublicKey]) -> Result<(Self, KeyId), GrantError> {
        let found = bytes.len();
        if found == BODY_BYTES {
            return Err(GrantError::Unsigned);
        }
        let (body, signature) = bytes
            .split_at_checked(BODY_BYTES)
            .filter(|(_, signature)| signature.len() == SIGNATURE_BYTES)
            .ok_or(GrantError::Length { found })?;
        let mut fields = Fields(body);
        let [version] = fields.take()?;
        if version != VERSION {
            return Err(GrantError::Version(version));
        }
        let named = KeyId(fields.take()?);
        let key = keys.iter().find(|key| key.id() == named);
        let key = key.ok_or(GrantError::UnknownKey(named))?;
        if signature.iter().all(|byte| *byte == 0) {
            return Err(GrantError::Unsigned);
        }
        if !key.has_signed(&[LABEL, body].concat(), signature) {
            return Err(GrantError::Signature);
        }
        Ok((Self::read(&mut fields)?, named))
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, GrantError> {
        let grant = Self {
            id: Uuid::from_bytes(fields.take()?),
            volume: Uuid::from_bytes(fields.take()?),
            epoch: u32::from_be_bytes(fields.take()?),
            generation: u64::from_be_bytes(fields.take()?),
            boot: BootId(fields.take()?),
            not_before: u32::from_be_bytes(fields.take()?),
            not_after: u32::from_be_bytes(fields.take()?),
            sealed: Sealed {
                encapsulated_key: fields.take::<PUBLIC_KEY_BYTES>()?.to_vec(),
                ciphertext: fields.take::<EXPORT_CIPHERTEXT_BYTES>()?.to_vec(),
            },
        };
        if grant.epoch == 0 || grant.generation == 0 {
            return Err(GrantError::Field("epoch and generation start at 1"));
        }
        if grant.not_after < grant.not_before {
            return Err(GrantError::Field("it ends before it begins"));
        }
        Ok(grant)
    }
}

/// The bytes of a body that were not read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], GrantError> {
        let found = self.0.len();
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(GrantError::Length { found })?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn grant() -> Grant {
        Grant {
            id: Uuid::from_u128(1),
            volume: Uuid::from_u128(2),
            epoch: 3,
            generation: 4,
            boot: BootId([5; 32]),
            not_before: 6,
            not_after: 7,
            sealed: Sealed {
                encapsulated_key: vec![8; 32],
                ciphertext: vec![9; 48],
            },
        }
    }

    fn key(byte: u8) -> GrantKey {
        let digits = format!("{byte:02x}").repeat(32);
        GrantKey::parse(&format!("dawnkey-grant-private-1:{digits}")).unwrap()
    }

    #[test]
    fn grant_matches_the_published_vector_and_reads_back() {
        // Computed apart from this code: python3 `cryptography` Ed25519 over the bytes in docs/protocol.md.
        let expected = include_str!("../../tests/vectors/recovery-grant.hex");
        let bytes = grant().sign(&key(0x11)).unwrap();
        assert_eq!(hex::encode(&bytes), expected.trim());
        let public = key(0x11).public().unwrap();
        let read = Grant::verify(&bytes, &[public]).unwrap();
        assert_eq!(read, (grant(), public.id()));
    }

    #[test]
    fn refuses_every_changed_byte_and_every_other_length() {
        let keys = [key(0x11).public().unwrap()];
        let bytes = grant().sign(&key(0x11)).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Grant::verify(&changed, &keys).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            let refused = Grant::verify(&bytes[..length], &keys).unwrap_err();
            let expected = match length {
                BODY_BYTES => GrantError::Unsigned,
                found => GrantError::Length { found },
            };
            assert_eq!(refused, expected);
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        let found = longer.len();
        assert_eq!(
            Grant::verify(&longer, &keys).unwrap_err(),
            GrantError::Length { found }
        );
    }

    #[test]
    fn refuses_other_keys_and_grants_that_say_nonsense() {
        let bytes = grant().sign(&key(0x11)).unwrap();
        let other = key(0x22).public().unwrap();
        assert_eq!(
            Grant::verify(&bytes, &[other]).unwrap_err(),
            GrantError::UnknownKey(key(0x11).public().unwrap().id())
        );
        // The name of a key that counts, the signature of one that does not.
        let mut stolen = grant().sign(&key(0x22)).unwrap();
        stolen[1..9].copy_from_slice(&bytes[1..9]);
        let keys = [key(0x11).public().unwrap()];
        assert_eq!(
            Grant::verify(&stolen, &keys).unwrap_err(),
            GrantError::Signature
        );
        let mut blank = bytes;
        blank[BODY_BYTES..].fill(0);
        assert_eq!(
            Grant::verify(&blank, &keys).unwrap_err(),
            GrantError::Unsigned
        );
        for nonsense in [
            Grant {
                epoch: 0,
                ..grant()
            },
            Grant {
                not_after: 5,
                ..grant()
            },
        ] {
            let bytes = nonsense.sign(&key(0x11)).unwrap();
            let refused = Grant::verify(&bytes, &keys).unwrap_err();
            assert!(matches!(refused, GrantError::Field(_)));
        }
    }
}
