//! `TPMT_SIGNATURE` (Part 2, clause 11.3): RSASSA, RSAPSS and ECDSA.

use super::{ALG_ECDSA, ALG_RSAPSS, ALG_RSASSA};
use crate::reader::{ReadError, Reader};

/// Largest RSA signature: 4096 bits.
const MAX_RSA: usize = 512;
/// Largest ECDSA number: P-521.
const MAX_ECC: usize = 66;

/// A signature and the algorithms it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `TPM_ALG_ID` of the digest.
    pub hash: u16,
    /// Scheme and value.
    pub value: Value,
}

/// The value of a signature, by scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// PKCS#1 v1.5.
    RsaSsa(Vec<u8>),
    /// RSA-PSS.
    RsaPss(Vec<u8>),
    /// ECDSA, big-endian numbers as the TPM gave them (may be shorter or longer than the curve's size).
    Ecdsa {
        /// First number.
        r: Vec<u8>,
        /// Second number.
        s: Vec<u8>,
    },
}

impl Value {
    /// `TPM_ALG_ID` of the scheme.
    pub fn scheme(&self) -> u16 {
        match self {
            Self::RsaSsa(_) => ALG_RSASSA,
            Self::RsaPss(_) => ALG_RSAPSS,
            Self::Ecdsa { .. } => ALG_ECDSA,
        }
    }
}

impl Signature {
    /// Parses a whole `TPMT_SIGNATURE`; other schemes and bytes behind it are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let scheme = reader.u16_be("sigAlg")?;
        let hash = reader.u16_be("signature.hash")?;
        let value = match scheme {
            ALG_RSASSA => Value::RsaSsa(reader.sized("signature.rsassa", MAX_RSA)?.to_vec()),
            ALG_RSAPSS => Value::RsaPss(reader.sized("signature.rsapss", MAX_RSA)?.to_vec()),
            ALG_ECDSA => Value::Ecdsa {
                r: reader.sized("signature.r", MAX_ECC)?.to_vec(),
                s: reader.sized("signature.s", MAX_ECC)?.to_vec(),
            },
            other => {
                return Err(ReadError::Value {
                    what: "sigAlg",
                    at: 0,
                    found: other.into(),
                    wanted: "RSASSA 0x14, RSAPSS 0x16 or ECDSA 0x18",
                });
            }
        };
        reader.finish("TPMT_SIGNATURE")?;
        Ok(Self { hash, value })
    }
}
