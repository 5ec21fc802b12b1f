//! A key sealed to this attempt: a flattened JWE (RFC 7516), ECDH-ES+A256KW on P-256 (RFC 7518, 4.6), A256GCM.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dawnkey_secret::Dek;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The key agreement that is offered.
const ALGORITHM: &str = "ECDH-ES+A256KW";
/// The content encryption of Trustee.
const ENCRYPTION: &str = "A256GCM";
/// Bytes of a coordinate of P-256.
const COORDINATE: usize = 32;
/// Bytes of an uncompressed point.
const POINT: usize = 1 + 2 * COORDINATE;
/// Bytes of GCM's tag.
const TAG: usize = 16;

/// Why a resource is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JweError {
    /// No key pair, or no agreement with it, could be made here.
    #[error("make a P-256 key pair: the cryptographic module failed")]
    KeyPair,
    /// Not a flattened JWE.
    #[error("the resource is not a flattened JWE: {0}")]
    Form(&'static str),
    /// Sealed in a way that was not offered.
    #[error("the resource is sealed with {found:?}; {ALGORITHM} and {ENCRYPTION} are taken")]
    Algorithm {
        /// Which algorithms.
        found: String,
    },
    /// Sealed to another key, or changed.
    #[error("open the resource: it was sealed to another key, or was changed")]
    Open,
    /// What came out is no DEK.
    #[error("the resource has {found} bytes; the key of a volume has 32")]
    Length {
        /// Bytes of it.
        found: usize,
    },
}

/// The node's key pair of one attempt.
pub struct TeeKey {
    private: PrivateKey,
    /// Its public half, uncompressed.
    point: [u8; POINT],
}

impl std::fmt::Debug for TeeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TeeKey(redacted)")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    protected: String,
    encrypted_key: String,
    iv: String,
    ciphertext: String,
    tag: String,
    /// Never sent by Trustee; `null` is the same as nothing.
    #[serde(default)]
    aad: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Protected {
    alg: String,
    enc: String,
    epk: Epk,
    #[serde(default)]
    apu: String,
    #[serde(default)]
    apv: String,
    /// What must be understood; nothing of it is.
    #[serde(default)]
    crit: Option<serde_json::Value>,
    #[serde(default)]
    zip: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Epk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

impl TeeKey {
    /// A fresh key pair.
    ///
    /// # Errors
    /// [`JweError::KeyPair`].
    pub fn generate() -> Result<Self, JweError> {
        Self::of(PrivateKey::generate(&ECDH_P256).map_err(|_| JweError::KeyPair)?)
    }

    pub(super) fn of(private: PrivateKey) -> Result<Self, JweError> {
        let public = private
            .compute_public_key()
            .map_err(|_| JweError::KeyPair)?;
        let point = public.as_ref().try_into().map_err(|_| JweError::KeyPair)?;
        Ok(Self { private, point })
    }

    /// Both coordinates of the public half, base64url.
    pub(super) fn coordinates(&self) -> (String, String) {
        let (x, y) = self.point.split_at(1 + COORDINATE);
        let x = x.get(1..).unwrap_or_default();
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }

    /// The DEK in a resource that was sealed to this key.
    ///
    /// # Errors
    /// [`JweError`]; every other length than a DEK's is one.
    pub fn open(&self, resource: &[u8]) -> Result<Dek, JweError> {
        let parts: Flattened = serde_json::from_slice(resource)
            .map_err(|_| JweError::Form("no JSON object with its five members"))?;
        if parts.aad.is_some() {
            return Err(JweError::Form("it has an `aad`"));
        }
        let header = decode(&parts.protected, "protected")?;
        let header: Protected = serde_json::from_slice(&header)
            .map_err(|_| JweError::Form("no JSON in `protected`, or members missing there"))?;
        let kek = self.key_encryption_key(&header)?;
        let content_key = unwrapped(&kek, &decode(&parts.encrypted_key, "encrypted_key")?)?;
        let iv: [u8; 12] = decode(&parts.iv, "iv")?
            .try_into()
            .map_err(|_| JweError::Form("`iv` has not 12 bytes"))?;
        let tag = decode(&parts.tag, "tag")?;
        if tag.len() != TAG {
            return Err(JweError::Form("`tag` has not 16 bytes"));
        }
        // As long as it will ever be: what is opened in place is wiped with the buffer.
        let ciphertext = decode(&parts.ciphertext, "ciphertext")?;
        let mut content = Zeroizing::new([ciphertext, tag].concat());
        let key = UnboundKey::new(&AES_256_GCM, &content_key[..]).map_err(|_| JweError::Open)?;
        let opened = LessSafeKey::new(key)
            .open_in_place(
                Nonce::assume_unique_for_key(iv),
                Aad::from(parts.protected.as_bytes()),
                &mut content,
            )
            .map_err(|_| JweError::Open)?;
        let found = opened.len();
        Dek::take(opened).map_err(|_| JweError::Length { found })
    }

    /// Agreement with the sender's ephemeral key, through the Concat KDF.
    fn key_encryption_key(&self, header: &Protected) -> Result<Zeroizing<[u8; 32]>, JweError> {
        if header.alg != ALGORITHM || header.enc != ENCRYPTION {
            let found = format!("{} and {}", header.alg, header.enc);
            let found = crate::message::printable(&found);
            return Err(JweError::Algorithm { found });
        }
        let understood = header.crit.is_none() && header.zip.is_none();
        if !understood || !header.apu.is_empty() || !header.apv.is_empty() {
            return Err(JweError::Form(
                "`protected` has `crit`, `zip`, `apu` or `apv`",
            ));
        }
        if header.epk.kty != "EC" || header.epk.crv != "P-256" {
            return Err(JweError::Form("`epk` is no key of P-256"));
        }
        let mut point = vec![4];
        for coordinate in [&header.epk.x, &header.epk.y] {
            let bytes = decode(coordinate, "epk")?;
            if bytes.len() != COORDINATE {
                return Err(JweError::Form("a coordinate of `epk` has not 32 bytes"));
            }
            point.extend(bytes);
        }
        let peer = UnparsedPublicKey::new(&ECDH_P256, &point);
        agree(&self.private, peer, JweError::Open, |shared| {
            Ok(derive(shared))
        })
    }
}

/// Concat KDF (NIST SP 800-56A, 5.8.1) of one round, PartyUInfo and PartyVInfo empty.
fn derive(shared: &[u8]) -> Zeroizing<[u8; 32]> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let key = Sha256::new()
        .chain_update(1_u32.to_be_bytes())
        .chain_update(shared)
        .chain_update(length(ALGORITHM.len()))
        .chain_update(ALGORITHM)
        .chain_update(length(0))
        .chain_update(length(0))
        .chain_update(256_u32.to_be_bytes())
        .finalize();
    Zeroizing::new(key.into())
}

/// AES key wrap (RFC 3394) of a key of 32 bytes.
fn unwrapped(kek: &[u8; 32], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, JweError> {
    if wrapped.len() != 40 {
        return Err(JweError::Form("`encrypted_key` has not 40 bytes"));
    }
    let mut key = Zeroizing::new([0; 32]);
    let kek = AesKek::new(&AES_256, kek).map_err(|_| JweError::Open)?;
    let unwrapped = kek.unwrap(wrapped, &mut key[..]);
    match unwrapped.map(|key| key.len()) {
        Ok(32) => Ok(key),
        _ => Err(JweError::Open),
    }
}

fn decode(text: &str, member: &'static str) -> Result<Vec<u8>, JweError> {
    let wrong = |_| {
        JweError::Form(match member {
            "protected" => "`protected` is no base64url",
            "encrypted_key" => "`encrypted_key` is no base64url",
            "iv" => "`iv` is no base64url",
            "ciphertext" => "`ciphertext` is no base64url",
            "tag" => "`tag` is no base64url",
            _ => "`epk` is no base64url",
        })
    };
    URL_SAFE_NO_PAD.decode(text).map_err(wrong)
}
