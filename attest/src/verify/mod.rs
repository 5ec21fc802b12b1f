//! Judges evidence: bytes in, [`Verified`] claims or a named refusal out.
//!
//! Roots, collateral and time are arguments; real and test roots take the same path. Nothing here reads a file, a
//! socket or a clock.

mod certificate;
pub mod chain;
pub mod credential;
mod kdf;
pub mod roots;
pub mod signature;
pub mod vtpm;

pub use roots::{Collateral, Roots, RootsError};
pub use rustls_pki_types::UnixTime;

use crate::{
    claims::{Claims, Verified},
    evidence::{Binder, Evidence},
};

/// Why evidence is refused, by kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A TPM's evidence.
    #[error("TPM evidence refused: {0}")]
    Vtpm(#[from] vtpm::VtpmError),
}

/// Verifies evidence and its binding to `binder`.
///
/// `now` is the verifier's own time; it bounds the EK certificate's path. An endorsement key nobody vouches for does
/// not fail verification, it leaves `Claims::endorsement` empty: whether to enrol such a key is the caller's decision.
pub fn verify(
    evidence: &Evidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Verified<Claims>, VerifyError> {
    let claims = match evidence {
        Evidence::Vtpm(vtpm) => vtpm::verify(vtpm, binder, roots, collateral, now)?,
    };
    Ok(Verified::new(claims))
}
