//! Why a TD quote is not accepted as genuine and current.

use jiff::Timestamp;

use super::quote::QuoteError;
use crate::{bytes::Bytes, verify::Crypto};

/// The certificate chains of a quote and its collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Root, PCK CA, PCK certificate: in the quote.
    Pck,
    /// Root, PCK CA: issuer of the PCK CRL.
    PckCrl,
    /// Root, TCB signing certificate of the TCB info.
    TcbInfo,
    /// Root, TCB signing certificate of the QE identity.
    QeIdentity,
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pck => "PCK certificate",
            Self::PckCrl => "PCK CRL issuer",
            Self::TcbInfo => "TCB info issuer",
            Self::QeIdentity => "QE identity issuer",
        })
    }
}

/// The signed or dated parts of collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// TCB info.
    TcbInfo,
    /// QE identity.
    QeIdentity,
    /// CRL of the root.
    RootCrl,
    /// CRL of the PCK CA.
    PckCrl,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
            Self::RootCrl => "root CA CRL",
            Self::PckCrl => "PCK CRL",
        })
    }
}

/// Which SVNs found no TCB level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Platform with the module TCB of the TD's launch (`tee_tcb_svn`).
    Launch,
    /// Platform with the module TCB of now (`tee_tcb_svn2`).
    Current,
    /// The TDX module.
    Module,
    /// The quoting enclave.
    Qe,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Launch => "platform at launch (tee_tcb_svn)",
            Self::Current => "platform now (tee_tcb_svn2)",
            Self::Module => "TDX module",
            Self::Qe => "quoting enclave",
        })
    }
}

/// Why verification failed. One variant per cause; [`TdxError::reason_class`] names it for machines.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TdxError {
    /// The bytes are not a TD quote that can be judged.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// Quote and PCK chain hold, but there is nothing to judge the platform's TCB with.
    #[error(
        "no collateral for this platform (FMSPC {fmspc}); fetch TCB info, QE identity and CRLs for it"
    )]
    NoCollateral {
        /// Platform model the collateral must be for.
        fmspc: Bytes<6>,
    },
    /// No usable trusted root was given.
    #[error("trusted root {number}: {why}")]
    Root {
        /// Number of the root, the first is 0.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A chain ends in a root that is not among the trusted ones.
    #[error("the {chain} chain ends in \"{root}\", which is not a trusted root (another key)")]
    RootNotTrusted {
        /// The chain.
        chain: Chain,
        /// Subject of the root it ends in.
        root: String,
    },
    /// A certificate cannot be read, or lacks what it must have.
    #[error("{chain} chain: {why}")]
    Certificate {
        /// The chain.
        chain: Chain,
        /// What is wrong.
        why: String,
    },
    /// Signatures or constraints of a chain do not hold.
    #[error("the {chain} chain does not verify: {why}")]
    ChainInvalid {
        /// The chain.
        chain: Chain,
        /// What the path check found.
        why: String,
    },
    /// The PCK did not sign the QE's report.
    #[error("the QE report is not signed by the PCK certificate's key")]
    QeReportSignature,
    /// The QE's report does not bind the attestation key.
    #[error("the QE report's data is not the SHA-256 of attestation key and authentication data")]
    QeBinding,
    /// The attestation key did not sign header and body.
    #[error("the quote's header and body are not signed by its attestation key")]
    QuoteSignature,
    /// A part of the collateral cannot be read.
    #[error("{part} cannot be read: {why}")]
    Collateral {
        /// The part.
        part: Part,
        /// What is wrong.
        why: String,
    },
    /// TCB info or QE identity was not signed by its issuer.
    #[error(
        "the signature of the {part} does not verify: its text was changed after Intel signed it"
    )]
    CollateralSignature {
        /// The part.
        part: Part,
    },
    /// A CRL was not signed by the CA it is for.
    #[error("the signature of the {part} does not verify")]
    CrlSignature {
        /// The CRL.
        part: Part,
    },
    /// The CRL is of another CA than the one that issued the certificate.
    #[error("the {part} is of \"{found}\", expected one of \"{wanted}\"")]
    CrlIssuer {
        /// The CRL.
        part: Part,
        /// CA that issued the CRL.
        found: String,
        /// CA whose CRL is needed.
        wanted: String,
    },
    /// TCB info or QE identity is past its next update.
    #[error("the {part} ended at {until}, it is {now}; fetch newer collateral")]
    CollateralExpired {
        /// The part.
        part: Part,
        /// Its next update.
        until: Timestamp,
        /// Time of judging.
        now: Timestamp,
    },
    /// TCB info or QE identity is from the future.
    #[error("the {part} is valid from {from}, it is {now}; is the clock right?")]
    CollateralNotYetValid {
        /// The part.
        part: Part,
        /// Its issue date.
        from: Timestamp,
        /// Time of judging.
        now: Timestamp,
    },
    /// A CRL is past its next update.
    #[error("the {part} ended at {until}, it is {now}; fetch a newer one")]
    CrlExpired {
        /// The CRL.
        part: Part,
        /// Its next update.
        until: Timestamp,
        /// Time of judging.
        now: Timestamp,
    },
    /// A CRL is from the future.
    #[error("the {part} is valid from {from}, it is {now}; is the clock right?")]
    CrlNotYetValid {
        /// The CRL.
        part: Part,
        /// Its date.
        from: Timestamp,
        /// Time of judging.
        now: Timestamp,
    },
    /// A certificate is past its end.
    #[error("\"{subject}\" of the {chain} chain ended at {until}, it is {now}")]
    CertificateExpired {
        /// The chain.
        chain: Chain,
        /// The certificate.
        subject: String,
        /// End of its validity.
        until: Timestamp,
        /// Time of judging.
        now: Timestamp,
    },
    /// A certificate is from the future.
    #[error(
        "\"{subject}\" of the {chain} chain is valid from {from}, it is {now}; is the clock right?"
    )]
    CertificateNotYetValid {
        /// The chain.
        chain: Chain,
        /// The certificate.
        subject: String,
        /// Begin of its validity.
        from: Timestamp,
        /// Time of judging.
        now: Timestamp,
    },
    /// A certificate is on its issuer's CRL.
    #[error("\"{subject}\" of the {chain} chain (serial {serial}) is revoked")]
    Revoked {
        /// The chain.
        chain: Chain,
        /// The certificate.
        subject: String,
        /// Its serial number, hex.
        serial: String,
    },
    /// TCB info or QE identity is for something else than TDX.
    #[error("the {part} is \"{found}\", expected {wanted}")]
    CollateralKind {
        /// The part.
        part: Part,
        /// Id and version found.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// TCB info of another platform model.
    #[error("the TCB info is for FMSPC {found}, the quote's platform is {wanted}")]
    FmspcMismatch {
        /// FMSPC of the TCB info.
        found: Bytes<6>,
        /// FMSPC of the PCK certificate.
        wanted: Bytes<6>,
    },
    /// TCB info for another PCE.
    #[error("the TCB info is for PCEID {found}, the quote's platform has {wanted}")]
    PceIdMismatch {
        /// PCEID of the TCB info.
        found: Bytes<2>,
        /// PCEID of the PCK certificate.
        wanted: Bytes<2>,
    },
    /// The quoting enclave is not the one the QE identity describes.
    #[error("the quoting enclave's {field} is {found}, the QE identity demands {wanted}")]
    QeIdentityMismatch {
        /// Field that differs.
        field: &'static str,
        /// Value found.
        found: String,
        /// Value (and mask) demanded.
        wanted: String,
    },
    /// The TDX module is not one the TCB info describes.
    #[error("the TDX module's {field} is {found}, the TCB info knows {wanted}")]
    ModuleMismatch {
        /// Field that differs.
        field: &'static str,
        /// Value found.
        found: String,
        /// What the TCB info knows.
        wanted: String,
    },
    /// SVNs below every TCB level.
    #[error("{level}: the SVNs are below every TCB level Intel lists ({found})")]
    NoTcbLevel {
        /// What was looked up.
        level: Level,
        /// The SVNs found.
        found: String,
    },
}

impl TdxError {
    /// A short stable name of the cause.
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Quote(error) => match error {
                QuoteError::Malformed(_)
                | QuoteError::TooLarge { .. }
                | QuoteError::BodySize { .. } => "malformed",
                QuoteError::Version { .. } => "unsupported_version",
                QuoteError::NotTdx { .. } | QuoteError::BodyType { found: 1 } => "not_tdx",
                QuoteError::BodyType { .. } => "unsupported_body_type",
                QuoteError::KeyType { .. } => "unsupported_key_type",
                QuoteError::QeVendor { .. } => "qe_vendor_unknown",
                QuoteError::CertificationType { .. } => "unsupported_certification_data",
            },
            Self::NoCollateral { .. } => "no_collateral",
            Self::Root { .. } => "root_invalid",
            Self::RootNotTrusted { .. } => "root_not_trusted",
            Self::Certificate {
                chain: Chain::Pck, ..
            }
            | Self::ChainInvalid {
                chain: Chain::Pck, ..
            } => "pck_chain_invalid",
            Self::Certificate { .. } | Self::ChainInvalid { .. } => "collateral_signature_invalid",
            Self::QeReportSignature => "qe_report_signature_invalid",
            Self::QeBinding => "qe_binding_invalid",
            Self::QuoteSignature => "quote_signature_invalid",
            Self::Collateral { .. } => "collateral_malformed",
            Self::CollateralSignature { .. } => "collateral_signature_invalid",
            Self::CrlSignature { .. } => "crl_signature_invalid",
            Self::CrlIssuer { .. } => "crl_issuer_mismatch",
            Self::CollateralExpired { .. } => "collateral_expired",
            Self::CollateralNotYetValid { .. } => "collateral_not_yet_valid",
            Self::CrlExpired { .. } => "crl_expired",
            Self::CrlNotYetValid { .. } => "crl_not_yet_valid",
            Self::CertificateExpired {
                chain: Chain::Pck, ..
            } => "pck_expired",
            Self::CertificateExpired { .. } => "collateral_expired",
            Self::CertificateNotYetValid {
                chain: Chain::Pck, ..
            } => "pck_not_yet_valid",
            Self::CertificateNotYetValid { .. } => "collateral_not_yet_valid",
            Self::Revoked {
                chain: Chain::Pck, ..
            } => "pck_revoked",
            Self::Revoked { .. } => "collateral_issuer_revoked",
            Self::CollateralKind { .. } => "collateral_type_mismatch",
            Self::FmspcMismatch { .. } => "fmspc_mismatch",
            Self::PceIdMismatch { .. } => "pceid_mismatch",
            Self::QeIdentityMismatch { .. } => "qe_identity_mismatch",
            Self::ModuleMismatch { .. } => "tdx_module_mismatch",
            Self::NoTcbLevel { .. } => "tcb_no_matching_level",
        }
    }

    /// What the failure leaves standing of signatures, chains and bindings. Everything that is signed is checked
    /// before dates, revocation and TCB levels, so those leave it valid.
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::Quote(_) => Crypto::NotApplicable,
            Self::NoCollateral { .. } | Self::Root { .. } | Self::Collateral { .. } => {
                Crypto::Unknown
            }
            Self::RootNotTrusted { .. }
            | Self::Certificate { .. }
            | Self::ChainInvalid { .. }
            | Self::QeReportSignature
            | Self::QeBinding
            | Self::QuoteSignature
            | Self::CollateralSignature { .. }
            | Self::CrlSignature { .. } => Crypto::Invalid,
            _ => Crypto::Valid,
        }
    }

    /// Whether more collateral, not another quote, may change the outcome.
    pub fn is_indeterminate(&self) -> bool {
        matches!(self, Self::NoCollateral { .. })
    }
}
