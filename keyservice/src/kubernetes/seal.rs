//! The plugin's ciphertext: version byte 1 ‖ 12-byte nonce ‖ AES-256-GCM ciphertext and tag.
//!
//! The associated data is the length of the key id in 32 bits, most significant byte first, the key id, and
//! `dawnkey kubernetes kms v1`. Nonces are random: a key may encrypt 2^32 times, and the API server encrypts once per
//! start and rotation.

use super::{KeyId, MAX_BYTES};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use dawnkey_secret::Dek;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const PURPOSE: &[u8] = b"dawnkey kubernetes kms v1";
/// Bytes that a ciphertext has more than its plaintext.
const OVERHEAD: usize = 1 + NONCE_LEN + 16;
/// Longest plaintext, so that the ciphertext keeps the API's limit.
pub(super) const MAX_PLAINTEXT: usize = MAX_BYTES - OVERHEAD;

fn cipher(dek: &Dek) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, dek.expose()).ok()?;
    Some(LessSafeKey::new(key))
}

fn bound_to(id: KeyId) -> Aad<Vec<u8>> {
    let id = id.to_string();
    // A key id has some fifty bytes.
    let length = u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes();
    Aad::from([&length, id.as_bytes(), PURPOSE].concat())
}

/// Encrypts; `None` when there are no random bytes or the plaintext is too long.
pub(super) fn seal(dek: &Dek, id: KeyId, plaintext: &[u8]) -> Option<Vec<u8>> {
    if plaintext.len() > MAX_PLAINTEXT {
        return None;
    }
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    let mut sealed = Zeroizing::new(plaintext.to_vec());
    let nonced = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(dek)?
        .seal_in_place_separate_tag(nonced, bound_to(id), sealed.as_mut_slice())
        .ok()?;
    Some([&[VERSION], &nonce[..], sealed.as_slice(), tag.as_ref()].concat())
}

/// Decrypts what [`seal`] made under the same key and id; `None` for anything else.
pub(super) fn open(dek: &Dek, id: KeyId, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = ciphertext.split_first()?;
    let (nonce, sealed) = rest
        .split_at_checked(NONCE_LEN)
        .filter(|_| *version == VERSION)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let length = cipher(dek)?
        .open_in_place(nonce, bound_to(id), buffer.as_mut_slice())
        .ok()?
        .len();
    buffer.truncate(length);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let dek = |byte| Dek::take(&mut [byte; 32]).unwrap();
        let id = |key, epoch| KeyId {
            key: Uuid::from_u128(key),
            epoch,
        };
        let sealed = seal(&dek(1), id(1, 1), b"secret").unwrap();
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(*open(&dek(1), id(1, 1), &sealed).unwrap(), b"secret");
        assert!(open(&dek(2), id(1, 1), &sealed).is_none());
        assert!(open(&dek(1), id(1, 2), &sealed).is_none());
        assert!(open(&dek(1), id(2, 1), &sealed).is_none());
        for byte in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[byte] ^= 1;
            assert!(open(&dek(1), id(1, 1), &bent).is_none());
            assert!(open(&dek(1), id(1, 1), &sealed[..byte]).is_none());
        }
    }

    #[test]
    fn the_longest_plaintext_fills_the_limit() {
        let (dek, id) = (
            Dek::take(&mut [1; 32]).unwrap(),
            KeyId {
                key: Uuid::max(),
                epoch: u32::MAX,
            },
        );
        let sealed = seal(&dek, id, &[0; MAX_PLAINTEXT]).unwrap();
        assert_eq!(sealed.len(), MAX_BYTES);
        assert!(seal(&dek, id, &[0; MAX_PLAINTEXT + 1]).is_none());
        assert!(id.to_string().len() < MAX_BYTES);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        for bad in [
            "",
            "dawnkey/",
            "dawnkey/x/1",
            "dawnkey/1b4e28ba-2fa1-41d2-883f-0016d3cca427/+1",
            "dawnkey/1B4E28BA-2fa1-41d2-883f-0016d3cca427/1",
        ] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }
}
