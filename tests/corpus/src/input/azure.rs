//! Azure's HCL report with the vTPM's quote.

use dawnkey_attest::{
    azure::HclReport,
    evidence::{AzureEvidence, Evidence, PcrBank, PcrValue},
};

use super::{pcrs, tee};
use crate::case::{Case, CorpusError};

/// `TPM_ALG_RSASSA` and `TPM_ALG_SHA256`, which begin a `TPMT_SIGNATURE` of the vTPM.
const RSASSA_SHA256: [u8; 4] = [0x00, 0x14, 0x00, 0x0b];

pub(super) fn evidence(case: &Case) -> Result<Evidence, CorpusError> {
    let hcl_report = case.needed("hcl_report")?;
    let hcl = HclReport::parse(&hcl_report).ok();
    let certificates = tee::certificates(case, hcl.map(|hcl| hcl.hardware))?;
    let signature = case.file("tpm_quote_sig")?;
    Ok(Evidence::Azure(Box::new(AzureEvidence {
        hcl_report,
        quote: case.file("tpm_quote_msg")?.unwrap_or_default(),
        signature: signature
            .map(|bytes| structured(&bytes))
            .unwrap_or_default(),
        pcrs: banks(case)?,
        event_log: case.file("event_log")?.unwrap_or_default(),
        certificates,
        td_quote: case.file("quote")?.unwrap_or_default(),
        td_collateral: tee::collateral(case)?,
        ak_certificate: case.der("ak_cert")?.unwrap_or_default(),
        ak_chain: case.ders(&["ak_intermediate", "ak_intermediate2"])?,
    })))
}

/// `TPMT_SIGNATURE` of a bare RSASSA signature; one that has its header is taken as it is.
fn structured(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    match bytes.len() {
        256 | 384 | 512 => [&RSASSA_SHA256, &length[..], bytes].concat(),
        _ => bytes.to_vec(),
    }
}

fn banks(case: &Case) -> Result<Vec<PcrBank>, CorpusError> {
    let banks = pcrs::of_file(case, "pcrs")?.into_iter();
    let banks = banks.map(|(bank, values)| PcrBank {
        alg: bank.id().into(),
        values: values
            .into_iter()
            .map(|(index, digest)| PcrValue {
                index: index.into(),
                digest,
            })
            .collect(),
    });
    Ok(banks.collect())
}
