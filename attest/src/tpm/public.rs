//! `TPMT_PUBLIC` of RSA and ECC keys (Part 2, clause 12.2).

use super::{ALG_ECC, ALG_NULL, ALG_RSA, hash::Hash, name};
use crate::reader::{ReadError, Reader};

/// Largest modulus: 4096 bits.
const MAX_MODULUS: usize = 512;
/// Largest coordinate: P-521.
const MAX_COORDINATE: usize = 66;
/// Largest public area: a policy, a modulus and their headers.
const MAX_PUBLIC: usize = 1024;

/// `TPMA_OBJECT` bits of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// The key never leaves its TPM.
    pub const FIXED_TPM: u32 = 1 << 1;
    /// The key never leaves its parent.
    pub const FIXED_PARENT: u32 = 1 << 4;
    /// The TPM made the private part itself.
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    /// The user role may be filled by the authorisation value.
    pub const USER_WITH_AUTH: u32 = 1 << 6;
    /// The admin role needs the policy.
    pub const ADMIN_WITH_POLICY: u32 = 1 << 7;
    /// Not subject to dictionary attack protection.
    pub const NO_DA: u32 = 1 << 10;
    /// The key works on TPM-made structures only.
    pub const RESTRICTED: u32 = 1 << 16;
    /// The key decrypts.
    pub const DECRYPT: u32 = 1 << 17;
    /// The key signs.
    pub const SIGN: u32 = 1 << 18;

    /// Whether all of `bits` are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Whether these are the attributes of an attestation key: made by its TPM and never leaving it, signing
    /// TPM-made structures only, decrypting nothing.
    pub fn is_attestation_key(self) -> bool {
        self.has(Self::FIXED_TPM | Self::FIXED_PARENT | Self::SENSITIVE_DATA_ORIGIN)
            && self.has(Self::RESTRICTED | Self::SIGN)
            && !self.has(Self::DECRYPT)
    }

    /// Whether these are the attributes of an endorsement key: a storage key that never leaves its TPM.
    pub fn is_endorsement_key(self) -> bool {
        self.has(Self::FIXED_TPM | Self::FIXED_PARENT | Self::SENSITIVE_DATA_ORIGIN)
            && self.has(Self::RESTRICTED | Self::DECRYPT)
            && !self.has(Self::SIGN)
    }
}

/// Curves this crate computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Curve {
    /// The curve of a `TPM_ECC_CURVE`.
    pub fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0003 => Some(Self::P256),
            0x0004 => Some(Self::P384),
            0x0005 => Some(Self::P521),
            _ => None,
        }
    }

    /// Bytes of a coordinate.
    pub fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// RSA, numbers big-endian without leading zeros.
    Rsa {
        /// Modulus.
        modulus: Vec<u8>,
        /// Public exponent.
        exponent: u32,
    },
    /// ECC, coordinates padded to the curve's size.
    Ecc {
        /// Curve.
        curve: Curve,
        /// X coordinate.
        x: Vec<u8>,
        /// Y coordinate.
        y: Vec<u8>,
    },
}

/// Symmetric algorithm of a storage key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symmetric {
    /// `TPM_ALG_ID` of the cipher.
    pub cipher: u16,
    /// Key bits.
    pub bits: u16,
    /// `TPM_ALG_ID` of the mode.
    pub mode: u16,
}

/// Signing scheme that a key is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// `TPM_ALG_ID` of the scheme.
    pub scheme: u16,
    /// `TPM_ALG_ID` of its digest.
    pub hash: u16,
}

/// A parsed public area, with the bytes it came from (its Name is their digest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// Digest algorithm of the Name.
    pub name_alg: Hash,
    /// Object attributes.
    pub attributes: Attributes,
    /// Authorisation policy, may be empty.
    pub auth_policy: Vec<u8>,
    /// Symmetric algorithm, for storage keys.
    pub symmetric: Option<Symmetric>,
    /// Signing scheme, where the key is bound to one.
    pub scheme: Option<Scheme>,
    /// The key.
    pub key: Key,
    bytes: Vec<u8>,
}

impl Public {
    /// Parses a whole `TPMT_PUBLIC` of an RSA or ECC key; bytes behind it are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16_be("public.type")?;
        let at = reader.at();
        let name_alg = reader.u16_be("public.nameAlg")?;
        let name_alg = Hash::from_id(name_alg).ok_or(ReadError::Value {
            what: "public.nameAlg",
            at,
            found: name_alg.into(),
            wanted: "SHA-1, SHA-256, SHA-384 or SHA-512",
        })?;
        let attributes = Attributes(reader.u32_be("public.objectAttributes")?);
        let auth_policy = reader
            .sized("public.authPolicy", Hash::Sha512.size())?
            .to_vec();
        let symmetric = symmetric(&mut reader)?;
        let scheme = scheme(&mut reader)?;
        let key = match kind {
            ALG_RSA => rsa(&mut reader)?,
            ALG_ECC => ecc(&mut reader)?,
            other => {
                return Err(ReadError::Value {
                    what: "public.type",
                    at: 0,
                    found: other.into(),
                    wanted: "RSA 0x1 or ECC 0x23",
                });
            }
        };
        reader.finish("TPMT_PUBLIC")?;
        Ok(Self {
            name_alg,
            attributes,
            auth_policy,
            symmetric,
            scheme,
            key,
            bytes: bytes.to_vec(),
        })
    }

    /// Parses a whole `TPM2B_PUBLIC`: the same behind its length.
    pub fn parse_sized(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let public = reader.sized("TPM2B_PUBLIC", MAX_PUBLIC)?;
        reader.finish("TPM2B_PUBLIC")?;
        Self::parse(public)
    }

    /// The object's Name.
    pub fn name(&self) -> Vec<u8> {
        name::of_public(self.name_alg, &self.bytes)
    }

    /// The marshalled bytes this was parsed from.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn symmetric(reader: &mut Reader<'_>) -> Result<Option<Symmetric>, ReadError> {
    match reader.u16_be("parameters.symmetric")? {
        ALG_NULL => Ok(None),
        cipher => Ok(Some(Symmetric {
            cipher,
            bits: reader.u16_be("symmetric.keyBits")?,
            mode: reader.u16_be("symmetric.mode")?,
        })),
    }
}

fn scheme(reader: &mut Reader<'_>) -> Result<Option<Scheme>, ReadError> {
    match reader.u16_be("parameters.scheme")? {
        ALG_NULL => Ok(None),
        scheme => Ok(Some(Scheme {
            scheme,
            hash: reader.u16_be("scheme.hash")?,
        })),
    }
}

fn rsa(reader: &mut Reader<'_>) -> Result<Key, ReadError> {
    let at = reader.at();
    let bits = reader.u16_be("rsa.keyBits")?;
    // Zero stands for the default exponent.
    let exponent = match reader.u32_be("rsa.exponent")? {
        0 => 65_537,
        other => other,
    };
    let modulus = reader.sized("rsa.unique", MAX_MODULUS)?;
    if modulus.len() * 8 != usize::from(bits) || modulus.first().is_none_or(|byte| *byte < 0x80) {
        return Err(ReadError::Value {
            what: "rsa.keyBits",
            at,
            found: bits.into(),
            wanted: "the modulus' own length, its highest bit set",
        });
    }
    Ok(Key::Rsa {
        modulus: modulus.to_vec(),
        exponent,
    })
}

fn ecc(reader: &mut Reader<'_>) -> Result<Key, ReadError> {
    let at = reader.at();
    let id = reader.u16_be("ecc.curveID")?;
    let curve = Curve::from_id(id).ok_or(ReadError::Value {
        what: "ecc.curveID",
        at,
        found: id.into(),
        wanted: "P-256 0x3, P-384 0x4 or P-521 0x5",
    })?;
    if reader.u16_be("ecc.kdf")? != ALG_NULL {
        reader.u16_be("ecc.kdf.hash")?;
    }
    let mut coordinate = |what| -> Result<Vec<u8>, ReadError> {
        let at = reader.at();
        let bytes = reader.sized(what, MAX_COORDINATE)?;
        left_pad(bytes, curve.size()).ok_or(ReadError::TooMany {
            what,
            at,
            found: bytes.len(),
            most: curve.size(),
        })
    };
    let x = coordinate("ecc.x")?;
    let y = coordinate("ecc.y")?;
    Ok(Key::Ecc { curve, x, y })
}

/// Brings a big-endian number to exactly `len` bytes; `None` if it is larger than that.
pub fn left_pad(number: &[u8], len: usize) -> Option<Vec<u8>> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..)?;
    let mut out = vec![0u8; len.checked_sub(digits.len())?];
    out.extend_from_slice(digits);
    Some(out)
}
