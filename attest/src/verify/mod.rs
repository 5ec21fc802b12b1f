//! Judges evidence: bytes in, [`Verified`] claims or a named refusal out.
//!
//! Roots, collateral and time are arguments; real and test roots take the same path. Nothing here reads a file, a
//! socket or a clock.

pub(crate) mod ak;
mod certificate;
pub mod chain;
pub mod credential;
pub mod gce;
mod kdf;
mod leaf;
mod names;
pub mod part;
pub mod roots;
pub mod signature;
pub(crate) mod snp;
mod tdx;
pub mod vtpm;

pub use roots::{Collateral, Roots, RootsError};
pub use rustls_pki_types::UnixTime;

use crate::{
    azure::{self, AzureError},
    claims::{Claims, Verified},
    evidence::{Binder, Evidence},
    snp::SnpError,
    tdx::TdxEvidenceError,
};

/// Whether all signatures, chains and bindings of refused evidence hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crypto {
    /// They hold; the refusal has another reason.
    Valid,
    /// One of them does not.
    Invalid,
    /// Something needed to tell is missing.
    Unknown,
    /// There was nothing to check yet.
    NotApplicable,
}

impl Crypto {
    /// `valid`, `invalid`, `unknown` or `n/a`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
            Self::NotApplicable => "n/a",
        }
    }
}

/// Why evidence is refused, by kind.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// A TPM's evidence.
    #[error("TPM evidence refused: {0}")]
    Vtpm(#[from] vtpm::VtpmError),
    /// An SNP report.
    #[error("SNP evidence refused: {0}")]
    Snp(#[from] SnpError),
    /// A TD quote.
    #[error("TDX evidence refused: {0}")]
    Tdx(#[from] TdxEvidenceError),
    /// An Azure VM's vTPM and hardware report.
    #[error("Azure evidence refused: {0}")]
    Azure(#[from] AzureError),
    /// A piece of evidence judged alone.
    #[error("evidence refused: {0}")]
    Part(#[from] part::PartError),
}

impl VerifyError {
    /// A short stable name of the cause, the same for every kind of evidence.
    #[must_use]
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Vtpm(error) => error.reason_class(),
            Self::Snp(error) => error.reason_class(),
            Self::Tdx(error) => error.reason_class(),
            Self::Azure(error) => error.reason_class(),
            Self::Part(error) => error.reason_class(),
        }
    }

    /// Whether the evidence's signatures, chains and bindings hold all the same.
    #[must_use]
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::Vtpm(error) => error.crypto(),
            Self::Snp(error) => error.crypto(),
            Self::Tdx(error) => error.crypto(),
            Self::Azure(error) => error.crypto(),
            Self::Part(error) => error.crypto(),
        }
    }
}

/// Verifies evidence and its binding to `binder`.
///
/// `now` is the verifier's own time; it bounds every certificate, revocation list and collateral. An endorsement key
/// nobody vouches for does not fail verification of a TPM's quote, it leaves `TpmClaims::endorsement` empty: whether
/// to enrol such a key is the caller's decision. What the owner wants of genuine evidence is policy, and comes after.
pub fn verify(
    evidence: &Evidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Verified<Claims>, VerifyError> {
    let claims = match evidence {
        Evidence::Vtpm(vtpm) => vtpm::verify(vtpm, binder, roots, collateral, now)?,
        Evidence::Snp(snp) => snp::verify(snp, binder, roots, collateral, now)?,
        Evidence::Tdx(tdx) => tdx::verify(tdx, binder, roots, collateral, now)?,
        Evidence::Azure(azure) => azure::verify(azure, binder, roots, collateral, now)?,
        Evidence::Part(part) => part::verify(part, binder, roots, collateral, now)?,
    };
    Ok(Verified::new(claims))
}
