//! Whom and what `evidence verify` and `policy test` verify with.

use super::input::certificates;
use crate::files;
use crate::outcome::Failure;
use clap::Args;
use dawnkey_attest::evidence::{Binder, Evidence};
use dawnkey_attest::snp::certs::Certificate;
use dawnkey_attest::snp::{CrlRule, roots::Roots as AmdRoots};
use dawnkey_attest::tdx::TdxRoots;
use dawnkey_attest::verify::{Collateral, Roots};
use dawnkey_endorse::service::REFRESH;
use dawnkey_endorse::{Endorsements, Settings, Trust};
use dawnkey_keyservice::policy::Policy;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whom to trust.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Trust the certificates of this file, DER or PEM, and not AMD's and Intel's own; may be given several times
    #[arg(long, value_name = "FILE")]
    roots: Vec<PathBuf>,
    /// Trust whom a policy trusts
    #[arg(long, value_name = "POLICY", conflicts_with_all = ["roots", "without_crl"])]
    policy: Option<PathBuf>,
    /// Accept SNP reports where no revocation list of AMD is at hand
    #[arg(long)]
    without_crl: bool,
}

impl TrustArgs {
    /// The roots. Named ones count for every kind that they could be a root of.
    pub(crate) fn roots(&self) -> Result<Roots, Failure> {
        if let Some(path) = &self.policy {
            let text = files::read_text(path, "the policy")?;
            let policy = Policy::parse(path, &text).map_err(|e| {
                let right = "a policy that `dawnkey policy lint` accepts";
                Failure::local(e, path.display(), right)
            })?;
            return Ok(policy.roots);
        }
        let mut roots = match self.roots.is_empty() {
            true => built_in()?,
            false => self.named()?,
        };
        roots.snp_crl = match self.without_crl {
            true => CrlRule::IfPresent,
            false => CrlRule::Required,
        };
        Ok(roots)
    }

    fn named(&self) -> Result<Roots, Failure> {
        let mut all = Vec::new();
        for path in &self.roots {
            all.extend(certificates(path)?);
        }
        let readable = all.iter().map(Vec::as_slice);
        let readable = readable.filter(|der| Certificate::parse(der).is_ok());
        let is_root = |der: &&[u8]| Certificate::parse(der).is_ok_and(|c| c.subject == c.issuer);
        let (own, others): (Vec<&[u8]>, Vec<&[u8]>) = readable.partition(is_root);
        let amd = AmdRoots::new(own).and_then(|roots| roots.with_intermediates(others));
        let amd = amd.map_err(|e| {
            let places: Vec<String> = self.roots.iter().map(|p| p.display().to_string()).collect();
            Failure::local(e, places.join(", "), "certificates of CAs")
        })?;
        let usable = |der: &&Vec<u8>| TdxRoots::new([der.as_slice()]).is_ok();
        let intel: Vec<&[u8]> = all.iter().filter(usable).map(Vec::as_slice).collect();
        Ok(Roots {
            snp: amd,
            // None of them being a root of Intel's PKI is no mistake: they are of another kind.
            tdx: TdxRoots::new(intel).unwrap_or_default(),
            tpm_ek: all.clone(),
            tpm_ak: all,
            ..Roots::default()
        })
    }
}

fn built_in() -> Result<Roots, Failure> {
    let broken = |e: &dyn std::fmt::Display| Failure::local(e, "built-in roots", "another build");
    Ok(Roots {
        snp: AmdRoots::amd().map_err(|e| broken(&e))?,
        tdx: TdxRoots::intel().map_err(|e| broken(&e))?,
        ..Roots::default()
    })
}

/// What helps verification and is itself verified.
#[derive(Debug, Args)]
pub(crate) struct Helpers {
    /// Revocation list of AMD, DER; may be given several times
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Certificates between a TPM's certificate and its root, DER or PEM; may be given several times
    #[arg(long, value_name = "FILE")]
    intermediate: Vec<PathBuf>,
    /// Store of endorsements to look into for what is missing
    #[arg(long, value_name = "DIR")]
    endorsements: Option<PathBuf>,
}

impl Helpers {
    /// Reads them: from the store what this evidence needs, with `roots` and as of `now`.
    pub(crate) fn collateral(
        &self,
        evidence: &Evidence,
        roots: &Roots,
        now: Timestamp,
    ) -> Result<Collateral, Failure> {
        let mut collateral = match &self.endorsements {
            Some(store) => stored(store, evidence, roots, now)?,
            None => Collateral::default(),
        };
        for path in &self.crl {
            let list = files::read(path, "the revocation list", files::MAX_TEXT)?;
            collateral.snp_crls.push(list);
        }
        for path in &self.intermediate {
            collateral.tpm_intermediates.extend(certificates(path)?);
        }
        Ok(collateral)
    }
}

/// What a store has for this evidence. No vendor is asked.
fn stored(
    store: &Path,
    evidence: &Evidence,
    roots: &Roots,
    now: Timestamp,
) -> Result<Collateral, Failure> {
    let unusable = |e: &dyn std::fmt::Display| {
        let right = "a directory that `dawnkey endorsements` filled";
        Failure::local(
            format!("open the store of endorsements: {e}"),
            store.display(),
            right,
        )
    };
    if !store.is_dir() {
        return Err(unusable(&"there is no such directory"));
    }
    let settings = Settings {
        path: store.to_owned(),
        online: None,
        refresh: REFRESH,
    };
    let clock = Arc::new(move || now);
    let endorsements = Endorsements::open(&settings, Trust::from(roots), clock);
    let endorsements = endorsements.map_err(|e| unusable(&e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.map_err(|e| unusable(&e))?;
    Ok(runtime.block_on(endorsements.collateral_for(evidence)))
}

/// What evidence has to be bound to.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct BinderArgs {
    /// The 64 bytes of report data that an SNP report or TD quote must carry, hex
    #[arg(long, value_name = "HEX")]
    report_data: Option<String>,
    /// The qualifying data (nonce) that a TPM's quote must carry, hex
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// Compare with nothing: the evidence may be old, or of another session
    #[arg(long)]
    unbound: bool,
}

impl BinderArgs {
    /// What was given; nothing is compared where nothing was.
    pub(crate) fn binder(&self) -> Result<Binder, Failure> {
        let Some(text) = self.report_data.as_ref().or(self.nonce.as_ref()) else {
            return Ok(Binder::Unknown);
        };
        let bytes = hex::decode(text).map_err(|e| {
            let place = if self.nonce.is_some() {
                "--nonce"
            } else {
                "--report-data"
            };
            Failure::usage(
                format!("read what the evidence is bound to: {e}"),
                place,
                "hex digits",
            )
        })?;
        Ok(Binder::Value(bytes))
    }

    /// As [`Self::binder`], but that nothing is compared has to be said.
    pub(crate) fn explicit(&self, evidence: &Evidence) -> Result<Binder, Failure> {
        if self.report_data.is_none() && self.nonce.is_none() && !self.unbound {
            let right = match evidence {
                Evidence::Snp(_) | Evidence::Tdx(_) => {
                    "--report-data HEX, or --unbound to compare with nothing"
                }
                _ => "--nonce HEX, or --unbound to compare with nothing",
            };
            let what = "verify: nothing says what the evidence has to be bound to";
            return Err(Failure::usage(what, "the command line", right));
        }
        self.binder()
    }
}
