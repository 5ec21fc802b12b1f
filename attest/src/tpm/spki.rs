//! DER `SubjectPublicKeyInfo` of a TPM key, in the one canonical form (RFC 3279, RFC 5480).
//!
//! EK certificates carry the same key under differing algorithm identifiers (`rsaEncryption`, `id-RSAES-OAEP`);
//! the identity of an instance must not depend on that, so it is the digest of this form.

use sha2::{Digest as _, Sha256};

use super::public::{Curve, Key};

const OID_RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];
const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const NULL: &[u8] = &[0x05, 0x00];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

impl Key {
    /// DER `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa { modulus, exponent } => {
                let key = tlv(
                    SEQUENCE,
                    &[&integer(modulus), &integer(&exponent.to_be_bytes())],
                );
                let algorithm = tlv(SEQUENCE, &[OID_RSA, NULL]);
                tlv(SEQUENCE, &[&algorithm, &tlv(BIT_STRING, &[&[0], &key])])
            }
            Self::Ecc { curve, .. } => {
                let oid = match curve {
                    Curve::P256 => OID_P256,
                    Curve::P384 => OID_P384,
                    Curve::P521 => OID_P521,
                };
                let algorithm = tlv(SEQUENCE, &[OID_EC, oid]);
                let point = tlv(BIT_STRING, &[&[0], &self.point()]);
                tlv(SEQUENCE, &[&algorithm, &point])
            }
        }
    }

    /// SHA-256 of [`Key::spki`]: the identity of the key's owner.
    pub fn spki_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.spki()).into()
    }

    /// Uncompressed point `04 ‖ x ‖ y` of an ECC key; empty for RSA.
    pub fn point(&self) -> Vec<u8> {
        match self {
            Self::Rsa { .. } => Vec::new(),
            Self::Ecc { x, y, .. } => [&[0x04], x.as_slice(), y].concat(),
        }
    }
}

/// DER INTEGER of an unsigned big-endian number.
pub fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    match digits.first() {
        None => tlv(INTEGER, &[&[0]]),
        Some(byte) if *byte >= 0x80 => tlv(INTEGER, &[&[0], digits]),
        Some(_) => tlv(INTEGER, &[digits]),
    }
}

/// DER SEQUENCE of two unsigned numbers: the form of an ECDSA signature.
pub fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&integer(r), &integer(s)])
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = length.to_be_bytes();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let digits = bytes.get(zeros..).unwrap_or_default();
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
            out.extend_from_slice(digits);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}
