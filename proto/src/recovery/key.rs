//! The keys that sign grants: Ed25519, the public halves in measured configurations of nodes.

use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const PUBLIC_TEXT: &str = "dawnkey-grant-1:";
const PRIVATE_TEXT: &str = "dawnkey-grant-private-1:";
/// Bytes of a signature.
pub(super) const SIGNATURE_BYTES: usize = 64;

/// A key that signs grants, or its text, is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is no public key.
    #[error(
        "read a grant key's public half: must be `dawnkey-grant-1:` and 64 hex digits, as `dawnkey recovery-key new` writes it"
    )]
    NotAPublicKey,
    /// The text is no private key.
    #[error(
        "read a grant key: must be `dawnkey-grant-private-1:` and 64 hex digits, as `dawnkey recovery-key new` writes it"
    )]
    NotAPrivateKey,
    /// The random source or the cryptography failed.
    #[error("make a grant key or sign with one: the random source or the cryptography failed")]
    Failed,
}

/// Names a key: the first 8 bytes of the SHA-256 of its public half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The public half, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads the text form; white space around it is no part of it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().strip_prefix(PUBLIC_TEXT);
        let key = digits.and_then(hex32).ok_or(KeyError::NotAPublicKey)?;
        Ok(Self(*key))
    }

    /// The text form, one line.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{PUBLIC_TEXT}{}", *digits(&self.0))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest: [u8; 32] = Sha256::digest(self.0).into();
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        KeyId(id)
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(message, signature).is_ok()
    }
}

/// The private half.
pub struct GrantKey(Ed25519KeyPair);

impl std::fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GrantKey(redacted)")
    }
}

impl GrantKey {
    /// Makes a new pair.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate()
            .map(Self)
            .map_err(|_| KeyError::Failed)
    }

    /// Reads the text form; white space around it is no part of it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().strip_prefix(PRIVATE_TEXT);
        let seed = digits.and_then(hex32).ok_or(KeyError::NotAPrivateKey)?;
        Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map(Self)
            .map_err(|_| KeyError::NotAPrivateKey)
    }

    /// The text form, one line: a secret.
    pub fn text(&self) -> Result<Zeroizing<String>, KeyError> {
        let seed = self.0.seed().map_err(|_| KeyError::Failed)?;
        let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::Failed)?;
        let digits = digits(seed.as_ref());
        let mut text = Zeroizing::new(String::with_capacity(PRIVATE_TEXT.len() + digits.len()));
        text.push_str(PRIVATE_TEXT);
        text.push_str(&digits);
        Ok(text)
    }

    /// The public half.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        let key = self.0.public_key().as_ref().try_into();
        key.map(PublicKey).map_err(|_| KeyError::Failed)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

fn digits(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('?'));
        }
    }
    text
}

fn hex32(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_texts_and_signs_for_its_public_half() {
        let key = GrantKey::generate().unwrap();
        let read = GrantKey::parse(&format!("{}\n", *key.text().unwrap())).unwrap();
        let public = PublicKey::parse(&format!(" {}\n", key.public().unwrap().text())).unwrap();
        assert_eq!(read.public().unwrap(), public);
        let signature = read.sign(b"grant");
        assert_eq!(signature.len(), SIGNATURE_BYTES);
        assert!(public.has_signed(b"grant", &signature));
        assert!(!public.has_signed(b"grand", &signature));
    }

    #[test]
    fn refuses_texts_that_are_no_keys() {
        let key = GrantKey::generate().unwrap();
        let (public, private) = (key.public().unwrap().text(), key.text().unwrap());
        for bad in ["", "x", &private, &public[1..], &public[..public.len() - 1]] {
            assert_eq!(PublicKey::parse(bad).unwrap_err(), KeyError::NotAPublicKey);
        }
        for bad in ["", "x", &public, &private[..private.len() - 1]] {
            assert_eq!(GrantKey::parse(bad).unwrap_err(), KeyError::NotAPrivateKey);
        }
    }
}
