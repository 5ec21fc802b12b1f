//! `TPM2_MakeCredential` in software: wraps a secret so that only the TPM that holds both the endorsement key and
//! the named key can give it back (TPM 2.0 Part 1, clause 24; B.10.4 for RSA, C.6.4 for ECC).

use aws_lc_rs::{
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey},
    cipher::{self, EncryptingKey, EncryptionContext, UnboundCipherKey},
    iv::FixedLength,
    rand::SystemRandom,
    rsa::{self, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use zeroize::Zeroizing;

use super::kdf::{Unsupported, hmac, kdfa, kdfe};
use crate::{
    reader::ReadError,
    tpm::{
        ALG_AES, ALG_CFB,
        hash::Hash,
        public::{Curve, Key, Public, Symmetric},
    },
};

/// Label of the seed, with the NUL that belongs to it in OAEP.
const IDENTITY: &[u8] = b"IDENTITY\0";

/// What `TPM2_ActivateCredential` takes. Both are without the outer size field of their TPM2B.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPMS_ID_OBJECT`: HMAC, then the encrypted secret.
    pub id_object: Vec<u8>,
    /// The seed, encrypted to the endorsement key.
    pub encrypted_secret: Vec<u8>,
}

/// Why no credential can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The endorsement key is malformed.
    #[error("endorsement key is malformed: {0}")]
    Malformed(#[from] ReadError),
    /// The key is not an endorsement key: one that never leaves its TPM and decrypts TPM structures only.
    #[error(
        "endorsement key has attributes {found:#010x}; restricted, decrypt, fixedTPM, fixedParent, \
         sensitiveDataOrigin and not sign are needed"
    )]
    Attributes {
        /// `TPMA_OBJECT` found.
        found: u32,
    },
    /// The key's algorithms are not supported.
    #[error("endorsement key uses {what}, supported are RSA or P-256/P-384 with AES-CFB and SHA-2")]
    Algorithm {
        /// What is not supported.
        what: &'static str,
    },
    /// The secret does not fit.
    #[error("secret has {found} bytes, 1 to {most} fit this endorsement key")]
    Secret {
        /// Bytes given.
        found: usize,
        /// Digest length of the key's Name.
        most: usize,
    },
    /// The public key is no valid key.
    #[error("endorsement key is not a valid public key")]
    Key,
    /// The library failed.
    #[error("credential could not be encrypted: {what}")]
    Crypto {
        /// Step that failed.
        what: &'static str,
    },
}

impl From<Unsupported> for CredentialError {
    fn from(Unsupported: Unsupported) -> Self {
        Self::Algorithm { what: "SHA-1" }
    }
}

/// Makes a credential for the key named `ak_name`, openable only by the TPM that holds `ek_public` (`TPMT_PUBLIC`).
///
/// `secret` is at most as long as the digest of the endorsement key's Name algorithm (32 bytes always fit).
pub fn make(
    ek_public: &[u8],
    ak_name: &[u8],
    secret: &[u8],
) -> Result<Credential, CredentialError> {
    let ek = Public::parse(ek_public)?;
    if !ek.attributes.is_endorsement_key() {
        return Err(CredentialError::Attributes {
            found: ek.attributes.0,
        });
    }
    let hash = ek.name_alg;
    if secret.is_empty() || secret.len() > hash.size() {
        return Err(CredentialError::Secret {
            found: secret.len(),
            most: hash.size(),
        });
    }
    let bits = aes_bits(ek.symmetric)?;
    let (seed, encrypted_secret) = seed(&ek)?;
    let mut identity = Zeroizing::new(sized(secret));
    let key = kdfa(hash, &seed, b"STORAGE", ak_name, &[], bits)?;
    aes_cfb(&key, &mut identity)?;
    let digest_bits = u16::try_from(hash.size() * 8).unwrap_or(u16::MAX);
    let mac_key = kdfa(hash, &seed, b"INTEGRITY", &[], &[], digest_bits)?;
    let mac = hmac(hash, &mac_key, &[&identity, ak_name])?;
    let mut id_object = sized(&mac);
    id_object.extend_from_slice(&identity);
    Ok(Credential {
        id_object,
        encrypted_secret,
    })
}

fn aes_bits(symmetric: Option<Symmetric>) -> Result<u16, CredentialError> {
    match symmetric {
        Some(Symmetric {
            cipher: ALG_AES,
            bits: bits @ (128 | 256),
            mode: ALG_CFB,
        }) => Ok(bits),
        _ => Err(CredentialError::Algorithm {
            what: "another symmetric algorithm",
        }),
    }
}

type Seed = (Zeroizing<Vec<u8>>, Vec<u8>);

fn seed(ek: &Public) -> Result<Seed, CredentialError> {
    match &ek.key {
        Key::Rsa { .. } => rsa_seed(ek),
        Key::Ecc { curve, x, .. } => ecc_seed(ek, *curve, x),
    }
}

fn rsa_seed(ek: &Public) -> Result<Seed, CredentialError> {
    let algorithm = match ek.name_alg {
        Hash::Sha256 => &rsa::OAEP_SHA256_MGF1SHA256,
        Hash::Sha384 => &rsa::OAEP_SHA384_MGF1SHA384,
        Hash::Sha512 => &rsa::OAEP_SHA512_MGF1SHA512,
        Hash::Sha1 => return Err(Unsupported.into()),
    };
    let mut seed = Zeroizing::new(vec![0; ek.name_alg.size()]);
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| CredentialError::Crypto { what: "random" })?;
    let key = PublicEncryptingKey::from_der(&ek.key.spki()).map_err(|_| CredentialError::Key)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::Key)?;
    let mut out = vec![0; key.ciphertext_size()];
    let written = key
        .encrypt(algorithm, &seed, &mut out, Some(IDENTITY))
        .map_err(|_| CredentialError::Crypto { what: "OAEP" })?
        .len();
    out.truncate(written);
    Ok((seed, out))
}

fn ecc_seed(ek: &Public, curve: Curve, ek_x: &[u8]) -> Result<Seed, CredentialError> {
    let algorithm = match curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
        Curve::P521 => &agreement::ECDH_P521,
    };
    let failed = |_| CredentialError::Crypto { what: "ECDH" };
    let ours = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new()).map_err(failed)?;
    let point = ours.compute_public_key().map_err(failed)?;
    let point = point.as_ref().get(1..).unwrap_or_default();
    let (x, y) = point
        .split_at_checked(curve.size())
        .ok_or(CredentialError::Crypto { what: "ECDH" })?;
    let peer = UnparsedPublicKey::new(algorithm, ek.key.point());
    let bits = u16::try_from(ek.name_alg.size() * 8).unwrap_or(u16::MAX);
    let seed = agreement::agree_ephemeral(ours, peer, CredentialError::Key, |z| {
        Ok(kdfe(ek.name_alg, z, b"IDENTITY", x, ek_x, bits)?)
    })?;
    let encrypted = [sized(x), sized(y)].concat();
    Ok((seed, encrypted))
}

/// AES-CFB in place, with the zero IV the structure prescribes (each key is used once).
fn aes_cfb(key: &[u8], bytes: &mut [u8]) -> Result<(), CredentialError> {
    let failed = |_| CredentialError::Crypto { what: "AES-CFB" };
    let algorithm = match key.len() {
        16 => &cipher::AES_128,
        _ => &cipher::AES_256,
    };
    let key = UnboundCipherKey::new(algorithm, key).map_err(failed)?;
    let key = EncryptingKey::cfb128(key).map_err(failed)?;
    let iv = EncryptionContext::Iv128(FixedLength::from([0u8; 16]));
    key.less_safe_encrypt(bytes, iv).map_err(failed)?;
    Ok(())
}

/// A TPM2B: 16-bit length, then the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}
