//! What a stand-in signs, and with which key: one JSON file per platform, made on the host.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::error::{DeviceError, IoContext as _};

/// One platform. Byte strings are hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "platform", rename_all = "kebab-case")]
pub enum Material {
    /// A SEV-SNP guest.
    Snp {
        /// The report without report data and signature, 1184 bytes.
        #[serde(with = "hex::serde")]
        report: Vec<u8>,
        /// Private key of the VCEK or VLEK, PKCS#8.
        #[serde(with = "hex::serde")]
        key: Vec<u8>,
        /// The host's certificate table (GHCB), as the firmware hands it out: whole pages.
        #[serde(with = "hex::serde")]
        certificates: Vec<u8>,
    },
    /// A TDX guest.
    Tdx {
        /// A quote of version 4 or 5 whose report data and signature are replaced.
        #[serde(with = "hex::serde")]
        quote: Vec<u8>,
        /// Private attestation key of the quoting enclave, PKCS#8.
        #[serde(with = "hex::serde")]
        key: Vec<u8>,
    },
}

impl Material {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DeviceError::Io`], [`DeviceError::Material`].
    pub fn read(path: &Path) -> Result<Self, DeviceError> {
        let text = std::fs::read(path).doing(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| DeviceError::Material {
            path: path.display().to_string(),
            problem: e.to_string(),
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), DeviceError> {
        let text = serde_json::to_vec(self).map_err(|e| DeviceError::Material {
            path: path.display().to_string(),
            problem: e.to_string(),
        })?;
        std::fs::write(path, text).doing(|| format!("write {}", path.display()))
    }

    /// Name of the platform.
    #[must_use]
    pub fn platform(&self) -> &'static str {
        match self {
            Material::Snp { .. } => "SEV-SNP",
            Material::Tdx { .. } => "TDX",
        }
    }
}

/// PEM of a certificate.
#[must_use]
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
