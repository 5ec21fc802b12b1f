//! The place of a master secret in memory: filled when its provider is opened, or once, later, by an operator.

use crate::{Cause, KekError, Operation};
use dawnkey_secret::MasterSecret;
use hkdf::Hkdf;
use sha2::Sha256;
use std::sync::OnceLock;

const CHECK_INFO: &[u8] = b"dawnkey master secret check v1";

/// What proves that a master secret and its salt are those of before: 32 bytes of HKDF-SHA256 with an info of their own. They
/// tell nothing of the secret, which has at least 128 bits, nor of any key derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MasterCheck(pub [u8; 32]);

impl std::fmt::Display for MasterCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// One master secret with the salt of everything that is derived from it. Filled once, never replaced.
pub struct MasterSlot {
    provider: String,
    salt: [u8; 32],
    secret: OnceLock<MasterSecret>,
}

impl MasterSlot {
    /// The slot of a provider, filled if a secret is given.
    #[must_use]
    pub fn new(provider: &str, salt: [u8; 32], secret: Option<MasterSecret>) -> Self {
        Self {
            provider: provider.to_owned(),
            salt,
            secret: secret.map_or_else(OnceLock::new, OnceLock::from),
        }
    }

    /// Whether the secret is there.
    #[must_use]
    pub fn filled(&self) -> bool {
        self.secret.get().is_some()
    }

    /// The check value of the secret that is there.
    ///
    /// # Errors
    /// [`Cause::Waiting`] while none is.
    pub fn check(&self) -> Result<MasterCheck, KekError> {
        let mut check = [0; 32];
        self.expand(CHECK_INFO, &mut check)?;
        Ok(MasterCheck(check))
    }

    /// The check value that another secret would have here.
    ///
    /// # Errors
    /// [`KekError`] if HKDF refuses, which it has no cause for.
    pub fn check_of(&self, secret: &MasterSecret) -> Result<MasterCheck, KekError> {
        let mut check = [0; 32];
        self.derive(secret, CHECK_INFO, &mut check)?;
        Ok(MasterCheck(check))
    }

    /// Fills the slot. `false` when it was full: what was there stays.
    pub fn fill(&self, secret: MasterSecret) -> bool {
        self.secret.set(secret).is_ok()
    }

    /// Derives a key: HKDF-SHA256, the secret as input keying material, the salt, and this info.
    ///
    /// # Errors
    /// [`Cause::Waiting`] while the slot is empty; [`Cause::Unsupported`] for more than 8160 bytes, HKDF-SHA256's limit.
    pub fn expand(&self, info: &[u8], into: &mut [u8]) -> Result<(), KekError> {
        let secret = self.secret.get().ok_or_else(|| {
            let detail = "`dawnkey master-secret give` hands it over, once to each replica";
            self.error(Cause::Waiting, detail)
        })?;
        self.derive(secret, info, into)
    }

    fn derive(&self, secret: &MasterSecret, info: &[u8], into: &mut [u8]) -> Result<(), KekError> {
        Hkdf::<Sha256>::new(Some(&self.salt), secret.expose())
            .expand(info, into)
            .map_err(|_| self.error(Cause::Unsupported, "HKDF refused"))
    }

    fn error(&self, cause: Cause, detail: &str) -> KekError {
        KekError::new(&self.provider, Operation::Unwrap, cause, detail)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(byte: u8) -> MasterSecret {
        MasterSecret::take(&mut [byte; 32]).unwrap()
    }

    #[test]
    fn an_empty_slot_derives_nothing_and_is_filled_once() {
        let slot = MasterSlot::new("cluster", [3; 32], None);
        let mut key = [0; 32];
        let refused = slot.expand(b"key-x", &mut key).unwrap_err();
        assert_eq!((refused.cause, key), (Cause::Waiting, [0; 32]));
        assert_eq!(slot.check().unwrap_err().cause, Cause::Waiting);
        assert!(slot.fill(secret(1)) && slot.filled());
        assert!(!slot.fill(secret(2)));
        let expected = slot.check_of(&secret(1)).unwrap();
        assert_eq!(slot.check().unwrap(), expected);
    }

    #[test]
    fn a_check_tells_secrets_and_salts_apart_and_is_no_derived_key() {
        let slot = |salt| MasterSlot::new("cluster", [salt; 32], Some(secret(1)));
        let check = slot(3).check().unwrap();
        assert_ne!(check, slot(4).check().unwrap());
        assert_ne!(check, slot(3).check_of(&secret(2)).unwrap());
        let mut key = [0; 32];
        slot(3).expand(b"dawnkey kek wrap v1", &mut key).unwrap();
        assert_ne!(check.0, key);
    }
}
