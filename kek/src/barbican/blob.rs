//! A DEK wrapped by us under a KEK of Barbican.
//!
//! Version byte 1 ‖ id of the secret, 16 bytes ‖ nonce, 12 bytes ‖ AES-256-GCM ciphertext, 32 bytes, and tag, 16 bytes.
//! Authenticated with it: version byte and id, then [`Aad::bytes`].

use crate::Aad;
use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use dawnkey_secret::Dek;
use uuid::Uuid;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const HEAD: usize = 17;

/// Bytes of a KEK.
pub(super) type Kek = Zeroizing<[u8; 32]>;

/// The secret that a blob says it was wrapped under, which opening it proves. `None` for what is no blob.
pub(super) fn made_by(blob: &[u8]) -> Option<Uuid> {
    let (&version, rest) = blob.split_first()?;
    let right = version == VERSION && blob.len() == HEAD + aead::NONCE_LEN + Dek::LEN + 16;
    let id = rest.first_chunk().filter(|_| right)?;
    Some(Uuid::from_bytes(*id))
}

/// Wraps. `None` when there are no random bytes, or AES-256-GCM refuses.
pub(super) fn seal(kek: &Kek, id: Uuid, dek: &Dek, aad: &Aad) -> Option<Vec<u8>> {
    let head = [&[VERSION], id.as_bytes().as_slice()].concat();
    let mut nonce = [0; aead::NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    let mut sealed = Zeroizing::new(*dek.expose());
    let tag = key(kek)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            bound(&head, aad),
            sealed.as_mut_slice(),
        )
        .ok()?;
    Some([&head, &nonce[..], sealed.as_slice(), tag.as_ref()].concat())
}

/// Unwraps. `None` for what was not sealed with this KEK, for this purpose.
pub(super) fn open(kek: &Kek, blob: &[u8], aad: &Aad) -> Option<Dek> {
    made_by(blob)?;
    let (head, rest) = blob.split_at_checked(HEAD)?;
    let (nonce, sealed) = rest.split_at_checked(aead::NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let opened = key(kek)?
        .open_in_place(nonce, bound(head, aad), &mut buffer)
        .ok()?;
    Dek::take(opened).ok()
}

fn key(kek: &Kek) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, kek.as_slice()).ok()?;
    Some(LessSafeKey::new(key))
}

fn bound(head: &[u8], aad: &Aad) -> aead::Aad<Vec<u8>> {
    aead::Aad::from([head, &aad.bytes()].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn refuses_every_flipped_bit_and_length_and_other_purposes_and_keys() {
        let (kek, other) = (Kek::new([1; 32]), Kek::new([2; 32]));
        let id = Uuid::from_u128(7);
        let dek = Dek::take(&mut [9; 32]).unwrap();
        let aad = Aad::new(Uuid::from_u128(1), 1);
        let blob = seal(&kek, id, &dek, &aad).unwrap();
        assert_eq!(made_by(&blob), Some(id));
        assert_eq!(open(&kek, &blob, &aad), Some(dek));
        assert_eq!(open(&other, &blob, &aad), None);
        assert_eq!(open(&kek, &blob, &Aad::new(aad.volume, 2)), None);
        assert_eq!(open(&kek, &[&blob[..], &[0]].concat(), &aad), None);
        for at in 0..blob.len() {
            assert_eq!(open(&kek, &blob[..at], &aad), None, "{at}");
            for bit in 0..8 {
                let mut changed = blob.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(open(&kek, &changed, &aad), None, "{at}");
            }
        }
    }
}
