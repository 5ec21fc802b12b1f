//! Binds a wrapped DEK to its purpose where the KMS takes no associated data.
//!
//! The KMS wraps a fresh AES-256 key, made for this one wrapped DEK and used once; the DEK is sealed under that key
//! with AES-256-GCM and [`Aad::bytes`]. Whoever cannot use the KEK knows no such key, so that nobody but the KMS's own
//! users can move a wrapped DEK to another volume or epoch. What it is for stays unknown to the KMS: neither its log
//! nor its policy can speak of it, which is why providers that use this state `aad: false`.

use crate::Aad;
use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use dawnkey_secret::Dek;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a DEK sealed under an inner key: ciphertext and tag.
pub(crate) const SEALED: usize = Dek::LEN + 16;

/// The key that the KMS wraps: of one wrapped DEK, for one use.
pub(crate) struct InnerKey(Zeroizing<[u8; 32]>);

impl InnerKey {
    /// Takes what the KMS unwrapped, and wipes it there; `None` when it is no such key.
    pub(crate) fn take(source: &mut [u8]) -> Option<Self> {
        let key = <[u8; 32]>::try_from(&*source).ok().map(Zeroizing::new);
        source.zeroize();
        key.map(Self)
    }

    /// The bytes in clear, for the KMS.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.as_slice()).ok()?;
        Some(LessSafeKey::new(key))
    }
}

/// Seals a DEK under a new inner key; `None` when there are no random bytes.
pub(crate) fn seal(dek: &Dek, aad: &Aad) -> Option<(InnerKey, Vec<u8>)> {
    let mut key = InnerKey(Zeroizing::new([0; 32]));
    aws_lc_rs::rand::fill(key.0.as_mut_slice()).ok()?;
    let mut sealed = Zeroizing::new(*dek.expose());
    let tag = key
        .cipher()?
        .seal_in_place_separate_tag(nonce(), associated(aad), sealed.as_mut_slice())
        .ok()?;
    let sealed = [sealed.as_slice(), tag.as_ref()].concat();
    Some((key, sealed))
}

/// Opens what [`seal`] sealed for the same purpose; `None` for anything else.
pub(crate) fn open(key: &InnerKey, sealed: &[u8], aad: &Aad) -> Option<Dek> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let opened = key
        .cipher()?
        .open_in_place(nonce(), associated(aad), &mut buffer)
        .ok()?;
    Dek::take(opened).ok()
}

/// All zero: the key seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

fn associated(aad: &Aad) -> aead::Aad<[u8; 20]> {
    aead::Aad::from(aad.bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn opens_for_its_purpose_under_its_key_only() {
        let dek = Dek::take(&mut [7; 32]).unwrap();
        let aad = Aad::new(Uuid::from_u128(1), 1);
        let (key, sealed) = seal(&dek, &aad).unwrap();
        assert_eq!(sealed.len(), SEALED);
        assert_eq!(open(&key, &sealed, &aad).unwrap(), dek);
        assert!(open(&key, &sealed, &Aad::new(Uuid::from_u128(1), 2)).is_none());
        assert!(open(&key, &sealed, &Aad::new(Uuid::from_u128(2), 1)).is_none());
        assert!(open(&key, &sealed[..47], &aad).is_none());
        let (other, again) = seal(&dek, &aad).unwrap();
        assert_ne!(key.expose(), other.expose());
        assert!(open(&key, &again, &aad).is_none());
    }

    #[test]
    fn taking_an_inner_key_wipes_the_source() {
        let mut bytes = [7; 32];
        assert_eq!(InnerKey::take(&mut bytes).unwrap().expose(), &[7; 32]);
        assert_eq!(bytes, [0; 32]);
        assert!(InnerKey::take(&mut [7; 31]).is_none());
    }
}
