//! Reading evidence without verifying it.

use dawnkey_attest::azure::HclClaims;
use dawnkey_attest::azure::hcl::{HardwareKind, HclReport};
use dawnkey_attest::claims::{PcrSelection, TpmClaims};
use dawnkey_attest::evidence::{
    AzureEvidence, Evidence, PcrBank, SnpEvidence, TdxEvidence, VtpmEvidence,
};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::certs::Certificate;
use dawnkey_attest::snp::claims::{ReportClaims, VekClaims};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::report::Report;
use dawnkey_attest::snp::tcb::TcbLayout;
use dawnkey_attest::snp::vek::Vek;
use dawnkey_attest::tdx::quote::{TdReport, TdReport15};
use dawnkey_attest::tdx::{PlatformClaims, Quote};
use dawnkey_attest::tpm::attest::Quote as TpmQuote;
use dawnkey_attest::tpm::hash::{Hash, name_of};
use dawnkey_attest::tpm::public::Public;
use dawnkey_attest::tpm::signature::Signature;
use serde::Serialize;
use std::collections::BTreeMap;

/// What evidence says, as `--json` shows it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Shown {
    /// Always false: to be looked at by whoever reads this.
    pub verified: bool,
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportClaims>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vek: Vec<VekClaims>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub td: Option<TdReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub td15: Option<TdReport15>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformClaims>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<HclClaims>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmClaims>,
    #[serde(skip)]
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// What else is there, by name and size.
    pub parts: Vec<String>,
}

type Read = Result<(), String>;

/// Reads evidence; what is not what it should be is an error, for there is nothing to show of it.
pub(super) fn read(evidence: &Evidence) -> Result<Shown, String> {
    let mut shown = Shown {
        kind: evidence.kind(),
        ..Shown::default()
    };
    match evidence {
        Evidence::Snp(snp) => shown.snp(snp)?,
        Evidence::Tdx(tdx) => shown.tdx(tdx)?,
        Evidence::Azure(azure) => shown.azure(azure)?,
        Evidence::Vtpm(vtpm) => shown.vtpm(vtpm)?,
        Evidence::Part(_) => return Err("a piece of evidence is not shown here".to_owned()),
    }
    Ok(shown)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Shown {
    fn snp(&mut self, snp: &SnpEvidence) -> Read {
        self.certificates(&snp.certificates)?;
        self.report(&snp.report)
    }

    fn report(&mut self, bytes: &[u8]) -> Read {
        let report = Report::parse(bytes).map_err(text)?;
        let cpu = report
            .cpuid
            .and_then(|cpu| Product::from_cpuid(cpu.family, cpu.model));
        let certified = self
            .vek
            .first()
            .and_then(|vek| Product::from_certificate_name(&vek.product));
        // Reports of version 2 do not say, and are of lines with the old layout.
        let product = certified.or(cpu).unwrap_or(Product::Milan);
        self.report = Some(ReportClaims::new(&report, TcbLayout::of(&product)));
        Ok(())
    }

    fn certificates(&mut self, table: &[u8]) -> Read {
        let table = CertificateTable::parse(table).map_err(text)?;
        for der in [&table.vcek, &table.vlek].into_iter().flatten() {
            let certificate = Certificate::parse(der).map_err(text)?;
            let vek = Vek::parse(&certificate).map_err(text)?;
            self.vek.push(VekClaims::new(&certificate, &vek));
        }
        let others = table.intermediates.len() + usize::from(table.ark.is_some());
        self.part("certificates of CAs", others, "");
        self.part(
            "revocation list",
            table.crl.map_or(0, |crl| crl.len()),
            " bytes",
        );
        Ok(())
    }

    fn tdx(&mut self, tdx: &TdxEvidence) -> Read {
        self.quote(&tdx.quote)?;
        self.part("event log", tdx.event_log.len(), " bytes");
        self.part("collateral", usize::from(tdx.collateral.is_some()), "");
        Ok(())
    }

    fn quote(&mut self, bytes: &[u8]) -> Read {
        let quote = Quote::parse(bytes).map_err(text)?;
        self.platform = Some(PlatformClaims::read(&quote).map_err(text)?);
        self.td = Some(quote.report.clone());
        self.td15 = quote.report15.clone();
        Ok(())
    }

    fn azure(&mut self, azure: &AzureEvidence) -> Read {
        self.azure = Some(HclClaims::read(&azure.hcl_report).map_err(text)?);
        let hcl = HclReport::parse(&azure.hcl_report).map_err(text)?;
        self.certificates(&azure.certificates)?;
        match hcl.kind {
            HardwareKind::Snp => self.report(hcl.hardware)?,
            HardwareKind::Tdx if azure.td_quote.is_empty() => {}
            HardwareKind::Tdx => self.quote(&azure.td_quote)?,
        }
        if !azure.quote.is_empty() {
            self.tpm = Some(tpm(&azure.quote, &azure.signature, None)?);
        }
        self.pcrs = pcrs(&azure.pcrs);
        self.part("event log", azure.event_log.len(), " bytes");
        self.part(
            "certificate of the attestation key",
            azure.ak_certificate.len(),
            " bytes",
        );
        Ok(())
    }

    fn vtpm(&mut self, vtpm: &VtpmEvidence) -> Read {
        self.tpm = Some(tpm(&vtpm.quote, &vtpm.signature, Some(&vtpm.ak_public))?);
        self.pcrs = pcrs(&vtpm.pcrs);
        self.part("event log", vtpm.event_log.len(), " bytes");
        self.part(
            "certificate of the endorsement key",
            vtpm.ek_certificate.len(),
            " bytes",
        );
        self.part(
            "certificate of the attestation key",
            vtpm.ak_certificate.len(),
            " bytes",
        );
        Ok(())
    }

    fn part(&mut self, name: &str, size: usize, unit: &str) {
        if size > 0 {
            self.parts.push(format!("{name}: {size}{unit}"));
        }
    }
}

fn tpm(quote: &[u8], signature: &[u8], key: Option<&[u8]>) -> Result<TpmClaims, String> {
    let quote = TpmQuote::parse(quote).map_err(text)?;
    let signature = Signature::parse(signature).map_err(text)?;
    let key = match key {
        Some(bytes) => Some(Public::parse(bytes).map_err(text)?),
        None => None,
    };
    let select = quote.selections.iter().map(|one| PcrSelection {
        bank: name_of(one.bank),
        pcrs: one.pcrs.clone(),
    });
    Ok(TpmClaims {
        attestation_key_name: key
            .as_ref()
            .map(|key| hex::encode(key.name()))
            .unwrap_or_default(),
        attestation_key_spki_sha256: key
            .as_ref()
            .map(|key| hex::encode(key.key.spki_sha256()))
            .unwrap_or_default(),
        endorsement: None,
        endorsement_problem: None,
        attestation_key_certificate: None,
        attestation_key_problem: None,
        qualified_signer: hex::encode(&quote.qualified_signer),
        extra_data: hex::encode(&quote.extra_data),
        pcr_select: select.collect(),
        pcr_digest: hex::encode(&quote.pcr_digest),
        signature_hash: name_of(signature.hash),
        clock: quote.clock,
        reset_count: quote.reset_count,
        restart_count: quote.restart_count,
        safe: quote.safe,
        firmware_version: quote.firmware_version,
    })
}

fn pcrs(banks: &[PcrBank]) -> BTreeMap<u8, Vec<u8>> {
    let sha256 = u32::from(Hash::Sha256.id());
    let values = banks
        .iter()
        .filter(|bank| bank.alg == sha256)
        .flat_map(|bank| &bank.values);
    values
        .filter_map(|value| Some((u8::try_from(value.index).ok()?, value.digest.clone())))
        .collect()
}
