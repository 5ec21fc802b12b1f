//! Makes reports from material: what the security processor, the TDX module and the quoting enclave would do.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm,
};
use sha2::{Digest as _, Sha256};

use crate::error::DeviceError;
use crate::material::Material;

/// Bytes of report data.
pub const DATA: usize = 64;
/// Bytes of a TD report.
pub const TD_REPORT: usize = 1024;

/// Offsets in an SNP report (AMD 56860, table 23).
mod snp {
    pub const VMPL: usize = 0x30;
    pub const DATA: usize = 0x50;
    pub const SIGNED: usize = 0x2a0;
    pub const S: usize = 0x2e8;
    pub const SCALAR: usize = 48;
}

/// Sizes in a TD quote (Intel DCAP, "TDX quote generation library").
mod td {
    pub const HEADER: usize = 48;
    /// Type and size of the body in version 5.
    pub const DESCRIPTOR: usize = 6;
    pub const BODY: usize = 584;
    /// Attributes and measurements within the body; what comes before is about the module.
    pub const INFO: usize = 120;
    /// Report data within the body.
    pub const DATA: usize = 520;
    /// From the first byte after the body to the signature.
    pub const TO_SIGNATURE: usize = 4;
    pub const SIGNATURE: usize = 64;
}

/// Signs with the material that a file holds when it is asked, so that a test changes the platform by
/// replacing the file.
#[derive(Clone, Debug)]
pub struct Signer {
    file: PathBuf,
}

/// An attestation report and the certificates that come with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// SNP report or TD quote.
    pub report: Vec<u8>,
    /// Certificate table; empty for TDX.
    pub certificates: Vec<u8>,
}

impl Signer {
    /// Signs with the material in `file`.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
        }
    }

    /// A report or quote over `data`. `level` is the VMPL asked for; a platform whose own VMPL is less
    /// privileged answers with that.
    ///
    /// # Errors
    /// [`DeviceError`] when the material cannot be used.
    pub fn report(&self, data: &[u8; DATA], level: u32) -> Result<Report, DeviceError> {
        match Material::read(&self.file)? {
            Material::Snp {
                report,
                key,
                certificates,
            } => Ok(Report {
                report: self.snp(report, &key, data, level)?,
                certificates,
            }),
            Material::Tdx { quote, key } => Ok(Report {
                report: self.quote(quote, &key, data)?,
                certificates: Vec::new(),
            }),
        }
    }

    /// A report of an SEV-SNP guest.
    ///
    /// # Errors
    /// As [`Signer::report`]; [`DeviceError::Platform`] when the material is for TDX.
    pub fn snp_report(&self, data: &[u8; DATA], level: u32) -> Result<Report, DeviceError> {
        match Material::read(&self.file)? {
            Material::Snp { .. } => self.report(data, level),
            other => Err(DeviceError::Platform {
                wanted: "SEV-SNP",
                found: other.platform(),
            }),
        }
    }

    /// A TD report over `data`: what only the same machine's quoting enclave could check. Its MAC is a hash.
    ///
    /// # Errors
    /// As [`Signer::report`]; [`DeviceError::Platform`] when the material is for SEV-SNP.
    pub fn td_report(&self, data: &[u8; DATA]) -> Result<Vec<u8>, DeviceError> {
        let quote = match Material::read(&self.file)? {
            Material::Tdx { quote, .. } => quote,
            other => {
                return Err(DeviceError::Platform {
                    wanted: "TDX",
                    found: other.platform(),
                });
            }
        };
        let body = self.body(&quote)?;
        let part = |from: usize, to: usize| {
            quote
                .get(body + from..body + to)
                .ok_or_else(|| self.unusable("quote is too short"))
        };
        let mut out = vec![0; TD_REPORT];
        put(&mut out, 0, &[0x81, 0, 1, 0]);
        put(&mut out, 128, data);
        put(&mut out, 256, &[0xff, 1, 0, 0, 0, 0, 0, 0]);
        put(&mut out, 264, part(0, td::INFO)?);
        put(&mut out, 512, part(td::INFO, td::DATA)?);
        let mac = Sha256::digest(&out);
        put(&mut out, 224, &mac);
        Ok(out)
    }

    /// The quote of a TD report, if it is this platform's and unchanged.
    ///
    /// # Errors
    /// As [`Signer::td_report`].
    pub fn quote_of(&self, report: &[u8; TD_REPORT]) -> Result<Option<Vec<u8>>, DeviceError> {
        let Some(data) = report
            .get(128..)
            .and_then(|rest| rest.first_chunk::<DATA>())
        else {
            return Ok(None);
        };
        // The same measurements and data make the same report, down to its MAC.
        if self.td_report(data)? != report {
            return Ok(None);
        }
        Ok(Some(self.report(data, 0)?.report))
    }

    fn snp(
        &self,
        mut report: Vec<u8>,
        key: &[u8],
        data: &[u8; DATA],
        level: u32,
    ) -> Result<Vec<u8>, DeviceError> {
        let own = report
            .get(snp::VMPL..snp::VMPL + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes)
            .ok_or_else(|| self.unusable("report is too short"))?;
        put(&mut report, snp::VMPL, &own.max(level).to_le_bytes());
        put(&mut report, snp::DATA, data);
        let signed = report
            .get(..snp::SIGNED)
            .ok_or_else(|| self.unusable("report is too short"))?;
        let mut signature = self.sign(&ECDSA_P384_SHA384_FIXED_SIGNING, key, signed)?;
        let mut s = signature.split_off(snp::SCALAR);
        // AMD writes scalars with the least significant byte first.
        signature.reverse();
        s.reverse();
        put(&mut report, snp::SIGNED, &signature);
        put(&mut report, snp::S, &s);
        Ok(report)
    }

    fn quote(
        &self,
        mut quote: Vec<u8>,
        key: &[u8],
        data: &[u8; DATA],
    ) -> Result<Vec<u8>, DeviceError> {
        let body = self.body(&quote)?;
        put(&mut quote, body + td::DATA, data);
        let end = body + self.body_length(&quote, body)?;
        let signed = quote
            .get(..end)
            .ok_or_else(|| self.unusable("quote is too short"))?;
        let signature = self.sign(&ECDSA_P256_SHA256_FIXED_SIGNING, key, signed)?;
        let at = end + td::TO_SIGNATURE;
        if quote.len() < at + td::SIGNATURE {
            return Err(self.unusable("quote is too short"));
        }
        put(&mut quote, at, &signature);
        Ok(quote)
    }

    /// Where the body starts.
    fn body(&self, quote: &[u8]) -> Result<usize, DeviceError> {
        match quote.get(..2) {
            Some([4, 0]) => Ok(td::HEADER),
            Some([5, 0]) => Ok(td::HEADER + td::DESCRIPTOR),
            _ => Err(self.unusable("quote is of no known version")),
        }
    }

    fn body_length(&self, quote: &[u8], body: usize) -> Result<usize, DeviceError> {
        if body == td::HEADER {
            return Ok(td::BODY);
        }
        quote
            .get(body - 4..body)
            .and_then(|bytes| bytes.try_into().ok())
            .map(|size| u32::from_le_bytes(size) as usize)
            .ok_or_else(|| self.unusable("quote is too short"))
    }

    fn sign(
        &self,
        algorithm: &'static EcdsaSigningAlgorithm,
        key: &[u8],
        message: &[u8],
    ) -> Result<Vec<u8>, DeviceError> {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key)
            .map_err(|_| self.unusable("key is no PKCS#8 key of the right curve"))?;
        let signature = pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| self.unusable("key does not sign"))?;
        Ok(signature.as_ref().to_vec())
    }

    fn unusable(&self, problem: &str) -> DeviceError {
        DeviceError::Material {
            path: self.file.display().to_string(),
            problem: problem.to_owned(),
        }
    }
}

/// Overwrites bytes; what does not fit is left out, and the callers' length checks say so.
fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slots) = to.get_mut(at..at + bytes.len()) {
        slots.copy_from_slice(bytes);
    }
}
