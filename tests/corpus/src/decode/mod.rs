//! What evidence says, in the field names of the list.

mod parts;
mod snp;
mod tdx;

use dawnkey_attest::{
    azure::{HclClaims, HclReport, hcl::HardwareKind},
    claims::{Claims, TpmClaims},
    evidence::{AzureEvidence, Evidence},
    verify::part,
};
use serde_json::{Map, Value, json};

use crate::{case::Case, input::Input};

/// What verified evidence says.
pub fn of_claims(case: &Case, input: &Input, claims: &Claims) -> Value {
    let mut out = Map::new();
    if let Some(snp) = &claims.snp {
        out.extend(snp::fields(snp));
    }
    if let Some(tdx) = &claims.tdx {
        out.extend(tdx::fields(input, tdx));
    }
    if let Some(azure) = &claims.azure {
        out.insert("hcl".to_owned(), json!(azure));
    }
    if let Some(tpm) = &claims.tpm {
        out.extend(tpm_fields(tpm));
    }
    if let Some(part) = &claims.part {
        out.extend(parts::fields(case, part));
    }
    Value::Object(out)
}

/// What refused evidence says, as far as it can be read.
pub fn of_refused(case: &Case, input: &Input) -> Value {
    let mut out = Map::new();
    match &input.evidence {
        Evidence::Snp(evidence) => out.extend(snp::read(&evidence.report, &evidence.certificates)),
        Evidence::Tdx(evidence) => out.extend(tdx::read(input, &evidence.quote)),
        Evidence::Azure(evidence) => out.extend(azure(input, evidence)),
        Evidence::Part(part) => {
            if let Ok(claims) = part::read(part) {
                out.extend(parts::fields(case, &claims));
            }
        }
        Evidence::Vtpm(_) => {}
    }
    Value::Object(out)
}

fn azure(input: &Input, evidence: &AzureEvidence) -> Map<String, Value> {
    let mut out = Map::new();
    if let Ok(claims) = HclClaims::read(&evidence.hcl_report) {
        out.insert("hcl".to_owned(), json!(claims));
    }
    match HclReport::parse(&evidence.hcl_report) {
        Ok(hcl) if hcl.kind == HardwareKind::Snp => {
            out.extend(snp::read(hcl.hardware, &evidence.certificates));
        }
        _ => out.extend(tdx::read(input, &evidence.td_quote)),
    }
    if let Ok(quote) = part::claims::QuoteClaims::read(&evidence.quote) {
        out.insert("tpm".to_owned(), json!(quote));
    }
    out
}

fn tpm_fields(tpm: &TpmClaims) -> Map<String, Value> {
    let mut fields = json!(tpm);
    fields["firmware_version"] = json!(format!("{:016x}", tpm.firmware_version));
    let mut out = Map::from_iter([("tpm".to_owned(), fields)]);
    if let Some(certificate) = &tpm.attestation_key_certificate {
        out.insert("ak_subject".to_owned(), json!(certificate.subject));
        out.insert("ak_issuer".to_owned(), json!(certificate.issuer));
        out.insert("ak_not_before".to_owned(), json!(certificate.not_before));
        out.insert("ak_not_after".to_owned(), json!(certificate.not_after));
        out.insert(
            "ak_trailing_bytes".to_owned(),
            json!(certificate.trailing_bytes),
        );
    }
    out
}
