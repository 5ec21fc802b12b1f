//! SNP reports and TD quotes.

use dawnkey_attest::{
    evidence::{Evidence, SnpEvidence, TdxCollateral, TdxEvidence},
    snp::{
        auxblob::CertificateTable,
        report::{Report, SigningKey},
    },
};

use crate::case::{Case, CorpusError, field};

pub(super) fn snp(case: &Case) -> Result<Evidence, CorpusError> {
    let report = case.needed("report")?;
    let certificates = certificates(case, Some(&report))?;
    Ok(Evidence::Snp(Box::new(SnpEvidence {
        report,
        certificates,
    })))
}

/// The certificates of a case as a host hands them over. Where there are a VCEK and a VLEK, the report says which.
pub(super) fn certificates(case: &Case, report: Option<&[u8]>) -> Result<Vec<u8>, CorpusError> {
    let mut table = CertificateTable {
        vcek: case.der("vcek")?,
        vlek: case.der("vlek")?,
        intermediates: case.ders(&["ask", "asvk"])?,
        ark: case.der("ark")?,
        ..CertificateTable::default()
    };
    if table.vcek.is_some() && table.vlek.is_some() {
        let report = report.and_then(|bytes| Report::parse(bytes).ok());
        match report.map(|report| report.signing_key()) {
            Some(SigningKey::Vlek) => table.vcek = None,
            _ => table.vlek = None,
        }
    }
    Ok(if table == CertificateTable::default() {
        Vec::new()
    } else {
        table.encode()
    })
}

pub(super) fn tdx(case: &Case) -> Result<Evidence, CorpusError> {
    Ok(Evidence::Tdx(Box::new(TdxEvidence {
        quote: case.needed("quote")?,
        event_log: case.file("event_log")?.unwrap_or_default(),
        collateral: collateral(case)?,
    })))
}

/// All parts of Intel's collateral, or `None` where one was not recorded.
pub(crate) fn collateral(case: &Case) -> Result<Option<TdxCollateral>, CorpusError> {
    let roles = [
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    ];
    let mut files = Vec::with_capacity(roles.len());
    for role in roles {
        let Some(bytes) = case.file(role)? else {
            return Ok(None);
        };
        files.push(match role {
            "tcb_info_signature" | "qe_identity_signature" => unhex(role, bytes)?,
            "root_ca_crl" | "pck_crl" => case.der(role)?.unwrap_or_default(),
            _ => bytes,
        });
    }
    let mut files = files.into_iter();
    let mut next = || files.next().unwrap_or_default();
    Ok(Some(TdxCollateral {
        pck_crl_issuer_chain: next(),
        root_ca_crl: next(),
        pck_crl: next(),
        tcb_info_issuer_chain: next(),
        tcb_info: next(),
        tcb_info_signature: next(),
        qe_identity_issuer_chain: next(),
        qe_identity: next(),
        qe_identity_signature: next(),
    }))
}

/// A signature as hex text; 64 bytes are taken as they are.
fn unhex(role: &str, bytes: Vec<u8>) -> Result<Vec<u8>, CorpusError> {
    if bytes.len() == 64 {
        return Ok(bytes);
    }
    hex::decode(bytes.trim_ascii()).map_err(|error| field(role, error))
}
