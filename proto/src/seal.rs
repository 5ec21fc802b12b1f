//! Sealing a DEK to a node: HPKE (RFC 9180) base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.

use dawnkey_secret::{ConfirmToken, Dek, MasterSecret};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use uuid::Uuid;
use zeroize::Zeroizing;

/// HPKE `info` of a DEK on its way to a node.
const RELEASE_INFO: &[u8] = b"dawnkey/v1/release";
/// HPKE `info` of a DEK on its way to an operator.
const EXPORT_INFO: &[u8] = b"dawnkey/v1/export";
/// HPKE `info` of a DEK on its way to a node that waits for an operator.
const RECOVERY_INFO: &[u8] = b"dawnkey/v1/recovery";
/// HPKE `info` of a master secret on its way from an operator to a service.
const MASTER_INFO: &[u8] = b"dawnkey/v1/master-secret";

/// Bytes of an X25519 public key and of an encapsulated key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a released key's ciphertext: DEK, confirm token, tag.
pub const RELEASE_CIPHERTEXT_BYTES: usize = 32 + 32 + 16;
/// Bytes of an exported key's ciphertext: DEK, tag.
pub const EXPORT_CIPHERTEXT_BYTES: usize = 32 + 16;

/// What a sealed DEK is for; it opens for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// The volume.
    pub volume: Uuid,
    /// The DEK's epoch.
    pub epoch: u32,
    /// The generation released with it; 0 for an export.
    pub generation: u64,
}

impl Purpose {
    /// HPKE `aad`: volume id (16 bytes) ‖ epoch (32-bit big-endian) ‖ generation (64-bit big-endian).
    #[must_use]
    pub fn aad(&self) -> [u8; 28] {
        let mut aad = [0; 28];
        aad[..16].copy_from_slice(self.volume.as_bytes());
        aad[16..20].copy_from_slice(&self.epoch.to_be_bytes());
        aad[20..].copy_from_slice(&self.generation.to_be_bytes());
        aad
    }

    /// The same, followed by the boot nonce of a node that waits for an operator.
    fn recovery_aad(&self, boot_nonce: &[u8; 32]) -> Vec<u8> {
        [self.aad().as_slice(), boot_nonce].concat()
    }
}

/// An HPKE ciphertext with the key it was made under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Encapsulated key, [`PUBLIC_KEY_BYTES`].
    pub encapsulated_key: Vec<u8>,
    /// Ciphertext with tag.
    pub ciphertext: Vec<u8>,
}

/// Sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No key pair could be made.
    #[error("make an HPKE key pair: the random source failed")]
    KeyPair,
    /// The recipient's public key is not a usable X25519 key.
    #[error("seal to the recipient's HPKE key: it is not a usable X25519 public key")]
    Recipient,
    /// The ciphertext was made for another key, volume, epoch or generation, or was changed.
    #[error(
        "open the sealed DEK: it was made for another key, volume, epoch or generation, or was changed"
    )]
    Open,
    /// The ciphertext was made for another key or provider, or was changed.
    #[error(
        "open the sealed master secret: it was made for another service or provider, or was changed"
    )]
    OpenMaster,
}

fn suite() -> &'static dyn Hpke {
    DH_KEM_X25519_HKDF_SHA256_AES_256
}

/// A key pair to which a DEK can be sealed, made anew for each boot and wiped with it.
pub struct Recipient {
    public: HpkePublicKey,
    private: HpkePrivateKey,
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recipient(redacted)")
    }
}

impl Recipient {
    /// Makes a fresh pair.
    pub fn generate() -> Result<Self, SealError> {
        let (public, private) = suite()
            .generate_key_pair()
            .map_err(|_| SealError::KeyPair)?;
        Ok(Self { public, private })
    }

    /// The public half, [`PUBLIC_KEY_BYTES`].
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public.0
    }

    /// Opens a released DEK and the token that confirms its use.
    pub fn open_release(
        &self,
        sealed: &Sealed,
        purpose: &Purpose,
    ) -> Result<(Dek, ConfirmToken), SealError> {
        let mut clear = self.open(RELEASE_INFO, sealed, &purpose.aad())?;
        let (dek, token) = clear
            .split_at_mut_checked(Dek::LEN)
            .ok_or(SealError::Open)?;
        let dek = Dek::take(dek).map_err(|_| SealError::Open)?;
        let token = ConfirmToken::take(token).map_err(|_| SealError::Open)?;
        Ok((dek, token))
    }

    /// Opens an exported DEK.
    pub fn open_export(&self, sealed: &Sealed, purpose: &Purpose) -> Result<Dek, SealError> {
        let mut clear = self.open(EXPORT_INFO, sealed, &purpose.aad())?;
        Dek::take(&mut clear).map_err(|_| SealError::Open)
    }

    /// Opens a DEK that was sealed for the boot of this nonce.
    pub fn open_recovery(
        &self,
        sealed: &Sealed,
        purpose: &Purpose,
        boot_nonce: &[u8; 32],
    ) -> Result<Dek, SealError> {
        let aad = purpose.recovery_aad(boot_nonce);
        let mut clear = self.open(RECOVERY_INFO, sealed, &aad)?;
        Dek::take(&mut clear).map_err(|_| SealError::Open)
    }

    /// Opens the master secret that was sealed for this provider.
    pub fn open_master(&self, sealed: &Sealed, provider: &str) -> Result<MasterSecret, SealError> {
        let opened = self.open(MASTER_INFO, sealed, provider.as_bytes());
        let mut clear = opened.map_err(|_| SealError::OpenMaster)?;
        MasterSecret::take(&mut clear).map_err(|_| SealError::OpenMaster)
    }

    fn open(
        &self,
        info: &[u8],
        sealed: &Sealed,
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let enc = EncapsulatedSecret(sealed.encapsulated_key.clone());
        suite()
            .open(&enc, info, aad, &sealed.ciphertext, &self.private)
            .map(Zeroizing::new)
            .map_err(|_| SealError::Open)
    }
}

/// Seals a DEK and its confirm token to a node's key.
pub fn seal_release(
    recipient: &[u8],
    purpose: &Purpose,
    dek: &Dek,
    token: &ConfirmToken,
) -> Result<Sealed, SealError> {
    let mut clear = Zeroizing::new(Vec::with_capacity(Dek::LEN + ConfirmToken::LEN));
    clear.extend_from_slice(dek.expose());
    clear.extend_from_slice(token.expose());
    seal(RELEASE_INFO, recipient, &purpose.aad(), &clear)
}

/// Seals a DEK to an operator's key.
pub fn seal_export(recipient: &[u8], purpose: &Purpose, dek: &Dek) -> Result<Sealed, SealError> {
    seal(EXPORT_INFO, recipient, &purpose.aad(), dek.expose())
}

/// Seals a DEK to a node that waits for an operator, for the boot of this nonce; the generation is its header's.
pub fn seal_recovery(
    recipient: &[u8],
    purpose: &Purpose,
    boot_nonce: &[u8; 32],
    dek: &Dek,
) -> Result<Sealed, SealError> {
    let aad = purpose.recovery_aad(boot_nonce);
    seal(RECOVERY_INFO, recipient, &aad, dek.expose())
}

/// Seals the master secret of a provider to a service's key.
pub fn seal_master(
    recipient: &[u8],
    provider: &str,
    secret: &MasterSecret,
) -> Result<Sealed, SealError> {
    seal(MASTER_INFO, recipient, provider.as_bytes(), secret.expose())
}

fn seal(info: &[u8], recipient: &[u8], aad: &[u8], clear: &[u8]) -> Result<Sealed, SealError> {
    if recipient.len() != PUBLIC_KEY_BYTES {
        return Err(SealError::Recipient);
    }
    let public = HpkePublicKey(recipient.to_vec());
    let (enc, ciphertext) = suite()
        .seal(info, aad, clear, &public)
        .map_err(|_| SealError::Recipient)?;
    Ok(Sealed {
        encapsulated_key: enc.0,
        ciphertext,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose() -> Purpose {
        Purpose {
            volume: Uuid::from_u128(7),
            epoch: 1,
            generation: 2,
        }
    }

    fn secrets() -> (Dek, ConfirmToken) {
        (
            Dek::take(&mut [5; 32]).unwrap(),
            ConfirmToken::take(&mut [6; 32]).unwrap(),
        )
    }

    #[test]
    fn released_dek_opens_for_its_recipient_and_purpose() {
        let recipient = Recipient::generate().unwrap();
        let (dek, token) = secrets();
        let sealed = seal_release(recipient.public_key(), &purpose(), &dek, &token).unwrap();
        assert_eq!(sealed.ciphertext.len(), RELEASE_CIPHERTEXT_BYTES);
        assert_eq!(
            recipient.open_release(&sealed, &purpose()).unwrap(),
            (dek, token)
        );
    }

    #[test]
    fn refuses_dek_of_another_recipient_volume_epoch_generation_or_use() {
        let recipient = Recipient::generate().unwrap();
        let (dek, token) = secrets();
        let sealed = seal_release(recipient.public_key(), &purpose(), &dek, &token).unwrap();
        let stranger = Recipient::generate().unwrap();
        assert_eq!(
            stranger.open_release(&sealed, &purpose()).unwrap_err(),
            SealError::Open
        );
        for other in [
            Purpose {
                volume: Uuid::from_u128(8),
                ..purpose()
            },
            Purpose {
                epoch: 2,
                ..purpose()
            },
            Purpose {
                generation: 3,
                ..purpose()
            },
        ] {
            assert_eq!(
                recipient.open_release(&sealed, &other).unwrap_err(),
                SealError::Open
            );
        }
        assert_eq!(
            recipient.open_export(&sealed, &purpose()).unwrap_err(),
            SealError::Open
        );
    }

    #[test]
    fn refuses_every_flipped_bit_of_a_sealed_dek() {
        let recipient = Recipient::generate().unwrap();
        let (dek, token) = secrets();
        let sealed = seal_release(recipient.public_key(), &purpose(), &dek, &token).unwrap();
        for bit in 0..(sealed.ciphertext.len() * 8) {
            let mut bent = sealed.clone();
            bent.ciphertext[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                recipient.open_release(&bent, &purpose()).unwrap_err(),
                SealError::Open
            );
        }
    }

    #[test]
    fn master_secret_opens_for_its_recipient_and_provider_only_and_as_nothing_else() {
        let (recipient, stranger) = (
            Recipient::generate().unwrap(),
            Recipient::generate().unwrap(),
        );
        let secret = MasterSecret::take(&mut [7; 32]).unwrap();
        let sealed = seal_master(recipient.public_key(), "cluster", &secret).unwrap();
        let opened = recipient.open_master(&sealed, "cluster").unwrap();
        assert_eq!(opened.expose(), secret.expose());
        let mut bent = sealed.clone();
        bent.ciphertext[0] ^= 1;
        for refused in [
            recipient.open_master(&sealed, "cluster2"),
            stranger.open_master(&sealed, "cluster"),
            recipient.open_master(&bent, "cluster"),
        ] {
            assert_eq!(refused.unwrap_err(), SealError::OpenMaster);
        }
        let export = recipient.open_export(&sealed, &purpose());
        assert_eq!(export.unwrap_err(), SealError::Open);
    }

    #[test]
    fn refuses_recipient_key_of_wrong_length() {
        let (dek, token) = secrets();
        let refused = seal_release(&[1; 31], &purpose(), &dek, &token);
        assert_eq!(refused.unwrap_err(), SealError::Recipient);
    }
}
