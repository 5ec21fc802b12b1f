//! RSASSA-PSS with AMD's parameters: SHA-384, MGF1 with SHA-384, 48 bytes of salt.
//!
//! Beside checking a signature this module can tell two kinds of failure apart. A PSS block that opens under a
//! key without fitting the message shows that the key's owner signed something else: the certificate was changed
//! after AMD issued it. A block that does not open shows nothing of the kind. [`verify`] decides trust;
//! [`Failure`] only names the reason of a refusal.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use sha2::{Digest, Sha384};

use crate::der::{Reader, single, tag, unsigned};

/// AlgorithmIdentifier as AMD writes it in VCEKs and CRLs: default trailer left out.
pub(super) const ALGORITHM: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30,
];
/// What AMD appends in ARKs, ASKs and early VCEKs: the default trailer, written out.
const TRAILER: &[u8] = &[0xa3, 0x03, 0x02, 0x01, 0x01];
const HASH_LEN: usize = 48;

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The key signed, but not this content.
    ContentChanged,
    /// Nothing shows that the key signed anything.
    NotSignedByKey,
}

/// Whether an AlgorithmIdentifier is PSS with exactly AMD's parameters.
pub(super) fn is_amd_algorithm(identifier: &[u8]) -> bool {
    if identifier == ALGORITHM {
        return true;
    }
    // With the trailer both lengths grow by five.
    let (Some(fixed), Some(with)) = (ALGORITHM.get(2..13), identifier.strip_prefix(&[0x30, 0x46]))
    else {
        return false;
    };
    let Some(parameters) = with
        .strip_prefix(fixed)
        .and_then(|rest| rest.strip_prefix(&[0x30, 0x39]))
    else {
        return false;
    };
    parameters
        .strip_suffix(TRAILER)
        .is_some_and(|common| ALGORITHM.get(15..) == Some(common))
}

/// Checks `signature` over `message` under an RSAPublicKey in DER.
pub(super) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Failure> {
    let held = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key).verify(message, signature);
    held.map_err(|_| match opens(key, signature) {
        Some(true) => Failure::ContentChanged,
        _ => Failure::NotSignedByKey,
    })
}

/// Whether the signature, raised to the public exponent, is a well-formed PSS block (RFC 8017 §9.1.2, steps
/// 4 to 10) of any message. `None` if key or signature are out of range.
fn opens(key: &[u8], signature: &[u8]) -> Option<bool> {
    let mut fields = Reader::new(single(key, tag::SEQUENCE)?.content);
    let modulus = unsigned(&fields.expect(tag::INTEGER)?)?;
    let exponent = unsigned(&fields.expect(tag::INTEGER)?)?;
    if exponent != [1, 0, 1] || !matches!(modulus.len(), 256 | 512 | 1024) {
        return None;
    }
    if modulus.first()? < &0x80
        || modulus.last()? & 1 == 0
        || signature.len() != modulus.len()
        || signature >= modulus
    {
        return None;
    }
    let block = power_65537(&limbs(signature), &limbs(modulus));
    let (masked, rest) = block.split_at_checked(block.len().checked_sub(HASH_LEN + 1)?)?;
    let (hash, trailer) = rest.split_at_checked(HASH_LEN)?;
    let mask = mgf1(hash, masked.len());
    let mut padding: Vec<u8> = masked
        .iter()
        .zip(mask)
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    // The modulus has its top bit set, so one bit of the block is unused.
    *padding.first_mut()? &= 0x7f;
    let (zeros, salted) = padding.split_at_checked(padding.len().checked_sub(HASH_LEN + 1)?)?;
    Some(trailer == [0xbc] && zeros.iter().all(|b| *b == 0) && salted.first() == Some(&1))
}

fn mgf1(seed: &[u8], len: usize) -> Vec<u8> {
    let blocks = (0u32..).flat_map(|counter| {
        let digest = Sha384::new()
            .chain_update(seed)
            .chain_update(counter.to_be_bytes())
            .finalize();
        <[u8; HASH_LEN]>::from(digest)
    });
    blocks.take(len).collect()
}

/// Little-endian 64-bit limbs of a big-endian number whose length is a multiple of eight.
fn limbs(bytes: &[u8]) -> Vec<u64> {
    bytes
        .rchunks_exact(8)
        .map(|chunk| {
            chunk
                .iter()
                .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
        })
        .collect()
}

/// `base^65537 mod modulus`, big-endian, by Montgomery multiplication. Everything here is public, so no care is
/// taken to hide it. `modulus` is odd with its top bit set and a power of two of limbs; `base` is smaller.
fn power_65537(base: &[u64], modulus: &[u64]) -> Vec<u8> {
    let n0 = negative_inverse(modulus.first().copied().unwrap_or(1));
    // R mod n = 2^(64k) - n because the top bit of n is set. Doubled 64 times it is 2^64·R, and each squaring
    // doubles the exponent: for k = 2^i limbs, i squarings give R·R.
    let mut square_of_r: Vec<u64> = vec![0; modulus.len()];
    subtract(&mut square_of_r, modulus);
    for _ in 0..64 {
        let carry = double(&mut square_of_r);
        if carry || !less(&square_of_r, modulus) {
            subtract(&mut square_of_r, modulus);
        }
    }
    for _ in 0..modulus.len().trailing_zeros() {
        square_of_r = montgomery(&square_of_r, &square_of_r, modulus, n0);
    }
    let base = montgomery(base, &square_of_r, modulus, n0);
    let mut power = base.clone();
    for _ in 0..16 {
        power = montgomery(&power, &power, modulus, n0);
    }
    let power = montgomery(&power, &base, modulus, n0);
    let mut one = vec![0; modulus.len()];
    if let Some(lowest) = one.first_mut() {
        *lowest = 1;
    }
    montgomery(&power, &one, modulus, n0)
        .iter()
        .rev()
        .flat_map(|limb| limb.to_be_bytes())
        .collect()
}

/// `a·b·R⁻¹ mod n`, coarsely integrated operand scanning.
fn montgomery(a: &[u64], b: &[u64], n: &[u64], n0: u64) -> Vec<u64> {
    let mut sum = vec![0u64; n.len()];
    let mut high = 0u128;
    for digit in a {
        high += add_product(&mut sum, *digit, b);
        let factor = sum.first().copied().unwrap_or(0).wrapping_mul(n0);
        high += add_product(&mut sum, factor, n);
        sum.rotate_left(1);
        if let Some(last) = sum.last_mut() {
            *last = high as u64;
        }
        high >>= 64;
    }
    if high != 0 || !less(&sum, n) {
        subtract(&mut sum, n);
    }
    sum
}

/// `sum += factor·number`; gives the carry.
fn add_product(sum: &mut [u64], factor: u64, number: &[u64]) -> u128 {
    let mut carry = 0u128;
    for (limb, other) in sum.iter_mut().zip(number) {
        carry += u128::from(*limb) + u128::from(factor) * u128::from(*other);
        *limb = carry as u64;
        carry >>= 64;
    }
    carry
}

/// `-n⁻¹ mod 2^64` of an odd number, by Newton's iteration.
fn negative_inverse(n: u64) -> u64 {
    let inverse = (0..6).fold(1u64, |x, _| {
        x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x)))
    });
    inverse.wrapping_neg()
}

fn less(a: &[u64], b: &[u64]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

fn subtract(a: &mut [u64], b: &[u64]) {
    let mut borrow = false;
    for (limb, other) in a.iter_mut().zip(b) {
        let (difference, first) = limb.overflowing_sub(*other);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        *limb = difference;
        borrow = first || second;
    }
}

fn double(a: &mut [u64]) -> bool {
    let mut carry = false;
    for limb in a {
        let top = *limb >> 63 == 1;
        *limb = (*limb << 1) | u64::from(carry);
        carry = top;
    }
    carry
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair, RSA_PSS_SHA384, RsaKeyPair};

    #[test]
    fn tells_changed_content_from_a_foreign_key() {
        let sign = |key: &RsaKeyPair, message: &[u8]| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(
                &RSA_PSS_SHA384,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .unwrap();
            signature
        };
        let ours = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let theirs = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let signature = sign(&ours, b"message");
        assert_eq!(
            verify(ours.public_key().as_ref(), b"message", &signature),
            Ok(())
        );
        assert_eq!(
            verify(ours.public_key().as_ref(), b"other", &signature),
            Err(Failure::ContentChanged)
        );
        assert_eq!(
            verify(theirs.public_key().as_ref(), b"message", &signature),
            Err(Failure::NotSignedByKey)
        );
        let mut bent = signature;
        bent[100] ^= 1;
        assert_eq!(
            verify(ours.public_key().as_ref(), b"message", &bent),
            Err(Failure::NotSignedByKey)
        );
        assert_eq!(
            verify(ours.public_key().as_ref(), b"message", &[]),
            Err(Failure::NotSignedByKey)
        );
        assert_eq!(
            verify(b"no key", b"message", &bent),
            Err(Failure::NotSignedByKey)
        );
    }

    #[test]
    fn only_amds_parameters_are_taken() {
        assert!(is_amd_algorithm(ALGORITHM));
        let mut long = ALGORITHM.to_vec();
        long.extend_from_slice(TRAILER);
        (long[1], long[14]) = (0x46, 0x39);
        assert!(is_amd_algorithm(&long));
        for identifier in [ALGORITHM, &long] {
            for at in 0..identifier.len() {
                let mut other = identifier.to_vec();
                other[at] ^= 1;
                assert!(!is_amd_algorithm(&other), "byte {at}");
            }
            assert!(!is_amd_algorithm(&identifier[..identifier.len() - 1]));
        }
    }
}
