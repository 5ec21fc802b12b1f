//! Why an Azure VM's evidence is refused.

use super::{hcl::HclError, runtime::RuntimeError};
use crate::{
    reader::ReadError,
    snp::SnpError,
    tdx::TdxError,
    verify::{Crypto, chain::ChainError, vtpm::VtpmError},
};

/// Why evidence is refused. Variants up to [`AzureError::AkCertificate`] are found whatever the dates and whatever
/// the exchange; [`AzureError::crypto`] says whether signatures and bindings hold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AzureError {
    /// The HCL report.
    #[error(transparent)]
    Hcl(#[from] HclError),
    /// Its runtime claims.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The TDREPORT in it.
    #[error("the TDREPORT of the HCL report is malformed: {0}")]
    TdReport(ReadError),
    /// The SNP report in it.
    #[error("the SNP report of the HCL report: {0}")]
    Snp(#[from] SnpError),
    /// A TDREPORT is not signed, and nothing signed came with it.
    #[error(
        "the HCL report has a TDREPORT, which nobody can check elsewhere: the TD quote made of it is missing"
    )]
    NoTdQuote,
    /// The TD quote.
    #[error("the TD quote beside the HCL report: {0}")]
    Tdx(#[from] TdxError),
    /// The signed report does not vouch for these runtime claims: not for this vTPM key.
    #[error(
        "the hardware report vouches for {found}, the runtime claims of the HCL report have {wanted}: \
         they were changed or are of another VM"
    )]
    RuntimeDataHash {
        /// Hex of the signed report data.
        found: String,
        /// Hex of what it must be.
        wanted: String,
    },
    /// Quote and TDREPORT are of different TDs or moments.
    #[error("TD quote and HCL report differ in {field}: the quote was not made of this TDREPORT")]
    TdReportMismatch {
        /// First field that differs.
        field: &'static str,
    },
    /// No quote of the vTPM came along.
    #[error("there is no quote of the vTPM: nothing binds the evidence to this exchange")]
    NoTpmQuote,
    /// The quote of the vTPM, its PCR values, or the event log.
    #[error("the vTPM under the HCL report's key: {0}")]
    Quote(#[from] VtpmError),
    /// The attestation key's certificate.
    #[error("the attestation key's certificate: {0}")]
    AkCertificate(#[from] ChainError),
}

impl AzureError {
    /// A short stable name of the cause.
    #[must_use]
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Hcl(error) => error.reason_class(),
            Self::Runtime(RuntimeError::Json { .. } | RuntimeError::TooManyKeys { .. })
            | Self::TdReport(_) => "malformed",
            Self::Runtime(RuntimeError::KeyCount { .. } | RuntimeError::Key { .. }) => {
                "attestation_key_missing"
            }
            Self::Snp(error) => error.reason_class(),
            Self::NoTdQuote => "no_td_quote",
            Self::Tdx(error) => error.reason_class(),
            Self::RuntimeDataHash { .. } => "runtime_data_hash_mismatch",
            Self::TdReportMismatch { .. } => "td_report_mismatch",
            Self::NoTpmQuote => "no_tpm_quote",
            Self::Quote(error) => error.reason_class(),
            Self::AkCertificate(error) => error.reason_class(),
        }
    }

    /// Whether signatures, chains and bindings hold, as far as this error tells.
    #[must_use]
    pub fn crypto(&self) -> Crypto {
        let inside = match self {
            Self::Snp(error) => error.crypto(),
            Self::Tdx(error) => error.crypto(),
            Self::Quote(error) => error.crypto(),
            Self::AkCertificate(error) => error.crypto(),
            Self::NoTdQuote | Self::NoTpmQuote => Crypto::Unknown,
            _ => Crypto::Invalid,
        };
        // A part that cannot be read leaves the whole without what should vouch for it.
        match inside {
            Crypto::NotApplicable => Crypto::Invalid,
            other => other,
        }
    }
}
