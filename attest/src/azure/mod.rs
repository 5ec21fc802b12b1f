//! Azure confidential VMs: the HCL report that binds the vTPM's attestation key into an SNP or TDX report.
//!
//! | part | feature | entry |
//! |---|---|---|
//! | report bytes | always | [`hcl::HclReport::parse`] |
//! | TDREPORT beside its quote | always | [`td_report::TdReportBytes::parse`] |
//! | runtime claims | `verify` | [`runtime::RuntimeClaims::parse`] |
//! | reports of mocks | `fake` | [`fake`] |
//!
//! `docs/evidence-azure.md` lists every check and what is not proven.

pub mod hcl;
pub mod td_report;

#[cfg(all(feature = "verify", any(test, feature = "fake")))]
pub mod fake;
#[cfg(feature = "verify")]
pub mod runtime;

pub use hcl::{HclError, HclReport};
