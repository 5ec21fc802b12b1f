//! Azure confidential VMs: the HCL report that binds the vTPM's attestation key into an SNP or TDX report.
//!
//! | part | feature | entry |
//! |---|---|---|
//! | report bytes | always | [`hcl::HclReport::parse`] |
//! | TDREPORT beside its quote | always | [`td_report::TdReportBytes::parse`] |
//! | runtime claims | `verify` | [`runtime::RuntimeClaims::parse`] |
//! | judging | `verify` | [`verify()`] |
//! | reports of mocks | `fake` | [`fake`] |
//!
//! `docs/evidence-azure.md` lists every check and what is not proven.

pub mod hcl;
pub mod td_report;

#[cfg(feature = "verify")]
mod claims;
#[cfg(feature = "verify")]
mod error;
#[cfg(all(feature = "verify", any(test, feature = "fake")))]
pub mod fake;
#[cfg(feature = "verify")]
pub mod runtime;
#[cfg(feature = "verify")]
mod verify;

#[cfg(feature = "verify")]
pub use claims::HclClaims;
#[cfg(feature = "verify")]
pub use error::AzureError;
pub use hcl::{HclError, HclReport};
#[cfg(feature = "verify")]
pub use verify::verify;
