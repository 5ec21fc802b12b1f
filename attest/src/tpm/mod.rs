//! TPM 2.0 structures, parsed from hostile bytes: no I/O, no allocation above the input's size.
//!
//! Source: Trusted Platform Module Library, Part 2: Structures, revision 1.59.

pub mod attest;
pub mod hash;
pub mod name;
pub mod public;
pub mod signature;
pub mod spki;

/// `TPM_ALG_RSA`.
pub const ALG_RSA: u16 = 0x0001;
/// `TPM_ALG_AES`.
pub const ALG_AES: u16 = 0x0006;
/// `TPM_ALG_NULL`.
pub const ALG_NULL: u16 = 0x0010;
/// `TPM_ALG_RSASSA`.
pub const ALG_RSASSA: u16 = 0x0014;
/// `TPM_ALG_RSAPSS`.
pub const ALG_RSAPSS: u16 = 0x0016;
/// `TPM_ALG_ECDSA`.
pub const ALG_ECDSA: u16 = 0x0018;
/// `TPM_ALG_ECC`.
pub const ALG_ECC: u16 = 0x0023;
/// `TPM_ALG_CFB`.
pub const ALG_CFB: u16 = 0x0043;

/// Highest number of PCRs of a bank that this crate handles (PC Client platforms have 24).
pub const PCR_COUNT: u8 = 24;
