//! A header for the system's own tools: what was parsed of a volume's header, and a keyslot for one boot.
//!
//! `systemd-cryptsetup` and `cryptsetup open --header` read nothing of the disk's header when they are given another
//! one. This one is made of the values that our parser took and the seal has authenticated, in memory: same id, same
//! segment, same volume key, one keyslot under random bytes that nobody has seen before, no token. It is for a file in
//! `/run` that goes away once it was used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dawnkey_secret::{SlotKey, VolumeKey};
use serde_json::json;
use uuid::Uuid;

use super::binary::{self, Binary, COPY_BYTES, JSON_BYTES};
use super::error::{CopyName, SealError};
use super::json::{DIGEST_BYTES, DIGEST_ITERATIONS, NONCE_BYTES, segment};
use super::{REGION_BYTES, keyslot, seal};
use crate::geometry::{BLOCK_BYTES, Layout};

/// A header with one keyslot, and what opens that.
pub struct Detached {
    /// The file: both copies, then the keyslot's area.
    pub bytes: Vec<u8>,
    /// The passphrase, verbatim.
    pub key: SlotKey,
}

impl std::fmt::Debug for Detached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detached").finish_non_exhaustive()
    }
}

impl Detached {
    /// Makes one for a volume of this layout, with fresh salts and a fresh passphrase.
    pub fn new(volume: Uuid, layout: &Layout, key: &VolumeKey) -> Result<Self, SealError> {
        let slot_key = SlotKey::fill(|bytes| seal::random(bytes))?;
        let mut salts = [[0; DIGEST_BYTES]; 2];
        for salt in &mut salts {
            seal::random(salt)?;
        }
        let [slot_salt, digest_salt] = salts;
        let area = keyslot::seal(&slot_key, &slot_salt, key)?;
        let area_bytes = area.len().next_multiple_of(BLOCK_BYTES as usize);
        let digest = seal::key_digest(key, &digest_salt);
        let document = json!({
            "keyslots": { "0": {
                "type": "luks2",
                "key_size": key.expose().len(),
                "af": { "type": "luks1", "stripes": keyslot::STRIPES, "hash": "sha256" },
                "area": {
                    "type": "raw",
                    "offset": REGION_BYTES.to_string(),
                    "size": area_bytes.to_string(),
                    "encryption": "aes-xts-plain64",
                    "key_size": keyslot::KEY_BYTES,
                },
                "kdf": {
                    "type": "pbkdf2",
                    "hash": "sha256",
                    "iterations": keyslot::ITERATIONS,
                    "salt": BASE64.encode(slot_salt),
                },
            } },
            "tokens": {},
            "segments": { "0": segment(layout) },
            "digests": { "0": {
                "type": "pbkdf2",
                "keyslots": ["0"],
                "segments": ["0"],
                "hash": "sha256",
                "iterations": DIGEST_ITERATIONS,
                "salt": BASE64.encode(digest_salt),
                "digest": BASE64.encode(digest),
            } },
            "config": {
                "json_size": JSON_BYTES.to_string(),
                "keyslots_size": area_bytes.to_string(),
            },
        });
        let mut bytes = copies(volume, &document.to_string())?;
        bytes.extend(area);
        bytes.resize(REGION_BYTES + area_bytes, 0);
        Ok(Self {
            bytes,
            key: slot_key,
        })
    }
}

/// Both copies of a header with this JSON.
fn copies(volume: Uuid, json: &str) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_BYTES];
    seal::random(&mut nonce)?;
    let binary = Binary {
        volume,
        sequence: 1,
    };
    let mut bytes = Vec::with_capacity(2 * COPY_BYTES);
    for which in [CopyName::Primary, CopyName::Secondary] {
        let copy = binary::encode(which, &binary, &nonce, json);
        let mut copy = copy.ok_or(SealError::Cipher)?;
        binary::finish(&mut copy);
        bytes.extend_from_slice(copy.as_slice());
    }
    Ok(bytes)
}
