//! Digest algorithms a TPM names by number.

use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// A digest algorithm (`TPMI_ALG_HASH`) this crate can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-1: only to replay logs that carry it; never accepted in a signature or as a policy's bank.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The algorithm of a `TPM_ALG_ID`, or `None` where it is not computed here (SM3, SHA-3).
    pub fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0004 => Some(Self::Sha1),
            0x000b => Some(Self::Sha256),
            0x000c => Some(Self::Sha384),
            0x000d => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The `TPM_ALG_ID`.
    pub fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// The algorithm of a name as [`Hash::name`] gives it.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];
        all.into_iter().find(|hash| hash.name() == name)
    }

    /// Bytes of a digest.
    pub fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Whether the algorithm may carry a verdict (everything but SHA-1).
    pub fn is_strong(self) -> bool {
        self != Self::Sha1
    }

    /// Name as in `/sys/class/tpm/tpm0/pcr-*`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Digest of the parts, one after the other.
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha1 => run::<Sha1>(parts),
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha384 => run::<Sha384>(parts),
            Self::Sha512 => run::<Sha512>(parts),
        }
    }
}

/// Name of a `TPM_ALG_ID`, also of digests that are not computed here; others keep their number.
pub fn name_of(id: u16) -> String {
    let known = match id {
        0x0012 => "sm3_256",
        0x0027 => "sha3_256",
        0x0028 => "sha3_384",
        0x0029 => "sha3_512",
        _ => match Hash::from_id(id) {
            Some(hash) => hash.name(),
            None => return format!("{id:#06x}"),
        },
    };
    known.to_owned()
}

fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut state = D::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().to_vec()
}
