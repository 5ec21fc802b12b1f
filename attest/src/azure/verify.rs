//! Judges an Azure VM's evidence: hardware report, runtime claims, vTPM key, quote, PCR values, event log.
//!
//! What is signed comes before what is dated, and both before what is bound to the exchange, so that
//! [`AzureError::crypto`] can say how far trust reached. A hardware report whose chain holds but is out of date,
//! revoked or lacks collateral is remembered and refused once everything else was looked at.

use rustls_pki_types::UnixTime;

use super::{
    claims::HclClaims,
    error::AzureError,
    hcl::{HardwareKind, HclReport},
    runtime::RuntimeClaims,
    td_report::TdReportBytes,
};
use crate::{
    claims::{Claims, TrustClass},
    evidence::{AzureEvidence, Binder, KIND_AZURE},
    snp::{SnpError, SnpVerified, claims::SnpClaims, report::Report},
    tdx::{self, Quote, TdxError, TdxVerified},
    tpm::{PCR_COUNT, public::Key, signature::Signature},
    verify::{
        Collateral, Crypto, Roots, ak, snp,
        vtpm::{self, VtpmError, log, quote},
    },
};

/// Verifies `evidence`.
///
/// Evidence without a quote of the vTPM proves no moment and no PCR: it passes with [`Binder::Unknown`] only.
/// Likewise PCR values and event log may be missing in recorded evidence, never in an exchange.
///
/// # Errors
/// [`AzureError`], in the order of its variants; the quote's binding, selection and event log come last.
pub fn verify(
    evidence: &AzureEvidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Claims, AzureError> {
    let hcl = HclReport::parse(&evidence.hcl_report)?;
    let hardware = Hardware::check(evidence, &hcl, roots, collateral, now)?;
    let runtime = RuntimeClaims::parse(hcl.runtime_claims)?;
    let key = runtime.attestation_key()?;
    let signed = signed_quote(evidence, binder, &key)?;
    let pcrs = match &signed {
        Some(signed) => vtpm::pcrs::quoted(signed, &evidence.pcrs)?,
        None => Default::default(),
    };
    let certificate = ak::judge(
        &evidence.ak_certificate,
        &evidence.ak_chain,
        &key,
        roots,
        collateral,
        now,
    )?;

    let mut claims = Claims::new(KIND_AZURE, Some(TrustClass::TeeVtpm), binder);
    hardware.into_claims(&mut claims)?;
    claims.azure = Some(HclClaims::new(&hcl, &runtime));
    claims.source(
        "azure",
        "runtime claims of the HCL report, whose hash the hardware report signs; versions are the host's word",
    );
    let Some(signed) = signed else {
        return Ok(claims);
    };
    if let Some(wanted) = binder.qualifying_data() {
        quote::check_binding(&signed, &wanted)?;
    }
    if binder.is_exchange() {
        let all: Vec<u8> = (0..PCR_COUNT).collect();
        quote::check_selection(&signed, vtpm::BANK, &all)?;
        if pcrs.is_empty() {
            let bank = vtpm::BANK.name();
            return Err(VtpmError::BankMissing { bank }.into());
        }
    }
    // In recorded evidence a log proves something only where there are PCR values to replay to.
    if binder.is_exchange() || !(evidence.event_log.is_empty() || pcrs.is_empty()) {
        claims.events = log::check(&evidence.event_log, vtpm::BANK, &pcrs)?;
        claims.source("events", "the event log; digests replay to the quoted PCRs");
    }
    claims.pcrs = pcrs;
    claims.tpm = Some(vtpm::tpm_claims(&signed, &key, certificate));
    claims.source("pcrs", "PCR values whose digest the quote carries");
    claims.source(
        "tpm",
        "the quote, signed by the key that the runtime claims name",
    );
    Ok(claims)
}

/// The hardware report and what became of it. An error in here leaves every signature standing.
enum Hardware {
    Snp(Box<Result<SnpVerified, SnpError>>),
    Tdx(Box<Result<TdxVerified, TdxError>>),
}

impl Hardware {
    /// Checks the hardware report's signatures, and that it vouches for the runtime claims.
    fn check(
        evidence: &AzureEvidence,
        hcl: &HclReport<'_>,
        roots: &Roots,
        collateral: &Collateral,
        now: UnixTime,
    ) -> Result<Self, AzureError> {
        match hcl.kind {
            HardwareKind::Snp => {
                let report = Report::parse(hcl.hardware).map_err(SnpError::from)?;
                let table = &evidence.certificates;
                let verified = snp::report_of(hcl.hardware, table, roots, collateral, now);
                if let Err(error) = &verified
                    && !leaves_signatures(error.crypto())
                {
                    return Err(AzureError::Snp(error.clone()));
                }
                check_hash(hcl, &report.report_data)?;
                Ok(Self::Snp(Box::new(verified)))
            }
            HardwareKind::Tdx => {
                let report = TdReportBytes::parse(hcl.hardware).map_err(AzureError::TdReport)?;
                if evidence.td_quote.is_empty() {
                    check_hash(hcl, report.report_data)?;
                    return Err(AzureError::NoTdQuote);
                }
                let bytes = &evidence.td_quote;
                let quote = Quote::parse(bytes).map_err(TdxError::from)?;
                let own = collateral.tdx_for(bytes);
                let beside = own.or(evidence.td_collateral.as_ref());
                let verified = tdx::verify(bytes, beside, &roots.tdx, now);
                if let Err(error) = &verified
                    && !leaves_signatures(error.crypto())
                {
                    return Err(AzureError::Tdx(error.clone()));
                }
                check_hash(hcl, &quote.report.report_data.0)?;
                match report.differs_from(&quote) {
                    None => Ok(Self::Tdx(Box::new(verified))),
                    Some(field) => Err(AzureError::TdReportMismatch { field }),
                }
            }
        }
    }

    fn into_claims(self, claims: &mut Claims) -> Result<(), AzureError> {
        match self {
            Self::Snp(verified) => {
                claims.snp = Some(SnpClaims::from(&(*verified)?));
                claims.source(
                    "snp",
                    "the SNP report in the HCL report, signed by the endorsed key",
                );
            }
            Self::Tdx(verified) => {
                claims.tdx = Some((*verified)?.into_claims());
                claims.source("tdx", "the TD quote made of the TDREPORT in the HCL report");
            }
        }
        Ok(())
    }
}

/// Whether an error says nothing against signatures: it is about dates, revocation, levels, or missing collateral.
fn leaves_signatures(crypto: Crypto) -> bool {
    matches!(crypto, Crypto::Valid | Crypto::Unknown)
}

fn check_hash(hcl: &HclReport<'_>, found: &[u8]) -> Result<(), AzureError> {
    let wanted = hcl.expected_report_data();
    if found == wanted {
        return Ok(());
    }
    Err(AzureError::RuntimeDataHash {
        found: hex::encode(found),
        wanted: hex::encode(wanted),
    })
}

/// The vTPM's quote with its signature checked; `None` if there is none and the caller asks for no binding.
fn signed_quote(
    evidence: &AzureEvidence,
    binder: &Binder,
    key: &Key,
) -> Result<Option<quote::Signed>, AzureError> {
    if evidence.quote.is_empty() && evidence.signature.is_empty() {
        return match binder {
            Binder::Unknown => Ok(None),
            Binder::Exchange(_) | Binder::Value(_) => Err(AzureError::NoTpmQuote),
        };
    }
    let signature = Signature::parse(&evidence.signature).map_err(VtpmError::MalformedSignature)?;
    Ok(Some(quote::check(key, &evidence.quote, &signature)?))
}
