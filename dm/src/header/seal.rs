//! The seal of the volume key: AES-256-GCM-SIV under a key derived from the DEK, over the whole header.
//!
//! GCM-SIV, because a machine restored from a snapshot may draw the same nonce twice: that costs no more than showing
//! that the same key was sealed twice under the same header.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use dawnkey_secret::{Dek, JournalKey, SealKey, VolumeKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::SealError;
use super::json::{DIGEST_BYTES, DIGEST_ITERATIONS, NONCE_BYTES};

/// HKDF `info` of the seal's key.
const KEY_INFO: &[u8] = b"dawnkey volume-key seal v1";

/// HKDF `info` of the key of the journal's MAC.
const JOURNAL_INFO: &[u8] = b"dawnkey journal-mac key v1";

/// HKDF-SHA256(IKM = volume key, no salt, info = `dawnkey journal-mac key v1`), 32 bytes.
pub(crate) fn journal_key(key: &VolumeKey) -> Result<JournalKey, SealError> {
    JournalKey::fill(|okm| Hkdf::<Sha256>::new(None, key.expose()).expand(JOURNAL_INFO, okm))
        .map_err(|_| SealError::Cipher)
}

/// HKDF-SHA256(IKM = DEK, no salt, info = `dawnkey volume-key seal v1`), 32 bytes.
fn seal_key(dek: &Dek) -> Result<LessSafeKey, SealError> {
    let key = SealKey::fill(|okm| Hkdf::<Sha256>::new(None, dek.expose()).expand(KEY_INFO, okm))
        .map_err(|_| SealError::Cipher)?;
    UnboundKey::new(&AES_256_GCM_SIV, key.expose())
        .map(LessSafeKey::new)
        .map_err(|_| SealError::Cipher)
}

/// Seals `key`; the result is as long as the key and 16 bytes of tag.
pub(super) fn seal(
    dek: &Dek,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    key: &VolumeKey,
) -> Result<Vec<u8>, SealError> {
    // Encrypted in place: after success no clear byte is left in the buffer; on failure it is wiped.
    let mut buffer = Zeroizing::new(key.expose().to_vec());
    let tag = seal_key(dek)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(aad),
            &mut buffer,
        )
        .map_err(|_| SealError::Cipher)?;
    Ok([buffer.as_slice(), tag.as_ref()].concat())
}

/// Opens what [`seal`] made.
pub(super) fn open(
    dek: &Dek,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    sealed: &[u8],
) -> Result<VolumeKey, SealError> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let clear = seal_key(dek)?
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(aad),
            &mut buffer,
        )
        .map_err(|_| SealError::Open)?;
    VolumeKey::fill(clear.len(), |key| {
        key.copy_from_slice(clear);
        Ok(())
    })
}

/// PBKDF2-HMAC-SHA256 of the volume key, by which cryptsetup recognises it.
pub(super) fn key_digest(key: &VolumeKey, salt: &[u8; DIGEST_BYTES]) -> [u8; DIGEST_BYTES] {
    let iterations =
        std::num::NonZeroU32::new(DIGEST_ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
    let mut digest = [0; DIGEST_BYTES];
    aws_lc_rs::pbkdf2::derive(
        aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        key.expose(),
        &mut digest,
    );
    digest
}

/// Fills `bytes` from the operating system's random source, through aws-lc.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), SealError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| SealError::Random)
}
