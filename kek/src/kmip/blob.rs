//! A DEK as a KMIP server encrypted it: version byte 1 ‖ length of the key's identifier ‖ identifier ‖ 12-byte
//! initialisation vector ‖ ciphertext of 32 bytes ‖ 16-byte tag.

use dawnkey_secret::Dek;

const VERSION: u8 = 1;
pub(super) const IV: usize = 12;
pub(super) const TAG: usize = 16;
const MAX_ID: usize = 128;

/// A wrapped DEK, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// Unique identifier of the key that encrypted it.
    pub key_id: String,
    pub iv: [u8; IV],
    pub data: [u8; Dek::LEN],
    pub tag: [u8; TAG],
}

/// Whether a text can be a key's identifier.
pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

impl Blob {
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = u8::try_from(self.key_id.len()).unwrap_or(u8::MAX);
        let id = self.key_id.as_bytes();
        [&[VERSION, length], id, &self.iv, &self.data, &self.tag].concat()
    }

    /// `None` when it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([VERSION, length], rest) = bytes.split_first_chunk::<2>()? else {
            return None;
        };
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (iv, rest) = rest.split_first_chunk()?;
        let (data, rest) = rest.split_first_chunk()?;
        let key_id = std::str::from_utf8(id).ok().filter(|id| is_id(id))?;
        Some(Self {
            key_id: key_id.to_owned(),
            iv: *iv,
            data: *data,
            tag: rest.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn decodes_what_it_encoded_and_no_other_length() {
        let blob = Blob {
            key_id: "17".into(),
            iv: [1; 12],
            data: [2; 32],
            tag: [3; 16],
        };
        let bytes = blob.encode();
        assert_eq!(Blob::decode(&bytes).unwrap(), blob);
        for cut in 0..bytes.len() {
            assert_eq!(Blob::decode(&bytes[..cut]), None);
        }
        assert_eq!(Blob::decode(&[&bytes[..], &[0]].concat()), None);
    }
}
