//! Caps of the parts of evidence, in bytes and in number.

use super::{DecodeError, PcrBank};

pub const PAYLOAD: usize = EVENT_LOG + (1 << 20);
pub const EVENT_LOG: usize = 2 << 20;
pub const STRUCTURE: usize = 2048;
pub const CERTIFICATE: usize = 8192;
pub const CERTIFICATES: usize = 4;
/// A table of certificates, or a collateral part.
pub const TABLE: usize = 64 << 10;
const DIGEST: usize = 64;
const BANKS: usize = 4;
const PCRS: usize = 24;

/// A message whose parts have caps.
pub trait Capped {
    /// Refuses a part that is larger than it may be.
    fn check_caps(&self) -> Result<(), DecodeError>;
}

pub fn within(part: &'static str, found: usize, most: usize) -> Result<(), DecodeError> {
    if found > most {
        return Err(DecodeError::TooLarge { part, found, most });
    }
    Ok(())
}

pub fn at_most(part: &'static str, found: usize, most: usize) -> Result<(), DecodeError> {
    if found > most {
        return Err(DecodeError::TooMany { part, found, most });
    }
    Ok(())
}

/// A certificate and what stands between it and its root.
pub fn certificates(part: &'static str, leaf: &[u8], chain: &[Vec<u8>]) -> Result<(), DecodeError> {
    within(part, leaf.len(), CERTIFICATE)?;
    at_most("chain certificates", chain.len(), CERTIFICATES)?;
    for certificate in chain {
        within("chain certificate", certificate.len(), CERTIFICATE)?;
    }
    Ok(())
}

pub fn pcrs(banks: &[PcrBank]) -> Result<(), DecodeError> {
    at_most("PCR banks", banks.len(), BANKS)?;
    for bank in banks {
        at_most("PCR values in a bank", bank.values.len(), PCRS)?;
        for value in &bank.values {
            within("pcr value", value.digest.len(), DIGEST)?;
        }
    }
    Ok(())
}
