//! SEV-SNP: reports of AMD's secure processor, the certificates that endorse their keys, and launch digests.
//!
//! | part | feature | entry |
//! |---|---|---|
//! | report bytes | always | [`report::Report::parse`] |
//! | certificates beside a report | always | [`auxblob::CertificateTable::parse`] |
//! | judging | `verify` | [`verify::verify`], then [`verify::SnpVerified::judge`] |
//! | predicting the launch digest | `measure` | [`launch::launch_digest`] |
//!
//! Verification works on the raw 672 signed bytes and takes roots, certificates, revocation lists and time as
//! arguments. `docs/evidence-snp.md` lists every check and what a report does not prove.

pub mod auxblob;
pub mod bits;
pub mod claims;
pub mod product;
pub mod report;
pub mod tcb;

#[cfg(feature = "measure")]
pub mod launch;

#[cfg(feature = "verify")]
pub mod certs;
#[cfg(feature = "verify")]
pub mod chain;
#[cfg(feature = "verify")]
pub mod crl;
#[cfg(feature = "verify")]
pub mod error;
#[cfg(all(feature = "verify", any(test, feature = "fake")))]
pub mod fake;
#[cfg(feature = "verify")]
pub mod policy;
#[cfg(feature = "verify")]
mod policy_error;
#[cfg(feature = "verify")]
mod pss;
#[cfg(feature = "verify")]
pub mod roots;
#[cfg(feature = "verify")]
pub mod vek;
#[cfg(feature = "verify")]
pub mod verify;

#[cfg(feature = "verify")]
pub use error::SnpError;
#[cfg(feature = "verify")]
pub use policy::SnpPolicy;
#[cfg(feature = "verify")]
pub use verify::{CrlRule, SnpVerified};
