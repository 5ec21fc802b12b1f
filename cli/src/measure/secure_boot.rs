//! Secure Boot's state and keys on the command line.

use crate::files;
use crate::outcome::Failure;
use clap::{Args, ValueEnum};
use dawnkey_attest::measure::{
    SecureBoot, SecureBootMode,
    guid::Guid,
    signature_list::{MAX_VARIABLE, of_certificates},
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

/// Mode and key variables. Without `--secure-boot` nothing is known of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Secure Boot")]
pub(super) struct SecureBootArgs {
    /// Whether firmware enforces signatures; `unsupported` is firmware built without Secure Boot
    #[arg(long, value_name = "MODE")]
    secure_boot: Option<Mode>,
    /// Platform key: EFI signature lists, or certificates in PEM or DER
    #[arg(long, value_name = "FILE", requires = "secure_boot")]
    pk: Vec<PathBuf>,
    /// Key exchange keys
    #[arg(long, value_name = "FILE", requires = "secure_boot")]
    kek: Vec<PathBuf>,
    /// Keys and digests that may run; several files are joined in the order given
    #[arg(long, value_name = "FILE", requires = "secure_boot")]
    db: Vec<PathBuf>,
    /// Keys and digests that may not
    #[arg(long, value_name = "FILE", requires = "secure_boot")]
    dbx: Vec<PathBuf>,
    /// GUID that owns the keys which are given as certificates; firmware measures it with them
    #[arg(long, value_name = "GUID", requires = "secure_boot")]
    owner: Option<Guid>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    On,
    Off,
    Unsupported,
}

impl SecureBootArgs {
    /// Reads the keys; `None` where nothing is said of Secure Boot.
    pub(super) fn read(&self) -> Result<Option<SecureBoot>, Failure> {
        let Some(mode) = self.secure_boot else {
            return Ok(None);
        };
        Ok(Some(SecureBoot {
            mode: match mode {
                Mode::On => SecureBootMode::On,
                Mode::Off => SecureBootMode::Off,
                Mode::Unsupported => SecureBootMode::Unsupported,
            },
            pk: self.variable(&self.pk)?,
            kek: self.variable(&self.kek)?,
            db: self.variable(&self.db)?,
            dbx: self.variable(&self.dbx)?,
        }))
    }

    fn variable(&self, paths: &[PathBuf]) -> Result<Vec<u8>, Failure> {
        let mut variable = Vec::new();
        for path in paths {
            let bytes = files::read(path, "the Secure Boot keys", MAX_VARIABLE as u64)?;
            match certificates(&bytes, path)? {
                Some(list) => {
                    let list = list.iter().map(AsRef::as_ref);
                    variable.extend(of_certificates(self.owner(path)?, list));
                }
                None => variable.extend(bytes),
            }
        }
        Ok(variable)
    }

    fn owner(&self, path: &Path) -> Result<Guid, Failure> {
        self.owner.ok_or_else(|| {
            Failure::usage(
                "measure certificates as Secure Boot keys: it is not said who owns them",
                path.display(),
                "--owner with the GUID they are enrolled with, or EFI signature lists",
            )
        })
    }
}

/// Certificates in PEM or DER; `None` for signature lists, whose first bytes are a GUID in use.
fn certificates(
    bytes: &[u8],
    path: &Path,
) -> Result<Option<Vec<CertificateDer<'static>>>, Failure> {
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(Some(vec![CertificateDer::from(bytes.to_vec())]));
    }
    if !bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(None);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(Some(found)),
        _ => Err(Failure::local(
            "read the Secure Boot keys: no certificate in it",
            path.display(),
            "one or more PEM blocks of type CERTIFICATE",
        )),
    }
}
