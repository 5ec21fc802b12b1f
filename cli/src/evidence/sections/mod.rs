//! Sections of a page, from what evidence says; the same for evidence that was verified and that was only read.

mod azure;
mod snp;
mod tdx;
mod tpm;

pub(super) use azure::hcl;
pub(super) use snp::{report, vek};
pub(super) use tdx::{collateral, platform, tcb, td};
pub(super) use tpm::{events, pcrs, tpm};
