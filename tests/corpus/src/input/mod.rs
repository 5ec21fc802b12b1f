//! A case as the entry point takes it.

mod azure;
mod parts;
mod pcrs;
mod tee;

use dawnkey_attest::{
    evidence::{Binder, Evidence},
    snp::{roots::Roots as SnpRoots, verify::CrlRule},
    tdx::TdxRoots,
    verify::{Collateral, Roots, UnixTime},
};

use crate::case::{Case, CorpusError, field};

/// Everything [`dawnkey_attest::verify::verify`] takes.
#[derive(Debug, Clone)]
pub struct Input {
    /// What is judged.
    pub evidence: Evidence,
    /// The nonce a policy demands.
    pub binder: Binder,
    /// AMD's own roots; for Intel and TPMs those of the case.
    pub roots: Roots,
    /// What helps.
    pub collateral: Collateral,
    /// Time of judging.
    pub now: UnixTime,
}

impl Input {
    /// Builds the input of a case by its family and roles.
    ///
    /// # Errors
    /// [`CorpusError`] where a file or field is missing or the family is not known.
    pub fn of(case: &Case) -> Result<Self, CorpusError> {
        let mut collateral = Collateral::default();
        let evidence = match case.family() {
            "snp" => {
                collateral.snp_crls = case.ders(&["crl"])?;
                tee::snp(case)?
            }
            "tdx" => tee::tdx(case)?,
            "azure-vtpm" => {
                collateral.snp_crls = case.ders(&["crl"])?;
                azure::evidence(case)?
            }
            "amd-certs" => parts::amd(case)?,
            "tpm-quote" => parts::quote(case)?,
            "tpm-eventlog" => parts::event_log(case)?,
            "tdx-eventlog" => parts::rtmr_log(case)?,
            "ima" => parts::ima(case)?,
            "tpm-certs" => parts::certificate(case)?,
            other => return Err(field("family", format!("{other:?} is not known"))),
        };
        Ok(Self {
            evidence,
            binder: binder(case)?,
            roots: roots(case)?,
            collateral,
            now: case.now()?,
        })
    }
}

/// A nonce is what a TPM's quote is compared with. Report data is left to the policy, which judges claims.
fn binder(case: &Case) -> Result<Binder, CorpusError> {
    let Some(nonce) = case.policy()["expected_nonce"].as_str() else {
        return Ok(Binder::Unknown);
    };
    let nonce = hex::decode(nonce).map_err(|error| field("policy.expected_nonce", error))?;
    Ok(Binder::Value(nonce))
}

/// AMD's roots are pinned: a case's own ARK must be one of them. Intel's and the TPM vendors' are the case's, since
/// there the list has cases of another root.
fn roots(case: &Case) -> Result<Roots, CorpusError> {
    let built_in = |error: &dyn ToString| field("roots", error.to_string());
    let snp = SnpRoots::amd().map_err(|error| built_in(&error))?;
    let intel = case.ders(&["intel_root"])?;
    let tdx = if intel.is_empty() {
        TdxRoots::intel().map_err(|error| built_in(&error))?
    } else {
        let ders = intel.iter().map(Vec::as_slice);
        TdxRoots::new(ders).map_err(|error| field("intel_root", error))?
    };
    let tpm: Vec<&str> = case
        .roles()
        .filter(|role| *role == "root" || role.ends_with("_tpm_root"))
        .collect();
    let tpm = case.ders(&tpm)?;
    Ok(Roots {
        tpm_ek: tpm.clone(),
        tpm_ak: tpm,
        snp: snp.without_intermediates(),
        snp_crl: CrlRule::IfPresent,
        tdx,
    })
}
