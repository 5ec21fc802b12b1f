//! Intel TDX: verifies TD quotes and judges them.
//!
//! Three steps, each usable alone. [`GenuineQuote::check`] verifies what the quote itself carries, up to a trusted
//! root; [`CheckedCollateral::check`] verifies Intel's statements about platforms; [`GenuineQuote::judge`] brings
//! them together at a point in time and gives [`TdxClaims`]. [`verify`] does all three. [`TdxPolicy`] judges the
//! claims; nothing before it knows what anybody accepts.
//!
//! Everything that is signed is checked before anything that is dated or revoked, so [`TdxError::crypto`] can say
//! whether the signatures hold whatever the verdict. Roots, collateral and time are arguments.
//!
//! `docs/evidence-tdx.md` names the sources and what a quote does not prove.

mod attributes;
pub mod ccel;
mod certificate;
mod claims;
mod collateral;
mod crl;
mod der;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod hex;
mod pck;
mod policy;
pub mod quote;
mod tcb;
mod verify;

pub use attributes::TdAttributes;
pub use certificate::{INTEL_ROOT, TdxRoots};
pub use claims::{CollateralClaims, PlatformClaims, QeClaims, TdxClaims, TdxVerified};
pub use collateral::{CheckedCollateral, TdxCollateral};
pub use error::{Chain, Crypto, Level, Part, TdxError};
pub use hex::Bytes;
pub use policy::{Flag, TdxExpected, TdxPolicy, TdxRefusal};
pub use quote::{Quote, QuoteError};
pub use tcb::{ModuleTcb, TcbClaims, TcbStatus};
pub use verify::{GenuineQuote, verify};
