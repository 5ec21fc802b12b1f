//! The configuration of a TPM provider.

use crate::CredentialSource;
use serde::Deserialize;

/// Which TPM, and under which conditions it unseals.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The TSS's name of the way to the TPM, `device:/dev/tpmrm0`.
    #[serde(default = "tcti")]
    pub tcti: String,
    /// Password of the owner hierarchy, where it has one.
    pub owner_auth: Option<CredentialSource>,
    /// PCRs (SHA-256 bank) that must be at unwrapping what they were at wrapping.
    #[serde(default)]
    pub pcrs: Vec<u8>,
    /// Name of the primary key, hex, as the probe shows it: another TPM, or something between us and ours, is refused at
    /// wrapping too.
    pub primary_name: Option<String>,
}

fn tcti() -> String {
    "device:/dev/tpmrm0".into()
}

impl Config {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.pcrs.iter().any(|pcr| *pcr > 23) {
            return Some("`pcrs` are numbers from 0 to 23");
        }
        let name = self.primary_name.as_deref().map(hex::decode);
        match name {
            Some(Ok(bytes)) if bytes.len() == super::blob::NAME => None,
            None => None,
            Some(_) => Some("`primary_name` is 34 bytes in hex, `000b…`"),
        }
    }

    /// Bit N: PCR N is in the policy.
    pub(super) fn mask(&self) -> u32 {
        self.pcrs
            .iter()
            .filter(|pcr| **pcr < 24)
            .fold(0, |mask, pcr| mask | 1 << pcr)
    }
}
