//! A DEK as a token wrapped it:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | mechanism: 1 AES-GCM, 2 AES-KW |
//! | 1 | length of the key's `CKA_ID`, 1 to 64 |
//! | … | the key's `CKA_ID` |
//! | 12 + 48 | AES-GCM: initialisation vector, then ciphertext and tag |
//! | 40 + 48 | AES-KW: the wrapped inner key, then the DEK sealed under it ([`crate::envelope`]) |

use super::config::{MAX_ID, Mechanism};
use crate::envelope::SEALED;

const VERSION: u8 = 1;
/// Bytes of an initialisation vector.
pub(super) const IV: usize = 12;
/// Bytes of a 32-byte key under AES-KW (RFC 3394).
pub(super) const KW: usize = 40;

/// A wrapped DEK, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// Of the key that wrapped it.
    pub key_id: Vec<u8>,
    pub mechanism: Mechanism,
    /// Initialisation vector or wrapped inner key.
    pub head: Vec<u8>,
    /// The sealed DEK.
    pub sealed: Vec<u8>,
}

impl Blob {
    /// Puts it together; `None` when a part has a length that it cannot have.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let fits = (1..=MAX_ID).contains(&self.key_id.len())
            && self.head.len() == head(self.mechanism)
            && self.sealed.len() == SEALED;
        let length = u8::try_from(self.key_id.len()).ok().filter(|_| fits)?;
        let mechanism = match self.mechanism {
            Mechanism::AesGcm => 1,
            Mechanism::AesKw => 2,
        };
        let start = [VERSION, mechanism, length];
        Some([&start[..], &self.key_id, &self.head, &self.sealed].concat())
    }

    /// Takes one apart; `None` when it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([version, mechanism, length], rest) = bytes.split_first_chunk()?;
        let mechanism = match (*version, *mechanism) {
            (VERSION, 1) => Mechanism::AesGcm,
            (VERSION, 2) => Mechanism::AesKw,
            _ => return None,
        };
        let (key_id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (head, sealed) = rest.split_at_checked(head(mechanism))?;
        let fits = (1..=MAX_ID).contains(&key_id.len()) && sealed.len() == SEALED;
        fits.then(|| Self {
            key_id: key_id.to_vec(),
            mechanism,
            head: head.to_vec(),
            sealed: sealed.to_vec(),
        })
    }
}

const fn head(mechanism: Mechanism) -> usize {
    match mechanism {
        Mechanism::AesGcm => IV,
        Mechanism::AesKw => KW,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn decodes_what_it_encoded_and_no_other_length() {
        for (mechanism, head) in [(Mechanism::AesGcm, IV), (Mechanism::AesKw, KW)] {
            let blob = Blob {
                key_id: vec![1, 2],
                mechanism,
                head: vec![7; head],
                sealed: vec![8; SEALED],
            };
            let bytes = blob.encode().unwrap();
            assert_eq!(Blob::decode(&bytes).unwrap(), blob);
            for cut in 0..bytes.len() {
                assert_eq!(Blob::decode(&bytes[..cut]), None);
            }
            assert_eq!(Blob::decode(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn refuses_to_encode_what_a_token_must_not_have_given() {
        let blob = |id: usize, head: usize, sealed: usize| Blob {
            key_id: vec![1; id],
            mechanism: Mechanism::AesGcm,
            head: vec![7; head],
            sealed: vec![8; sealed],
        };
        assert!(blob(64, IV, SEALED).encode().is_some());
        for wrong in [
            blob(0, IV, SEALED),
            blob(65, IV, SEALED),
            blob(1, IV + 1, SEALED),
            blob(1, IV, SEALED - 16),
        ] {
            assert_eq!(wrong.encode(), None);
        }
    }
}
