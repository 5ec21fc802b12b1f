//! The one keyslot of a header for the system's own tools: the volume key, split and encrypted, under random bytes.
//!
//! What is written is what `cryptsetup` writes (LUKS2 on-disk format 1.1, sections 3.2 and 5): the key is spread over
//! 4000 stripes (anti-forensic splitter of LUKS1, SHA-256), which are encrypted by AES-256-XTS in units of 512 bytes,
//! numbered from 0. The keyslot's key is PBKDF2-HMAC-SHA256 of the passphrase.
//!
//! The splitting gives nothing here, as nothing is ever erased from a disk: the format knows no keyslot without it.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use dawnkey_secret::{SlotKey, VolumeKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::SealError;
use super::seal::random;

/// Stripes of the splitter: the only number that cryptsetup takes.
pub(super) const STRIPES: usize = 4000;
/// Iterations of PBKDF2: the least that LUKS2 takes. The passphrase is 32 random bytes, which nobody searches, and a
/// boot should not wait for the cost of guessing them.
pub(super) const ITERATIONS: u32 = 1000;
/// Bytes of the salt of PBKDF2.
pub(super) const SALT_BYTES: usize = 32;
/// Bytes of the keyslot's key: AES-256-XTS.
pub(super) const KEY_BYTES: usize = 64;

/// Bytes of a unit of the encryption.
const UNIT: usize = 512;
/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// Bytes of a block of the splitter's hash.
const DIGEST: usize = 32;

/// The keyslot's area, [`STRIPES`] times as long as the key: a multiple of 512 for every kind of volume.
pub(super) fn seal(
    passphrase: &SlotKey,
    salt: &[u8; SALT_BYTES],
    key: &VolumeKey,
) -> Result<Vec<u8>, SealError> {
    let mut slot_key = Zeroizing::new([0; KEY_BYTES]);
    let iterations = std::num::NonZeroU32::new(ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
    aws_lc_rs::pbkdf2::derive(
        aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        passphrase.expose(),
        slot_key.as_mut(),
    );
    let mut area = split(key.expose())?;
    encrypt(&slot_key, &mut area)?;
    // Encrypted in place: no clear byte is left in it.
    Ok(std::mem::take(&mut *area))
}

/// Spreads a key over [`STRIPES`] stripes of its own length, all of which are needed to have it back.
fn split(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut stripes = Zeroizing::new(vec![0; key.len() * STRIPES]);
    let mut mixed = Zeroizing::new(vec![0; key.len()]);
    let mut places = stripes.chunks_exact_mut(key.len().max(1));
    let last = places.next_back().ok_or(SealError::Cipher)?;
    for stripe in places {
        random(stripe)?;
        xor(&mut mixed, stripe);
        diffuse(&mut mixed);
    }
    last.copy_from_slice(key);
    xor(last, &mixed);
    Ok(stripes)
}

/// Hashes each block of a stripe with its number, the last one as far as it goes.
fn diffuse(stripe: &mut [u8]) {
    for (block, number) in stripe.chunks_mut(DIGEST).zip(0_u32..) {
        let mut hash = Sha256::new();
        hash.update(number.to_be_bytes());
        hash.update(&*block);
        let digest = Zeroizing::new(<[u8; DIGEST]>::from(hash.finalize()));
        for (byte, new) in block.iter_mut().zip(digest.iter()) {
            *byte = *new;
        }
    }
}

/// AES-256-XTS (IEEE 1619) over units of 512 bytes, the tweak being a unit's number in little-endian (`plain64`).
fn encrypt(key: &[u8; KEY_BYTES], area: &mut [u8]) -> Result<(), SealError> {
    let (data, tweaks) = key.split_at(KEY_BYTES / 2);
    let (data, tweaks) = (aes(data)?, aes(tweaks)?);
    for (unit, number) in area.chunks_exact_mut(UNIT).zip(0_u64..) {
        let mut tweak = [0; BLOCK];
        if let Some(low) = tweak.first_chunk_mut() {
            *low = number.to_le_bytes();
        }
        blocks(&tweaks, &mut tweak)?;
        let mut mask = Zeroizing::new([0; UNIT]);
        for place in mask.chunks_exact_mut(BLOCK) {
            place.copy_from_slice(&tweak);
            tweak = doubled(tweak);
        }
        xor(unit, mask.as_slice());
        blocks(&data, unit)?;
        xor(unit, mask.as_slice());
    }
    Ok(())
}

fn aes(key: &[u8]) -> Result<EncryptingKey, SealError> {
    UnboundCipherKey::new(&AES_256, key)
        .and_then(EncryptingKey::ecb)
        .map_err(|_| SealError::Cipher)
}

/// Each block of 16 bytes by itself.
fn blocks(key: &EncryptingKey, bytes: &mut [u8]) -> Result<(), SealError> {
    key.encrypt(bytes).map(drop).map_err(|_| SealError::Cipher)
}

/// Multiplication by the primitive element of GF(2^128), as XTS has it.
fn doubled(tweak: [u8; BLOCK]) -> [u8; BLOCK] {
    let value = u128::from_le_bytes(tweak);
    let carry = if value >> 127 == 1 { 0x87 } else { 0 };
    (value << 1 ^ carry).to_le_bytes()
}

fn xor(bytes: &mut [u8], with: &[u8]) {
    for (byte, other) in bytes.iter_mut().zip(with) {
        *byte ^= other;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn merged(stripes: &[u8], len: usize) -> Vec<u8> {
        let mut mixed = vec![0; len];
        let (last, rest) = {
            let at = stripes.len() - len;
            (&stripes[at..], &stripes[..at])
        };
        for stripe in rest.chunks_exact(len) {
            xor(&mut mixed, stripe);
            diffuse(&mut mixed);
        }
        xor(&mut mixed, last);
        mixed
    }

    #[test]
    fn every_length_of_key_comes_back_from_its_stripes_and_from_no_others() {
        for len in [16, 32, 64, 96] {
            let key: Vec<u8> = (0..len).map(|byte| u8::try_from(byte).unwrap()).collect();
            let mut stripes = split(&key).unwrap();
            assert_eq!(stripes.len() % UNIT, 0);
            assert_eq!(merged(&stripes, len), key);
            stripes[len * 7] ^= 1;
            assert_ne!(merged(&stripes, len), key);
        }
    }

    /// IEEE 1619-2007, annex B, vector 10: AES-256-XTS of the bytes 0 to 255, twice, in unit ff.
    #[test]
    fn encryption_is_that_of_the_standard() {
        let key: [u8; KEY_BYTES] = [
            0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60, 0x28, 0x74, 0x71,
            0x35, 0x26, 0x62, 0x49, 0x77, 0x57, 0x24, 0x70, 0x93, 0x69, 0x99, 0x59, 0x57, 0x49,
            0x66, 0x96, 0x76, 0x27, 0x31, 0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93, 0x23, 0x84,
            0x62, 0x64, 0x33, 0x83, 0x27, 0x95, 0x02, 0x88, 0x41, 0x97, 0x16, 0x93, 0x99, 0x37,
            0x51, 0x05, 0x82, 0x09, 0x74, 0x94, 0x45, 0x92,
        ];
        let mut area: Vec<u8> = vec![0; UNIT * 0xff];
        area.extend((0..UNIT).map(|at| u8::try_from(at % 256).unwrap()));
        encrypt(&key, &mut area).unwrap();
        let unit = &area[UNIT * 0xff..];
        assert_eq!(unit[..8], [0x1c, 0x3b, 0x3a, 0x10, 0x2f, 0x77, 0x03, 0x86]);
    }
}
