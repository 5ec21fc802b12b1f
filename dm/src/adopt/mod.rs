//! Foreign LUKS2 headers: volumes that something else formatted, judged before anything acts on them.
//!
//! [`parse`] takes bytes that anyone may have written and takes a header only if all of it is on an allow-list: both
//! copies whole and equal, keyslots with bounded costs, one segment with a cipher that encrypts, one digest, no
//! re-encryption, no requirements. Every refusal has its name. [`Foreign`] is the header with its keyslots in memory: libcryptsetup
//! works on that copy and never reads the header's part of the disk.

mod binary;
mod cost;
mod error;
mod json;
mod memory;
mod rules;
#[cfg(test)]
mod tests;
#[cfg(feature = "adopt")]
mod unlock;
mod volume;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::geometry::Integrity;
use rules::Rules;

pub use error::{AdoptError, ForeignError};
pub use memory::Foreign;
pub use volume::AdoptedVolume;

/// A foreign header that was taken, as values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignHeader {
    uuid: Uuid,
    sequence: u64,
    rules: Rules,
    digest: [u8; 32],
}

/// Judges the first [`REGION_BYTES`](crate::header::REGION_BYTES) of a disk of `disk_bytes`.
pub fn parse(region: &[u8], disk_bytes: u64) -> Result<ForeignHeader, ForeignError> {
    let binary = binary::parse(region)?;
    let rules = rules::judge(json::parse(binary.json)?, disk_bytes)?;
    Ok(ForeignHeader {
        uuid: binary.uuid,
        sequence: binary.sequence,
        rules,
        digest: Sha256::digest(region).into(),
    })
}

impl ForeignHeader {
    /// The volume's id: the header's UUID.
    #[must_use]
    pub const fn volume(&self) -> Uuid {
        self.uuid
    }

    /// Sequence number: one more with every write.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How changed blocks are found.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.rules.integrity
    }

    /// Where the data, or the integrity superblock, begins, in bytes.
    #[must_use]
    pub const fn data_offset(&self) -> u64 {
        self.rules.data_offset
    }

    /// Bytes of an encrypted sector: 512 or 4096.
    #[must_use]
    pub const fn sector_size(&self) -> u64 {
        self.rules.sector_size
    }

    /// Bytes of header and keyslots together, from the disk's begin: at most 32 MiB.
    #[must_use]
    pub const fn area_bytes(&self) -> u64 {
        self.rules.area_bytes
    }

    /// Numbers of the keyslots.
    #[must_use]
    pub fn keyslots(&self) -> &[u32] {
        &self.rules.keyslots
    }

    /// Types of the tokens.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.rules.tokens
    }

    /// SHA-256 over both copies as they are on the disk.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }
}
