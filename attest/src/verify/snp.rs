//! SNP evidence: the report with the certificates beside it, or those of the verifier.

use rustls_pki_types::UnixTime;

use super::{Collateral, Roots};
use crate::{
    claims::{Claims, TrustClass},
    evidence::{Binder, KIND_SNP, SnpEvidence},
    snp::{
        self, SnpError, SnpVerified, auxblob::CertificateTable, chain::Collateral as Certificates,
        claims::SnpClaims, policy::PolicyError,
    },
};

pub(super) fn verify(
    evidence: &SnpEvidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Claims, SnpError> {
    let report = &evidence.report;
    let verified = report_of(report, &evidence.certificates, roots, collateral, now)?;
    let found = verified.report().report_data;
    if !binder.admits_report_data(&found) {
        let found = hex::encode(found);
        return Err(SnpError::Policy(PolicyError::ReportDataMismatch { found }));
    }
    let mut claims = Claims::new(KIND_SNP, Some(TrustClass::Tee), binder);
    claims.snp = Some(SnpClaims::from(&verified));
    claims.source(
        "snp.report",
        "the report's fields, signed by the endorsed key",
    );
    claims.source("snp.vek", "the endorsement certificate, signed by AMD");
    Ok(claims)
}

/// Verifies a report with the certificates of `table`; what the table lacks is looked up in `collateral`.
pub(crate) fn report_of(
    report: &[u8],
    table: &[u8],
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<SnpVerified, SnpError> {
    let table = match table {
        [] => CertificateTable::default(),
        bytes => CertificateTable::parse(bytes)?,
    };
    let stored = collateral.snp_vek(report);
    let own = table.vlek.as_deref().or(table.vcek.as_deref());
    let intermediates: Vec<&[u8]> = table.intermediates.iter().map(Vec::as_slice).collect();
    let ark: Vec<&[u8]> = table.ark.iter().map(Vec::as_slice).collect();
    let crls = table.crl.iter().chain(&collateral.snp_crls);
    let crls: Vec<&[u8]> = crls.map(Vec::as_slice).collect();
    let certificates = Certificates {
        vek: own.or(stored),
        intermediates: &intermediates,
        roots: &ark,
        crls: &crls,
    };
    let cache = Some(&collateral.cache.snp);
    snp::verify::verify(report, &certificates, &roots.snp, roots.snp_crl, now, cache)
}
