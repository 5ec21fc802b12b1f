//! The production verifier, told to trust the mock manufacturers.

use std::path::Path;

use dawnkey_attest::claims::Claims;
use dawnkey_attest::evidence::{Binder, Evidence, SnpEvidence, TdxCollateral, TdxEvidence};
use dawnkey_attest::snp::CrlRule;
use dawnkey_attest::tdx::TdxRoots;
use dawnkey_attest::verify::roots::certificates_from_pem;
use dawnkey_attest::verify::{self, Collateral, Roots};
use jiff::Timestamp;
use prost::Message as _;
use rustls_pki_types::UnixTime;

use crate::error::{DeviceError, IoContext as _};

/// What a device gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// SNP report and certificate table.
    Snp(Vec<u8>, Vec<u8>),
    /// TD quote.
    Tdx(Vec<u8>),
}

/// Verifies it with the roots and the collateral in `dir`, now. `data` is the report data that was
/// asked for.
///
/// # Errors
/// [`DeviceError::Pki`] with the verifier's refusal.
pub fn verify(dir: &Path, given: Given, data: &[u8]) -> Result<Claims, DeviceError> {
    let evidence = match given {
        Given::Snp(report, certificates) => Evidence::Snp(Box::new(SnpEvidence {
            report,
            certificates,
        })),
        Given::Tdx(quote) => Evidence::Tdx(Box::new(TdxEvidence {
            quote,
            ..TdxEvidence::default()
        })),
    };
    let roots = roots(dir)?;
    let collateral = Collateral {
        tdx: vec![TdxCollateral::decode(read(dir, "intel.collateral")?.as_slice()).map_err(pki)?],
        ..Collateral::default()
    };
    let seconds = Timestamp::now().as_second().unsigned_abs();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let binder = Binder::Value(data.to_vec());
    verify::verify(&evidence, &binder, &roots, &collateral, now)
        .map(|verified| verified.claims().clone())
        .map_err(pki)
}

/// The mock manufacturers' roots, as a key service would be told them.
pub(super) fn roots(dir: &Path) -> Result<Roots, DeviceError> {
    let root = |name: &str| certificates_from_pem(&read(dir, name)?).map_err(pki);
    let (amd, intel) = (root("amd-root.pem")?, root("intel-root.pem")?);
    Ok(Roots {
        snp: dawnkey_attest::snp::roots::Roots::new(amd.iter().map(Vec::as_slice)).map_err(pki)?,
        snp_crl: CrlRule::Required,
        tdx: TdxRoots::new(intel.iter().map(Vec::as_slice)).map_err(pki)?,
        ..Roots::default()
    })
}

fn read(dir: &Path, name: &str) -> Result<Vec<u8>, DeviceError> {
    let path = dir.join(name);
    std::fs::read(&path).doing(|| format!("read {}", path.display()))
}

fn pki(error: impl std::fmt::Display) -> DeviceError {
    DeviceError::Pki(error.to_string())
}
