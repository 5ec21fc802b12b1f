//! `[roots]`: whom to trust, kind by kind. What is not named is not trusted.

use super::{PolicyError, value};
use dawnkey_attest::snp::{CrlRule, SnpError, certs::Certificate, roots::Roots as AmdRoots};
use dawnkey_attest::tdx::TdxRoots;
use dawnkey_attest::verify::Roots;
use dawnkey_attest::verify::roots::certificates_from_pem;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    #[serde(default)]
    tpm_ek: Vec<String>,
    #[serde(default)]
    tpm_ak: Vec<String>,
    amd: Option<Vendor>,
    intel: Option<Vendor>,
    #[serde(default = "yes")]
    require_crl: bool,
}

fn yes() -> bool {
    true
}

/// The vendor's own roots, or files.
#[derive(Deserialize)]
#[serde(untagged, expecting = "\"built-in\" or a list of files")]
enum Vendor {
    Word(Word),
    Files(Vec<String>),
}

#[derive(Deserialize)]
enum Word {
    #[serde(rename = "built-in")]
    BuiltIn,
}

pub(super) fn read(path: &Path, entry: &Entry) -> Result<Roots, PolicyError> {
    let mut roots = Roots {
        tpm_ek: files(path, "roots.tpm_ek", &entry.tpm_ek)?,
        tpm_ak: files(path, "roots.tpm_ak", &entry.tpm_ak)?,
        ..Roots::default()
    };
    roots.snp_crl = match entry.require_crl {
        true => CrlRule::Required,
        false => CrlRule::IfPresent,
    };
    let unusable = |key: &str, e: &dyn std::fmt::Display| value(path, key.into(), e.to_string());
    match &entry.amd {
        None => {}
        Some(Vendor::Word(Word::BuiltIn)) => {
            roots.snp = AmdRoots::amd().map_err(|e| unusable("roots.amd", &e))?;
        }
        Some(Vendor::Files(names)) => {
            let ders = some(path, "roots.amd", names)?;
            roots.snp = amd(&ders).map_err(|e| unusable("roots.amd", &e))?;
            if roots.snp.roots().is_empty() {
                return Err(unusable("roots.amd", &"no certificate in it is a root"));
            }
        }
    }
    match &entry.intel {
        None => {}
        Some(Vendor::Word(Word::BuiltIn)) => {
            roots.tdx = TdxRoots::intel().map_err(|e| unusable("roots.intel", &e))?;
        }
        Some(Vendor::Files(names)) => {
            let ders = some(path, "roots.intel", names)?;
            roots.tdx = TdxRoots::new(ders.iter().map(Vec::as_slice))
                .map_err(|e| unusable("roots.intel", &e))?;
        }
    }
    Ok(roots)
}

/// Certificates that name themselves as issuer are trusted, the others help to find paths.
fn amd(ders: &[Vec<u8>]) -> Result<AmdRoots, SnpError> {
    let is_root = |der: &&[u8]| {
        Certificate::parse(der).is_ok_and(|certificate| certificate.subject == certificate.issuer)
    };
    let (roots, others): (Vec<&[u8]>, Vec<&[u8]>) =
        ders.iter().map(Vec::as_slice).partition(is_root);
    AmdRoots::new(roots)?.with_intermediates(others)
}

fn some(path: &Path, key: &str, names: &[String]) -> Result<Vec<Vec<u8>>, PolicyError> {
    if names.is_empty() {
        let problem = "must be \"built-in\" or a list of files; leave it out to trust nobody";
        return Err(value(path, key.to_owned(), problem));
    }
    files(path, key, names)
}

fn files(path: &Path, key: &str, names: &[String]) -> Result<Vec<Vec<u8>>, PolicyError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut all = Vec::new();
    for name in names {
        let file = directory.join(name);
        let pem = std::fs::read(&file).map_err(|source| PolicyError::Read {
            path: file.clone(),
            source,
        })?;
        let found = certificates_from_pem(&pem);
        all.extend(found.map_err(|e| value(path, key.to_owned(), format!("{name}: {e}")))?);
    }
    Ok(all)
}
