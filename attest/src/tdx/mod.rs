//! Intel TDX: verifies TD quotes and judges them.
//!
//! Three steps, each usable alone. [`GenuineQuote::check`] verifies what the quote itself carries, up to a trusted
//! root; [`CheckedCollateral::check`] verifies Intel's statements about platforms; [`GenuineQuote::judge`] brings
//! them together at a point in time and gives [`TdxClaims`]. [`verify`] does all three. [`TdxPolicy`] judges the
//! claims; nothing before it knows what anybody accepts. [`verify_evidence`] also demands that the quote was made for the
//! exchange at hand and replays the event log. Parsing quotes and carrying evidence need no feature.
//!
//! Everything that is signed is checked before anything that is dated or revoked, so [`TdxError::crypto`] can say
//! whether the signatures hold whatever the verdict. Roots, collateral and time are arguments.
//!
//! `docs/evidence-tdx.md` names the sources and what a quote does not prove.

mod attributes;
pub mod quote;

#[cfg(feature = "verify")]
pub mod ccel;
#[cfg(feature = "verify")]
mod certificate;
#[cfg(feature = "verify")]
mod claims;
#[cfg(feature = "verify")]
mod collateral;
#[cfg(feature = "verify")]
mod crl;
#[cfg(feature = "verify")]
mod error;
#[cfg(all(feature = "verify", any(test, feature = "fake")))]
pub mod fake;
#[cfg(feature = "verify")]
mod pck;
#[cfg(feature = "verify")]
mod policy;
#[cfg(feature = "verify")]
mod tcb;
#[cfg(feature = "verify")]
mod verify;

pub use crate::bytes::Bytes;
pub use crate::evidence::{TdxCollateral, TdxEvidence};
pub use attributes::TdAttributes;
#[cfg(feature = "verify")]
pub use certificate::{INTEL_ROOT, TdxRoots};
#[cfg(feature = "verify")]
pub use claims::{CollateralClaims, PlatformClaims, QeClaims, TdxClaims, TdxVerified};
#[cfg(feature = "verify")]
pub(crate) use collateral::fmspc;
#[cfg(feature = "verify")]
pub use collateral::{CheckedCollateral, PckCa, Statement, Subject};
#[cfg(feature = "verify")]
pub use error::{Chain, Level, Part, TdxError};
#[cfg(feature = "verify")]
pub use policy::{Flag, TdxExpected, TdxPolicy, TdxRefusal};
pub use quote::{Quote, QuoteError};
#[cfg(feature = "verify")]
pub use tcb::{ModuleTcb, TcbClaims, TcbStatus};
#[cfg(feature = "verify")]
pub use verify::{GenuineQuote, TdxBound, TdxEvidenceError, verify, verify_evidence};
