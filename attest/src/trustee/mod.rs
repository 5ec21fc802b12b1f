//! Evidence in the form in which Trustee's verifiers take it: one JSON value for each kind.
//!
//! | kind | value |
//! |---|---|
//! | SNP | `attestation_report`: the report field by field; `cert_chain`: certificates of the host, or `null` |
//! | TDX | `quote`, `cc_eventlog` (or `null`): base64 |
//! | TPM | `ak_public`: SubjectPublicKeyInfo, base64; `tpm_quote`: `signature` (`TPMT_SIGNATURE`), `message` in base64, 24 `pcrs` in hex |
//! | Azure | version 1: `tpm_quote` in hex, its signature bare; `hcl_report` and `vcek` (DER) or `td_quote` in base64url |
//!
//! Azure's version 2 says that the HCL report carries the report data as well; the quote does that in both, and version 1
//! says no more.

mod snp;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::evidence::{AzureEvidence, Evidence, PcrBank, SnpEvidence, TdxEvidence, VtpmEvidence};
use crate::reader::ReadError;
use crate::snp::auxblob::{CertificateTable, TableError};
use crate::snp::report::ReportError;
use crate::tpm::hash::Hash;
use crate::tpm::public::{Key, Public};
use crate::tpm::signature::{self, Signature};

/// Why evidence has no such form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The report is none.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The certificates are no table.
    #[error(transparent)]
    Certificates(#[from] TableError),
    /// A TPM structure is none.
    #[error("read what the TPM gave: {0}")]
    Tpm(#[from] ReadError),
    /// The quoting key is not of the kind that Trustee's verifier knows.
    #[error(
        "the attestation key signs with {found}; Trustee knows RSASSA only: set `tpm.attestation_key = \"own-rsa\"`"
    )]
    Scheme {
        /// How it signs.
        found: &'static str,
    },
    /// Not all PCRs of SHA-256 are there.
    #[error("the quote is over {found} PCRs of SHA-256; all 24 are shown")]
    Pcrs {
        /// How many are there.
        found: usize,
    },
    /// The metadata service has not given the chip's certificate.
    #[error("the chip's certificate is missing; Trustee does not fetch it for Azure")]
    NoVcek,
    /// No verifier of Trustee takes it.
    #[error("evidence of kind {kind} is none of Trustee's")]
    Kind {
        /// Its kind.
        kind: &'static str,
    },
}

/// The value that stands as `primary_evidence`.
///
/// # Errors
/// [`FormError`]: the evidence cannot be shown in that form.
pub fn primary_evidence(evidence: &Evidence) -> Result<Value, FormError> {
    match evidence {
        Evidence::Snp(evidence) => of_snp(evidence),
        Evidence::Tdx(evidence) => Ok(of_tdx(evidence)),
        Evidence::Vtpm(evidence) => of_vtpm(evidence),
        Evidence::Azure(evidence) => of_azure(evidence),
        Evidence::Part(_) => Err(FormError::Kind {
            kind: evidence.kind(),
        }),
    }
}

fn of_snp(evidence: &SnpEvidence) -> Result<Value, FormError> {
    Ok(json!({
        "attestation_report": snp::report(&evidence.report)?,
        "cert_chain": snp::certificates(&evidence.certificates)?,
    }))
}

fn of_tdx(evidence: &TdxEvidence) -> Value {
    let log = Some(&evidence.event_log).filter(|log| !log.is_empty());
    json!({
        "quote": STANDARD.encode(&evidence.quote),
        "cc_eventlog": log.map(|log| STANDARD.encode(log)),
    })
}

fn of_vtpm(evidence: &VtpmEvidence) -> Result<Value, FormError> {
    let key = Public::parse(&evidence.ak_public)?.key;
    if let Key::Ecc { .. } = key {
        return Err(FormError::Scheme { found: "ECDSA" });
    }
    bare(&evidence.signature)?;
    Ok(json!({
        "ak_public": STANDARD.encode(key.spki()),
        "tpm_quote": {
            "signature": STANDARD.encode(&evidence.signature),
            "message": STANDARD.encode(&evidence.quote),
            "pcrs": pcrs(&evidence.pcrs)?,
        },
    }))
}

fn of_azure(evidence: &AzureEvidence) -> Result<Value, FormError> {
    let mut value = json!({
        "version": 1,
        "tpm_quote": {
            "signature": hex::encode(bare(&evidence.signature)?),
            "message": hex::encode(&evidence.quote),
            "pcrs": pcrs(&evidence.pcrs)?,
        },
        "hcl_report": URL_SAFE.encode(&evidence.hcl_report),
    });
    let (member, bytes) = match evidence.td_quote.is_empty() {
        false => ("td_quote", evidence.td_quote.clone()),
        true => {
            let table = CertificateTable::parse(&evidence.certificates)?;
            ("vcek", table.vcek.ok_or(FormError::NoVcek)?)
        }
    };
    if let Some(object) = value.as_object_mut() {
        object.insert(member.into(), URL_SAFE.encode(bytes).into());
    }
    Ok(value)
}

/// The bytes of an RSASSA signature.
fn bare(signature: &[u8]) -> Result<Vec<u8>, FormError> {
    match Signature::parse(signature)?.value {
        signature::Value::RsaSsa(bytes) => Ok(bytes),
        signature::Value::RsaPss(_) => Err(FormError::Scheme { found: "RSAPSS" }),
        signature::Value::Ecdsa { .. } => Err(FormError::Scheme { found: "ECDSA" }),
    }
}

/// All PCRs of SHA-256 by their numbers, hexadecimal.
fn pcrs(banks: &[PcrBank]) -> Result<Vec<String>, FormError> {
    let sha256 = banks
        .iter()
        .filter(|bank| bank.alg == u32::from(Hash::Sha256.id()));
    let values: Vec<_> = sha256.flat_map(|bank| &bank.values).collect();
    let ordered = (0..24).filter_map(|index| values.iter().find(|value| value.index == index));
    let ordered: Vec<_> = ordered.map(|value| hex::encode(&value.digest)).collect();
    match ordered.len() {
        24 => Ok(ordered),
        found => Err(FormError::Pcrs { found }),
    }
}

#[cfg(test)]
mod tests;
