//! A master secret in a file, wrapped by a provider.
//!
//! Providers wrap keys of 32 bytes, a master secret has 16 to 64: the provider wraps a key of the file's own, under which
//! the secret is sealed with AES-256-GCM. The file's random id takes the place of the volume, so that the provider
//! would not open it as a volume's DEK, nor a volume's DEK as this. The file is JSON; nothing in it is secret.

use crate::{Aad, Cause, KekError, Operation, Provider};
use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use dawnkey_secret::{Dek, MasterSecret};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Longest file that is read.
pub const MAX_FILE: usize = 64 * 1024;
const VERSION: u32 = 1;
const LABEL: &[u8] = b"dawnkey master secret v1";

/// A master secret that only a provider can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedSecret {
    version: u32,
    /// Name of the provider that wrapped it, for people; the configuration says which one unwraps.
    pub provider: String,
    id: Uuid,
    #[serde(with = "hex::serde")]
    blob: Vec<u8>,
    #[serde(with = "hex::serde")]
    sealed: Vec<u8>,
}

impl WrappedSecret {
    /// Wraps a secret.
    ///
    /// # Errors
    /// The provider's.
    pub async fn wrap(provider: &dyn Provider, secret: &MasterSecret) -> Result<Self, KekError> {
        let failed = || {
            error(
                provider,
                Operation::Wrap,
                Cause::Unsupported,
                "no random bytes",
            )
        };
        let key = Dek::fill(|bytes| aws_lc_rs::rand::fill(bytes)).map_err(|_| failed())?;
        let id = Uuid::new_v4();
        let mut sealed = Zeroizing::new(secret.expose().to_vec());
        let tag = cipher(&key)
            .and_then(|cipher| {
                let sealed = sealed.as_mut_slice();
                let aad = associated(id);
                cipher.seal_in_place_separate_tag(nonce(), aad, sealed).ok()
            })
            .ok_or_else(failed)?;
        let wrapped = provider.wrap(&key, &Aad::new(id, 1)).await?;
        Ok(Self {
            version: VERSION,
            provider: provider.name().to_owned(),
            id,
            blob: wrapped.blob,
            sealed: [sealed.as_slice(), tag.as_ref()].concat(),
        })
    }

    /// Opens it again.
    ///
    /// # Errors
    /// The provider's; [`Cause::NotAuthentic`] when the file was changed.
    pub async fn unwrap(&self, provider: &dyn Provider) -> Result<MasterSecret, KekError> {
        let changed = || {
            let detail = "the file with the wrapped master secret was changed";
            error(provider, Operation::Unwrap, Cause::NotAuthentic, detail)
        };
        let key = provider.unwrap(&self.blob, &Aad::new(self.id, 1)).await?;
        let mut buffer = Zeroizing::new(self.sealed.clone());
        let opened = cipher(&key)
            .and_then(|cipher| {
                let opened = cipher.open_in_place(nonce(), associated(self.id), &mut buffer);
                opened.ok()
            })
            .ok_or_else(changed)?;
        MasterSecret::take(opened).map_err(|_| changed())
    }

    /// The file's content.
    #[must_use]
    pub fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        text + "\n"
    }

    /// Reads the file's content; the error says what is wrong.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_FILE {
            return Err(format!("longer than {MAX_FILE} bytes"));
        }
        let read: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match read.version {
            VERSION => Ok(read),
            other => Err(format!("version {other}; this program knows {VERSION}")),
        }
    }
}

fn cipher(key: &Dek) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.expose()).ok()?;
    Some(LessSafeKey::new(key))
}

/// All zero: the key seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

fn associated(id: Uuid) -> aead::Aad<Vec<u8>> {
    aead::Aad::from([LABEL, id.as_bytes()].concat())
}

fn error(provider: &dyn Provider, operation: Operation, cause: Cause, detail: &str) -> KekError {
    KekError::new(provider.name(), operation, cause, detail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::Cluster;

    fn provider(byte: u8) -> Cluster {
        let master = MasterSecret::take(&mut [byte; 32]).unwrap();
        Cluster::new("other", master, [0; 32])
    }

    #[tokio::test]
    async fn opens_what_it_wrapped_for_any_length_of_secret() {
        for length in [16, 32, 64] {
            let secret = MasterSecret::take(&mut vec![9; length]).unwrap();
            let wrapped = WrappedSecret::wrap(&provider(1), &secret).await.unwrap();
            let read = WrappedSecret::parse(&wrapped.text()).unwrap();
            assert_eq!(read, wrapped);
            let opened = read.unwrap(&provider(1)).await.unwrap();
            assert_eq!(opened.expose(), secret.expose());
        }
    }

    #[tokio::test]
    async fn file_holds_no_byte_of_the_secret_and_opens_with_its_provider_only() {
        let secret = MasterSecret::take(&mut [0xa7; 32]).unwrap();
        let wrapped = WrappedSecret::wrap(&provider(1), &secret).await.unwrap();
        assert!(!wrapped.text().contains(&"a7".repeat(4)));
        let refused = wrapped.unwrap(&provider(2)).await.unwrap_err();
        assert_eq!(refused.cause, Cause::NotAuthentic);
    }

    #[tokio::test]
    async fn refuses_a_file_that_was_changed() {
        let secret = MasterSecret::take(&mut [9; 32]).unwrap();
        let wrapped = WrappedSecret::wrap(&provider(1), &secret).await.unwrap();
        let mut other_id = wrapped.clone();
        other_id.id = Uuid::nil();
        let mut other_seal = wrapped.clone();
        other_seal.sealed[0] ^= 1;
        for changed in [other_id, other_seal] {
            let refused = changed.unwrap(&provider(1)).await.unwrap_err();
            assert_eq!(refused.cause, Cause::NotAuthentic);
        }
        let later = wrapped.text().replace("\"version\": 1", "\"version\": 2");
        assert!(
            WrappedSecret::parse(&later)
                .unwrap_err()
                .contains("version 2")
        );
        let more = wrapped.text().replace("\"id\"", "\"more\": 1, \"id\"");
        assert!(WrappedSecret::parse(&more).is_err());
    }
}
