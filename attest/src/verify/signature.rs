//! Signatures of TPM keys, checked with aws-lc-rs. SHA-1 is refused unless a caller asks for it by name, which only
//! recorded evidence judged piece by piece does.

use aws_lc_rs::signature::{self as lc, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use crate::tpm::{
    hash::Hash,
    public::{Curve, Key},
    signature::{Signature, Value},
    spki,
};

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The digest is too weak or not known.
    #[error("signature digest is algorithm {found:#06x}, SHA-256, SHA-384 or SHA-512 is needed")]
    WeakHash {
        /// `TPM_ALG_ID` found.
        found: u16,
    },
    /// An RSA scheme for an ECC key, or the reverse.
    #[error("signature scheme {scheme:#06x} does not belong to the key's type")]
    WrongScheme {
        /// `TPM_ALG_ID` found.
        scheme: u16,
    },
    /// The signature does not verify under the key.
    #[error("the signature does not verify under the attestation key")]
    Invalid,
}

/// Checks `signature` over `message`; returns the digest algorithm it uses.
pub fn check(key: &Key, message: &[u8], signature: &Signature) -> Result<Hash, SignatureError> {
    check_down_to(Hash::Sha256, key, message, signature)
}

/// [`check`] with digests from `weakest` on: [`Hash::Sha1`] takes old recordings.
pub(super) fn check_down_to(
    weakest: Hash,
    key: &Key,
    message: &[u8],
    signature: &Signature,
) -> Result<Hash, SignatureError> {
    let weak = SignatureError::WeakHash {
        found: signature.hash,
    };
    let hash = Hash::from_id(signature.hash).filter(|hash| *hash >= weakest);
    let hash = hash.ok_or(weak)?;
    match (key, &signature.value) {
        (Key::Rsa { modulus, exponent }, Value::RsaSsa(value)) => {
            rsa(modulus, *exponent, pkcs1(hash), message, value)?;
        }
        (Key::Rsa { modulus, exponent }, Value::RsaPss(value)) => {
            rsa(modulus, *exponent, pss(hash)?, message, value)?;
        }
        (Key::Ecc { curve, .. }, Value::Ecdsa { r, s }) => {
            let value = spki::ecdsa_signature(r, s);
            UnparsedPublicKey::new(ecdsa(*curve, hash)?, key.point())
                .verify(message, &value)
                .map_err(|_| SignatureError::Invalid)?;
        }
        (_, value) => {
            return Err(SignatureError::WrongScheme {
                scheme: value.scheme(),
            });
        }
    }
    Ok(hash)
}

fn rsa(
    modulus: &[u8],
    exponent: u32,
    parameters: &'static RsaParameters,
    message: &[u8],
    value: &[u8],
) -> Result<(), SignatureError> {
    let exponent = exponent.to_be_bytes();
    let zeros = exponent.iter().take_while(|byte| **byte == 0).count();
    let key = RsaPublicKeyComponents {
        n: modulus,
        e: exponent.get(zeros..).unwrap_or_default(),
    };
    key.verify(parameters, message, value)
        .map_err(|_| SignatureError::Invalid)
}

fn pkcs1(hash: Hash) -> &'static RsaParameters {
    match hash {
        Hash::Sha256 => &lc::RSA_PKCS1_2048_8192_SHA256,
        Hash::Sha384 => &lc::RSA_PKCS1_2048_8192_SHA384,
        Hash::Sha512 => &lc::RSA_PKCS1_2048_8192_SHA512,
        Hash::Sha1 => &lc::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
    }
}

/// RSA-PSS with a salt as long as the digest, as TPMs of revision 1.38 and later produce.
fn pss(hash: Hash) -> Result<&'static RsaParameters, SignatureError> {
    match hash {
        Hash::Sha256 => Ok(&lc::RSA_PSS_2048_8192_SHA256),
        Hash::Sha384 => Ok(&lc::RSA_PSS_2048_8192_SHA384),
        Hash::Sha512 => Ok(&lc::RSA_PSS_2048_8192_SHA512),
        Hash::Sha1 => Err(SignatureError::WeakHash { found: hash.id() }),
    }
}

fn ecdsa(
    curve: Curve,
    hash: Hash,
) -> Result<&'static lc::EcdsaVerificationAlgorithm, SignatureError> {
    match (curve, hash) {
        (Curve::P256, Hash::Sha256) => Ok(&lc::ECDSA_P256_SHA256_ASN1),
        (Curve::P256, Hash::Sha384) => Ok(&lc::ECDSA_P256_SHA384_ASN1),
        (Curve::P256, Hash::Sha512) => Ok(&lc::ECDSA_P256_SHA512_ASN1),
        (Curve::P384, Hash::Sha256) => Ok(&lc::ECDSA_P384_SHA256_ASN1),
        (Curve::P384, Hash::Sha384) => Ok(&lc::ECDSA_P384_SHA384_ASN1),
        (Curve::P384, Hash::Sha512) => Ok(&lc::ECDSA_P384_SHA512_ASN1),
        (Curve::P521, Hash::Sha256) => Ok(&lc::ECDSA_P521_SHA256_ASN1),
        (Curve::P521, Hash::Sha384) => Ok(&lc::ECDSA_P521_SHA384_ASN1),
        (Curve::P521, Hash::Sha512) => Ok(&lc::ECDSA_P521_SHA512_ASN1),
        (_, Hash::Sha1) => Err(SignatureError::WeakHash { found: hash.id() }),
    }
}
