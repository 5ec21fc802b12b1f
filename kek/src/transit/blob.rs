//! A wrapped DEK: the ciphertext of the transit engine in a form that has one encoding only, and the key that made it.
//!
//! Version byte 1 ‖ length of the key's path, one byte ‖ path (`mount/key`) ‖ version of the key, 32 bits, most
//! significant byte first ‖ the ciphertext's bytes. The engine itself writes `vault:vN:` and base64, which has several
//! texts for the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const VERSION: u8 = 1;
/// Longest ciphertext of a 32-byte DEK that any engine may give.
const MOST: usize = 1024;
/// Nonce and tag are in every ciphertext.
const LEAST: usize = 28;

/// What a blob says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    /// `mount/key`.
    pub(super) path: String,
    /// Version of the key.
    pub(super) version: u32,
    /// Nonce, ciphertext and tag.
    pub(super) sealed: Vec<u8>,
}

impl Blob {
    /// Reads `vault:vN:BASE64`. `None` for anything else.
    pub(super) fn from_ciphertext(path: &str, text: &str) -> Option<Self> {
        let (version, sealed) = text.strip_prefix("vault:v")?.split_once(':')?;
        let number: u32 = version.parse().ok().filter(|number| *number > 0)?;
        if number.to_string() != version || sealed.len() > 2 * MOST {
            return None;
        }
        let sealed = STANDARD.decode(sealed).ok()?;
        Some(Self {
            path: path.to_owned(),
            version: number,
            sealed: Some(sealed).filter(|sealed| (LEAST..=MOST).contains(&sealed.len()))?,
        })
    }

    /// As the engine wants it back.
    pub(super) fn ciphertext(&self) -> String {
        format!("vault:v{}:{}", self.version, STANDARD.encode(&self.sealed))
    }

    /// As records keep it. `None` for a path of more than 255 bytes.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let length = u8::try_from(self.path.len()).ok()?;
        let version = self.version.to_be_bytes();
        let path = self.path.as_bytes();
        Some([&[VERSION, length], path, &version, &self.sealed].concat())
    }

    /// Reads what [`Blob::encode`] wrote. `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (path, rest) = rest.split_at_checked(length.into())?;
        let (number, sealed) = rest.split_first_chunk()?;
        let number = u32::from_be_bytes(*number);
        let right = version == VERSION && number > 0 && (LEAST..=MOST).contains(&sealed.len());
        right.then_some(())?;
        Some(Self {
            path: String::from_utf8(path.to_vec()).ok()?,
            version: number,
            sealed: sealed.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ciphertext_comes_back_as_it_was() {
        let text = format!("vault:v12:{}", STANDARD.encode([7; 60]));
        let blob = Blob::from_ciphertext("transit/dawnkey", &text).unwrap();
        assert_eq!(blob.version, 12);
        assert_eq!(Blob::decode(&blob.encode().unwrap()), Some(blob.clone()));
        assert_eq!(blob.ciphertext(), text);
    }

    #[test]
    fn refuses_ciphertexts_with_a_second_spelling() {
        let sealed = STANDARD.encode([7; 61]);
        let loose = sealed.trim_end_matches('=').to_owned();
        for wrong in [
            format!("vault:v01:{sealed}"),
            format!("vault:v0:{sealed}"),
            format!("vault:v+1:{sealed}"),
            format!("vault:v4294967296:{sealed}"),
            format!("vault:v1:{sealed}\n"),
            format!("vault:v1:{loose}"),
            format!("vault:v1:{}", STANDARD.encode([7; 27])),
            format!("vault:v1:{}", STANDARD.encode([7; 1025])),
            format!("other:v1:{sealed}"),
            "vault:v1:".to_owned(),
            String::new(),
        ] {
            assert_eq!(Blob::from_ciphertext("transit/k", &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn decoding_is_total_and_has_one_encoding() {
        let blob = Blob {
            path: "transit/k".into(),
            version: 1,
            sealed: vec![7; 60],
        };
        let bytes = blob.encode().unwrap();
        for cut in 0..bytes.len() {
            if let Some(read) = Blob::decode(&bytes[..cut]) {
                assert_eq!(read.encode().unwrap(), bytes[..cut]);
            }
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x81;
            if let Some(read) = Blob::decode(&changed) {
                assert_eq!(read.encode().unwrap(), changed);
            }
        }
    }
}
