//! The offline recovery recipient: every DEK can be sealed to a public key whose private half is kept where no service
//! is, so that a KMS that is lost does not take the disks with it.
//!
//! The key is a pair of ML-KEM-768 (FIPS 203) and X25519 (RFC 7748), since what is sealed today stays in stores and their
//! backups for years. The shared secret is that of X-Wing: SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ label). HKDF-SHA256 of
//! it (no salt, info `dawnkey recovery v1`) is the AES-256-GCM key of one DEK, used once, with [`Aad::bytes`].
//!
//! | what | bytes |
//! |---|---|
//! | public key | ML-KEM-768 encapsulation key (1184) ‖ X25519 (32) |
//! | private key | ML-KEM-768 decapsulation key (2400) ‖ public ML-KEM-768 (1184) ‖ X25519 (32) |
//! | sealed DEK | version 1 ‖ ML-KEM-768 ciphertext (1088) ‖ ephemeral X25519 key (32) ‖ AES-256-GCM (32 + 16) |

use crate::Aad;
use aws_lc_rs::aead::{self, AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest::{self, SHA3_256, SHA256};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use dawnkey_secret::Dek;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const INFO: &[u8] = b"dawnkey recovery v1";
const XWING: &[u8] = br"\.//^\";
const PUBLIC_TEXT: &str = "dawnkey-recovery-1:";
const PRIVATE_TEXT: &str = "dawnkey-recovery-private-1:";
const KEM_PUBLIC: usize = 1184;
const KEM_PRIVATE: usize = 2400;
const KEM_CIPHERTEXT: usize = 1088;
const CURVE: usize = 32;

/// Bytes of a sealed DEK.
pub const SEALED_BYTES: usize = 1 + KEM_CIPHERTEXT + CURVE + Dek::LEN + 16;

/// A recovery key or what was sealed to it is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The text is no public key.
    #[error(
        "read a recovery recipient: must be `dawnkey-recovery-1:` and 2432 hex digits, as `dawnkey kek recovery new` writes it"
    )]
    NotAPublicKey,
    /// The text is no private key.
    #[error(
        "read a recovery key: must be `dawnkey-recovery-private-1:` and hex digits, as `dawnkey kek recovery new` writes it"
    )]
    NotAPrivateKey,
    /// No key pair could be made, or no DEK sealed.
    #[error(
        "make a recovery key pair or seal to one: the random source or the cryptography failed"
    )]
    Failed,
    /// It was sealed to another key, or for another volume or epoch, or was changed.
    #[error(
        "open a DEK with the recovery key: it was sealed to another key, for another volume or epoch, or was changed"
    )]
    NotAuthentic,
}

/// The public half: DEKs are sealed to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    kem: Vec<u8>,
    curve: [u8; CURVE],
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipient({})", self.fingerprint())
    }
}

/// The private half. It is made and used where no key service is.
pub struct RecoveryKey {
    kem: DecapsulationKey,
    kem_public: Vec<u8>,
    curve: PrivateKey,
}

impl std::fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryKey(redacted)")
    }
}

impl Recipient {
    /// Reads the text form; white space around it is no part of it.
    ///
    /// # Errors
    /// [`RecoveryError::NotAPublicKey`].
    pub fn parse(text: &str) -> Result<Self, RecoveryError> {
        const BAD: RecoveryError = RecoveryError::NotAPublicKey;
        let digits = text.trim().strip_prefix(PUBLIC_TEXT).ok_or(BAD)?;
        let bytes = hex::decode(digits).map_err(|_| BAD)?;
        let (kem, curve) = bytes.split_at_checked(KEM_PUBLIC).ok_or(BAD)?;
        let curve = curve.try_into().map_err(|_| BAD)?;
        EncapsulationKey::new(&ML_KEM_768, kem).map_err(|_| BAD)?;
        let kem = kem.to_vec();
        Ok(Self { kem, curve })
    }

    /// The text form, one line.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{PUBLIC_TEXT}{}{}",
            hex::encode(&self.kem),
            hex::encode(self.curve)
        )
    }

    /// Names the key: the first 8 bytes of the SHA-256 of its bytes, in hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let bytes = [self.kem.as_slice(), &self.curve].concat();
        let digest = digest::digest(&SHA256, &bytes);
        hex::encode(digest.as_ref().get(..8).unwrap_or_default())
    }

    /// Seals the DEK of a volume and epoch, [`SEALED_BYTES`].
    ///
    /// # Errors
    /// [`RecoveryError::Failed`].
    pub fn seal(&self, dek: &Dek, aad: &Aad) -> Result<Vec<u8>, RecoveryError> {
        const FAILED: RecoveryError = RecoveryError::Failed;
        let kem = EncapsulationKey::new(&ML_KEM_768, &self.kem).map_err(|_| FAILED)?;
        let (ciphertext, kem_secret) = kem.encapsulate().map_err(|_| FAILED)?;
        let ephemeral = PrivateKey::generate(&X25519).map_err(|_| FAILED)?;
        let sent = ephemeral.compute_public_key().map_err(|_| FAILED)?;
        let key = shared(&ephemeral, &self.curve, FAILED, |curve_secret| {
            combine(
                kem_secret.as_ref(),
                curve_secret,
                sent.as_ref(),
                &self.curve,
            )
        })?;
        let mut sealed = Zeroizing::new(*dek.expose());
        let tag = key
            .seal_in_place_separate_tag(
                nonce(),
                aead::Aad::from(aad.bytes()),
                sealed.as_mut_slice(),
            )
            .map_err(|_| FAILED)?;
        let parts = [
            &[VERSION],
            ciphertext.as_ref(),
            sent.as_ref(),
            sealed.as_slice(),
            tag.as_ref(),
        ];
        Ok(parts.concat())
    }
}

impl RecoveryKey {
    /// Makes a new pair.
    ///
    /// # Errors
    /// [`RecoveryError::Failed`].
    pub fn generate() -> Result<Self, RecoveryError> {
        const FAILED: RecoveryError = RecoveryError::Failed;
        let kem = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| FAILED)?;
        let public = kem.encapsulation_key().map_err(|_| FAILED)?;
        let kem_public = public.key_bytes().map_err(|_| FAILED)?.as_ref().to_vec();
        let curve = PrivateKey::generate(&X25519).map_err(|_| FAILED)?;
        Ok(Self {
            kem,
            kem_public,
            curve,
        })
    }

    /// Reads the text form; white space around it is no part of it.
    ///
    /// # Errors
    /// [`RecoveryError::NotAPrivateKey`].
    pub fn parse(text: &str) -> Result<Self, RecoveryError> {
        const BAD: RecoveryError = RecoveryError::NotAPrivateKey;
        let digits = text.trim().strip_prefix(PRIVATE_TEXT).ok_or(BAD)?;
        let bytes = Zeroizing::new(hex::decode(digits).map_err(|_| BAD)?);
        let (kem, rest) = bytes.split_at_checked(KEM_PRIVATE).ok_or(BAD)?;
        let (kem_public, curve) = rest.split_at_checked(KEM_PUBLIC).ok_or(BAD)?;
        EncapsulationKey::new(&ML_KEM_768, kem_public).map_err(|_| BAD)?;
        Ok(Self {
            kem: DecapsulationKey::new(&ML_KEM_768, kem).map_err(|_| BAD)?,
            kem_public: kem_public.to_vec(),
            curve: PrivateKey::from_private_key(&X25519, curve).map_err(|_| BAD)?,
        })
    }

    /// The text form, one line: a secret.
    ///
    /// # Errors
    /// [`RecoveryError::Failed`].
    pub fn text(&self) -> Result<Zeroizing<String>, RecoveryError> {
        const FAILED: RecoveryError = RecoveryError::Failed;
        let kem = self.kem.key_bytes().map_err(|_| FAILED)?;
        let curve: Curve25519SeedBin<'_> = self.curve.as_be_bytes().map_err(|_| FAILED)?;
        let digits = |bytes: &[u8]| Zeroizing::new(hex::encode(bytes));
        let mut text = Zeroizing::new(String::with_capacity(8 << 10));
        text.push_str(PRIVATE_TEXT);
        for part in [kem.as_ref(), &self.kem_public, curve.as_ref()] {
            text.push_str(&digits(part));
        }
        Ok(text)
    }

    /// The public half.
    ///
    /// # Errors
    /// [`RecoveryError::Failed`].
    pub fn recipient(&self) -> Result<Recipient, RecoveryError> {
        let curve = self
            .curve
            .compute_public_key()
            .map_err(|_| RecoveryError::Failed)?;
        let curve = curve
            .as_ref()
            .try_into()
            .map_err(|_| RecoveryError::Failed)?;
        let kem = self.kem_public.clone();
        Ok(Recipient { kem, curve })
    }

    /// Opens the DEK of a volume and epoch.
    ///
    /// # Errors
    /// [`RecoveryError::NotAuthentic`].
    pub fn open(&self, sealed: &[u8], aad: &Aad) -> Result<Dek, RecoveryError> {
        const BAD: RecoveryError = RecoveryError::NotAuthentic;
        let (version, rest) = sealed.split_first().ok_or(BAD)?;
        let (ciphertext, rest) = rest.split_at_checked(KEM_CIPHERTEXT).ok_or(BAD)?;
        let (sent, sealed) = rest.split_at_checked(CURVE).ok_or(BAD)?;
        if *version != VERSION {
            return Err(BAD);
        }
        let kem_secret = self
            .kem
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(|_| BAD)?;
        let own = self.recipient().map_err(|_| BAD)?;
        let key = shared(&self.curve, sent, BAD, |curve_secret| {
            combine(kem_secret.as_ref(), curve_secret, sent, &own.curve)
        })?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let clear = key
            .open_in_place(nonce(), aead::Aad::from(aad.bytes()), &mut buffer)
            .map_err(|_| BAD)?;
        Dek::take(clear).map_err(|_| BAD)
    }
}

fn shared(
    ours: &PrivateKey,
    theirs: &[u8],
    failed: RecoveryError,
    derive: impl FnOnce(&[u8]) -> Option<LessSafeKey>,
) -> Result<LessSafeKey, RecoveryError> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    agree(ours, theirs, failed, |secret| derive(secret).ok_or(failed))
}

/// The AES key out of both shared secrets.
fn combine(kem: &[u8], curve: &[u8], sent: &[u8], recipient: &[u8]) -> Option<LessSafeKey> {
    let mut context = digest::Context::new(&SHA3_256);
    for part in [kem, curve, sent, recipient, XWING] {
        context.update(part);
    }
    // The digest's own buffer cannot be wiped; the key that is made of it has the same fate inside the AEAD.
    let secret = context.finish();
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret.as_ref())
        .expand(INFO, key.as_mut_slice())
        .ok()?;
    UnboundKey::new(&AES_256_GCM, key.as_slice())
        .ok()
        .map(LessSafeKey::new)
}

/// All zeros: a key seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use uuid::Uuid;

    fn aad() -> Aad {
        Aad::new(Uuid::from_u128(7), 3)
    }

    fn dek() -> Dek {
        Dek::take(&mut [9; 32]).unwrap()
    }

    #[test]
    fn a_sealed_dek_opens_with_the_key_read_back_from_its_text() {
        let key = RecoveryKey::generate().unwrap();
        let recipient =
            Recipient::parse(&format!("{}\n", key.recipient().unwrap().text())).unwrap();
        let sealed = recipient.seal(&dek(), &aad()).unwrap();
        assert_eq!(sealed.len(), SEALED_BYTES);
        let read = RecoveryKey::parse(&key.text().unwrap()).unwrap();
        assert_eq!(read.open(&sealed, &aad()).unwrap(), dek());
        assert_eq!(read.recipient().unwrap(), recipient);
        assert_ne!(recipient.seal(&dek(), &aad()).unwrap(), sealed);
    }

    #[test]
    fn refuses_a_dek_of_another_key_volume_or_epoch_or_with_a_changed_byte() {
        let (key, other) = (
            RecoveryKey::generate().unwrap(),
            RecoveryKey::generate().unwrap(),
        );
        let sealed = key.recipient().unwrap().seal(&dek(), &aad()).unwrap();
        let mut refused = vec![
            other.open(&sealed, &aad()),
            key.open(&sealed, &Aad::new(Uuid::from_u128(8), 3)),
            key.open(&sealed, &Aad::new(Uuid::from_u128(7), 4)),
            key.open(&[], &aad()),
            key.open(&sealed[..SEALED_BYTES - 1], &aad()),
            key.open(&[sealed.as_slice(), &[0]].concat(), &aad()),
        ];
        for at in [0, 1, 500, 1088, 1089, 1100, 1121, 1150, SEALED_BYTES - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            refused.push(key.open(&changed, &aad()));
        }
        for refused in refused {
            assert_eq!(refused.unwrap_err(), RecoveryError::NotAuthentic);
        }
    }

    #[test]
    fn refuses_texts_that_are_no_keys() {
        let key = RecoveryKey::generate().unwrap();
        let (public, private) = (key.recipient().unwrap().text(), key.text().unwrap());
        for bad in ["", "x", &private, &public[1..], &public[..public.len() - 2]] {
            assert_eq!(
                Recipient::parse(bad).unwrap_err(),
                RecoveryError::NotAPublicKey
            );
        }
        for bad in [
            "",
            "x",
            &public,
            &private[1..],
            &private[..private.len() - 2],
        ] {
            assert_eq!(
                RecoveryKey::parse(bad).unwrap_err(),
                RecoveryError::NotAPrivateKey
            );
        }
    }
}
