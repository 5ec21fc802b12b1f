//! `TPMS_ATTEST` of type quote (Part 2, clause 10.12).

use super::{PCR_COUNT, hash::Hash};
use crate::reader::{ReadError, Reader};

/// `TPM_GENERATED_VALUE`: a restricted key signs nothing that begins thus unless the TPM made it.
pub const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
pub const ST_QUOTE: u16 = 0x8018;
/// Largest `extraData` (`TPM2B_DATA`): a TPMT_HA of the widest digest.
const MAX_DATA: usize = 66;
/// Largest Name: algorithm number and the widest digest.
const MAX_NAME: usize = 66;
/// Banks one selection may list (`HASH_COUNT` is below that on every known TPM).
const MAX_BANKS: usize = 16;

/// Why bytes are not a quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// The magic is not the one only a TPM writes.
    #[error("magic is {found:#010x}, TPM_GENERATED is {GENERATED:#010x}")]
    Magic {
        /// Magic found.
        found: u32,
    },
    /// An attestation of another type.
    #[error("attestation type is {found:#06x}, a quote is {ST_QUOTE:#06x}")]
    NotAQuote {
        /// Type found.
        found: u16,
    },
    /// The structure is malformed.
    #[error("malformed: {0}")]
    Malformed(#[from] ReadError),
}

/// PCRs of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// `TPM_ALG_ID` of the bank.
    pub bank: u16,
    /// Selected PCRs, ascending.
    pub pcrs: Vec<u8>,
}

/// What a quote says. Nothing in it is to be believed before its signature is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Qualified Name of the signing key.
    pub qualified_signer: Vec<u8>,
    /// The caller's data (`qualifyingData`).
    pub extra_data: Vec<u8>,
    /// Milliseconds the TPM has been powered, over its life.
    pub clock: u64,
    /// TPM resets over its life.
    pub reset_count: u32,
    /// Suspends since the last reset.
    pub restart_count: u32,
    /// False while the clock may have gone back after an unorderly shutdown.
    pub safe: bool,
    /// Vendor's firmware version.
    pub firmware_version: u64,
    /// Which PCRs are quoted.
    pub selections: Vec<Selection>,
    /// Digest over their values, by the hash of the signature scheme.
    pub pcr_digest: Vec<u8>,
}

impl Quote {
    /// Parses a whole `TPMS_ATTEST`; bytes behind it are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, AttestError> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u32_be("magic")?;
        if magic != GENERATED {
            return Err(AttestError::Magic { found: magic });
        }
        let kind = reader.u16_be("type")?;
        if kind != ST_QUOTE {
            return Err(AttestError::NotAQuote { found: kind });
        }
        let quote = Self {
            qualified_signer: reader.sized("qualifiedSigner", MAX_NAME)?.to_vec(),
            extra_data: reader.sized("extraData", MAX_DATA)?.to_vec(),
            clock: reader.u64_be("clock")?,
            reset_count: reader.u32_be("resetCount")?,
            restart_count: reader.u32_be("restartCount")?,
            safe: yes_no(&mut reader)?,
            firmware_version: reader.u64_be("firmwareVersion")?,
            selections: selections(&mut reader)?,
            pcr_digest: reader.sized("pcrDigest", Hash::Sha512.size())?.to_vec(),
        };
        reader.finish("TPMS_ATTEST")?;
        Ok(quote)
    }
}

fn yes_no(reader: &mut Reader<'_>) -> Result<bool, ReadError> {
    let at = reader.at();
    match reader.u8("safe")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(ReadError::Value {
            what: "safe",
            at,
            found: other.into(),
            wanted: "0 or 1",
        }),
    }
}

fn selections(reader: &mut Reader<'_>) -> Result<Vec<Selection>, ReadError> {
    let at = reader.at();
    let count = reader.u32_be("pcrSelect.count")?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > MAX_BANKS {
        return Err(ReadError::TooMany {
            what: "pcrSelect.count",
            at,
            found: count,
            most: MAX_BANKS,
        });
    }
    (0..count).map(|_| selection(reader)).collect()
}

fn selection(reader: &mut Reader<'_>) -> Result<Selection, ReadError> {
    let bank = reader.u16_be("pcrSelect.hash")?;
    let at = reader.at();
    let size = usize::from(reader.u8("sizeofSelect")?);
    if size > usize::from(PCR_COUNT / 8) {
        return Err(ReadError::TooMany {
            what: "sizeofSelect",
            at,
            found: size,
            most: usize::from(PCR_COUNT / 8),
        });
    }
    let bits = reader.take("pcrSelect", size)?;
    let set = |pcr: &u8| {
        bits.get(usize::from(pcr / 8))
            .is_some_and(|byte| byte & (1 << (pcr % 8)) != 0)
    };
    Ok(Selection {
        bank,
        pcrs: (0..PCR_COUNT).filter(set).collect(),
    })
}
