//! Import: files of an export or of a vendor, whatever their names, each checked and put where it belongs.
//!
//! Recognised by content: certificates and revocation lists in DER or PEM, answers of Intel's provisioning service
//! (JSON), the inner objects of such answers with their signature in hex beside them (`x.json`, `x.sig`). Issuer chains
//! are taken from PEM files and from saved response headers (`…-Issuer-Chain: …`) among the files.

use std::path::{Path, PathBuf};

use dawnkey_attest::snp::certs::Certificate;
use serde::Deserialize;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::answer::{self, Kind, chain_of_header};
use crate::check::{CheckError, Checked, Helpers, check, documents};
use crate::item::Item;
use crate::store::{Put, Store, StoreError};

/// Largest PEM file that is read as an issuer chain.
const MAX_CHAIN: usize = 32 << 10;

/// A file to be imported: its name, for messages and to find what lies beside it, and its bytes.
pub type SourceFile = (PathBuf, Vec<u8>);

/// What became of a file, or of one document of it.
#[derive(Debug)]
pub struct Imported {
    /// The file.
    pub path: PathBuf,
    /// The item and what was done with it, or why the file is refused.
    pub outcome: Result<(Item, Put), ImportError>,
}

/// Why a file is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not what a store may hold.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Imports files. Files that only help to check others, chains and headers, are not told of unless nothing needed
/// them. Never stops at a file that is refused.
///
/// # Errors
/// [`StoreError::Io`] if the store cannot be read at all.
pub fn import(store: &Store, files: &[SourceFile], now: u64) -> Result<Vec<Imported>, StoreError> {
    let mut helpers = store.all_helpers()?;
    for (_, bytes) in files {
        help(bytes, &mut helpers);
    }
    let trust = store.trust();
    let mut found: Vec<(PathBuf, Result<Checked, CheckError>)> = Vec::new();
    for (path, bytes) in files {
        if is_headers(bytes) || is_signature(path, files) {
            continue;
        }
        let vlek = path.to_string_lossy().to_ascii_lowercase().contains("vlek");
        match documents_of(path, bytes, files) {
            Ok(documents) => found.extend(documents.iter().map(|document| {
                let checked = check(document, vlek, &trust, &helpers, now);
                (path.clone(), checked)
            })),
            Err(error) => found.push((path.clone(), Err(error))),
        }
    }
    let needed = |path: &PathBuf| {
        let bytes = files
            .iter()
            .find(|(name, _)| name == path)
            .map(|(_, bytes)| bytes);
        found
            .iter()
            .filter_map(|(_, checked)| checked.as_ref().ok()?.chain.as_ref())
            .any(|chain| Some(chain) == bytes)
    };
    let chains: Vec<PathBuf> = found
        .iter()
        .filter(|(path, checked)| checked.is_err() && needed(path))
        .map(|(path, _)| path.clone())
        .collect();
    found.retain(|(path, checked)| checked.is_ok() || !chains.contains(path));
    // Authorities before what they sign: an item is checked against the store when it is loaded.
    found.sort_by(|(_, a), (_, b)| item(a).cmp(&item(b)));
    let put = |(path, checked): (PathBuf, Result<Checked, CheckError>)| Imported {
        outcome: checked.map_err(ImportError::from).and_then(|checked| {
            let put = store.put(&checked, now)?;
            Ok((checked.item, put))
        }),
        path,
    };
    Ok(found.into_iter().map(put).collect())
}

fn item(checked: &Result<Checked, CheckError>) -> Option<&Item> {
    checked.as_ref().ok().map(|checked| &checked.item)
}

/// Takes from a file what may stand between roots and other files.
fn help(bytes: &[u8], helpers: &mut Helpers) {
    if is_headers(bytes) {
        helpers.chains.extend(chains_of_headers(bytes));
        return;
    }
    let Ok(documents) = documents(bytes) else {
        return;
    };
    let mut of_amd = false;
    for der in documents {
        let name = Certificate::parse(&der)
            .ok()
            .and_then(|certificate| certificate.common_name().map(str::to_owned))
            .unwrap_or_default();
        of_amd |= name.starts_with("SEV-") || name.starts_with("ARK-");
        match name.as_str() {
            "SEV-VCEK" | "SEV-VLEK" => {}
            name if name.starts_with("SEV-") => helpers.authorities.push(der),
            _ if of_amd => {}
            _ => {
                if X509Certificate::from_der(&der).is_ok_and(|(_, x509)| x509.is_ca()) {
                    helpers.tpm.push(der);
                }
            }
        }
    }
    let pem = bytes
        .windows(27)
        .any(|window| window == b"-----BEGIN CERTIFICATE-----");
    if pem && !of_amd && bytes.len() <= MAX_CHAIN {
        helpers.chains.push(bytes.to_vec());
    }
}

/// Whether a file is saved response headers with an issuer chain.
fn is_headers(bytes: &[u8]) -> bool {
    !chains_of_headers(bytes).is_empty()
}

fn chains_of_headers(bytes: &[u8]) -> Vec<Vec<u8>> {
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let value = value.get(1..)?.trim_ascii();
        let chain = name.to_ascii_lowercase().ends_with(b"issuer-chain");
        (chain && value.len() <= MAX_CHAIN)
            .then(|| chain_of_header(value))
            .flatten()
    };
    match bytes.first() {
        // Neither DER nor JSON has lines.
        Some(b'0' | b'{') | None => Vec::new(),
        _ => bytes
            .split(|byte| *byte == b'\n')
            .filter_map(header)
            .collect(),
    }
}

/// Whether a file is the signature of a JSON file beside it.
fn is_signature(path: &Path, files: &[SourceFile]) -> bool {
    path.extension().is_some_and(|end| end == "sig")
        && files
            .iter()
            .any(|(other, _)| *other == path.with_extension("json"))
}

#[derive(Deserialize)]
struct Inner {
    id: String,
}

/// The documents of a file; an inner object is put together with the signature beside it.
fn documents_of(
    path: &Path,
    bytes: &[u8],
    files: &[SourceFile],
) -> Result<Vec<Vec<u8>>, CheckError> {
    let documents = documents(bytes)?;
    let (true, [text]) = (
        bytes.trim_ascii_start().first() == Some(&b'{'),
        documents.as_slice(),
    ) else {
        return Ok(documents);
    };
    let beside = path.with_extension("sig");
    let signature = files
        .iter()
        .find(|(other, _)| *other == beside)
        .and_then(|(_, text)| hex::decode(text.trim_ascii()).ok());
    let (None, Some(signature)) = (answer::parse(text), signature) else {
        return Ok(documents);
    };
    let kind = match serde_json::from_slice::<Inner>(text) {
        Ok(inner) if inner.id == "TD_QE" => Kind::QeIdentity,
        _ => Kind::TcbInfo,
    };
    // As it stands, byte for byte: space around it was signed too, if there is any.
    Ok(vec![answer::write(kind, bytes, &signature)])
}
