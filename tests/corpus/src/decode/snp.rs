//! SNP reports.

use dawnkey_attest::snp::{
    auxblob::CertificateTable,
    certs::Certificate,
    claims::{ReportClaims, SnpClaims, VekClaims},
    report::Report,
    vek::Vek,
};
use serde_json::{Map, Value, json};

pub(super) fn fields(claims: &SnpClaims) -> Map<String, Value> {
    match json!(claims) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

pub(super) fn read(report: &[u8], certificates: &[u8]) -> Map<String, Value> {
    let mut out = Map::new();
    let table = CertificateTable::parse(certificates).unwrap_or_default();
    let vek = table.vlek.or(table.vcek).and_then(|der| {
        let certificate = Certificate::parse(&der).ok()?;
        Some((Vek::parse(&certificate).ok()?, certificate))
    });
    if let Ok(report) = Report::parse(report) {
        let layout = vek.as_ref().map(|(vek, _)| vek.layout());
        let layout = layout.unwrap_or_else(|| report.tcb_layout());
        out.insert(
            "report".to_owned(),
            json!(ReportClaims::new(&report, layout)),
        );
    }
    if let Some((vek, certificate)) = &vek {
        out.insert("product".to_owned(), json!(vek.product()));
        out.insert("vek".to_owned(), json!(VekClaims::new(certificate, vek)));
    }
    out
}
