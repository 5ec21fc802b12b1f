//! A good foreign header, as text and as bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::header::REGION_BYTES;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bytes of a copy.
pub(super) const COPY: usize = 16_384;
/// The volume's id.
pub(super) const ID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

/// What `cryptsetup luksFormat` of version 2.6 writes, with integrity.
pub(super) fn document() -> Value {
    json!({
        "keyslots": {
            "0": keyslot(32768, 96),
        },
        "tokens": {"0": {"type": "constellation-state-disk", "keyslots": [], "diskIsInitialized": true}},
        "segments": {"0": {"type": "crypt", "offset": "16777216", "size": "dynamic", "iv_tweak": "0",
            "encryption": "aes-xts-plain64", "sector_size": 4096,
            "integrity": {"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"}}},
        "digests": {"0": {"type": "pbkdf2", "keyslots": ["0"], "segments": ["0"], "hash": "sha256",
            "iterations": 129_774, "salt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "digest": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
        "config": {"json_size": "12288", "keyslots_size": "16744448"},
    })
}

/// A keyslot with its area at `offset`, for a volume key of `key_size` bytes.
pub(super) fn keyslot(offset: u64, key_size: u64) -> Value {
    json!({"type": "luks2", "key_size": key_size,
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
        "area": {"type": "raw", "offset": offset.to_string(), "size": "385024",
            "encryption": "aes-xts-plain64", "key_size": 64},
        "kdf": {"type": "argon2id", "time": 3, "memory": 65536, "cpus": 4,
            "salt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}})
}

/// Two copies around a text, whole and equal.
pub(super) fn region(text: &str) -> Vec<u8> {
    let mut region = vec![0; REGION_BYTES];
    for (magic, offset) in [(b"LUKS\xba\xbe", 0), (b"SKUL\xba\xbe", COPY)] {
        let copy = &mut region[offset..offset + COPY];
        copy[..6].copy_from_slice(magic);
        copy[7] = 2;
        copy[8..16].copy_from_slice(&(COPY as u64).to_be_bytes());
        copy[23] = 3;
        copy[72..78].copy_from_slice(b"sha256");
        copy[104..168].fill(magic[0]);
        copy[168..204].copy_from_slice(ID.as_bytes());
        copy[256..264].copy_from_slice(&(offset as u64).to_be_bytes());
        copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
        mend(copy);
    }
    region
}

/// Makes the checksum of a copy right.
pub(super) fn mend(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let sum = Sha256::digest(&copy[..]);
    copy[448..480].copy_from_slice(&sum);
}
