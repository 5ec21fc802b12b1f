//! Why SNP evidence is refused: one variant for each reason an operator would act on differently.

use super::auxblob::TableError;
use super::certs::CertificateError;
use super::policy::PolicyError;
use super::report::ReportError;
use super::report::SigningKey;
use super::vek::VekKind;
use crate::verify::Crypto;

/// Which certificate of the hierarchy is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// AMD root key.
    Ark,
    /// AMD SEV key: ASK, or ASVK for loaded keys.
    Ask,
    /// Versioned endorsement key: VCEK or VLEK.
    Vek,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ark => "root certificate (ARK)",
            Self::Ask => "intermediate certificate (ASK or ASVK)",
            Self::Vek => "endorsement certificate (VCEK or VLEK)",
        })
    }
}

/// Why SNP evidence is refused. Variants are in the order in which they are looked for: those after
/// [`SnpError::ProductMismatch`] are only reported when every signature and binding holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SnpError {
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Table(#[from] TableError),
    /// A certificate is not one.
    #[error("read the {role}: {source}")]
    Certificate {
        role: Role,
        source: CertificateError,
    },
    /// No VCEK or VLEK came with the report.
    #[error(
        "no endorsement certificate (VCEK or VLEK) came with the report: fetch it for the chip and its reported TCB"
    )]
    NoEndorsementKey,
    /// No ASK or ASVK came with the report and none is built in.
    #[error(
        "no ASK or ASVK certificate is at hand that could have issued the endorsement certificate"
    )]
    NoIntermediate,
    /// The chain does not end at a trusted root.
    #[error("the chain ends at {subject:?}, which is not a trusted root")]
    RootNotTrusted { subject: String },
    /// Nothing shows that the root signed the intermediate.
    #[error("the intermediate certificate {subject:?} is not signed by the root {root:?}")]
    AskNotSignedByArk { subject: String, root: String },
    /// The root signed the intermediate, which was changed afterwards.
    #[error("the intermediate certificate {subject:?} was changed after the root signed it")]
    AskSignatureInvalid { subject: String },
    /// The intermediate may not issue certificates.
    #[error("the certificate {subject:?} is no certificate authority")]
    AskNotAuthority { subject: String },
    /// Nothing shows that the intermediate signed the endorsement certificate.
    #[error("the endorsement certificate names the issuer {issuer:?} and is not signed by {ask:?}")]
    VekNotSignedByAsk { issuer: String, ask: String },
    /// The endorsement certificate is AMD's for this key, changed afterwards.
    #[error("the endorsement certificate was changed after {ask:?} signed it")]
    VekSignatureInvalid { ask: String },
    /// The firmware did not sign, because the host masked the chip key or the guest asked for no signature.
    #[error(
        "the report is not signed (MASK_CHIP_KEY {mask_chip_key}, SIGNING_KEY {signing_key:?})"
    )]
    ReportNotSigned {
        mask_chip_key: bool,
        signing_key: SigningKey,
    },
    /// The endorsed key did not sign these bytes.
    #[error("the report's signature does not hold under the {key} of its certificate")]
    ReportSignatureInvalid { key: &'static str },
    /// The signature holds, but the report claims another algorithm.
    #[error("the report claims signature algorithm {found}, 1 (ECDSA P-384 with SHA-384) is known")]
    UnsupportedSignatureAlgorithm { found: u32 },
    /// The report claims another kind of key than the certificate.
    #[error("the report says it is signed by {report:?}, the certificate is for a {}", .certificate.name())]
    SigningKeyMismatch {
        report: SigningKey,
        certificate: VekKind,
    },
    /// The certificate is for another chip.
    #[error("the report is of chip {report}, the certificate is for chip {certificate}")]
    ChipIdMismatch { report: String, certificate: String },
    /// The certificate is for another TCB.
    #[error("the report's TCB {report} is not the one the endorsement certificate was issued for")]
    VekTcbMismatch { report: String },
    /// CPU, certificate and chain are not of one product line.
    #[error("the {what} is of {found:?}, the endorsement certificate is for {certificate:?}")]
    ProductMismatch {
        what: &'static str,
        found: String,
        certificate: String,
    },

    /// Unsigned bytes behind the signature carry something.
    #[error("byte {at:#x} behind the report's signature is not zero")]
    NonzeroSignaturePadding { at: usize },
    /// A certificate's time is over.
    #[error("the {role} expired at {not_after}")]
    Expired { role: Role, not_after: String },
    /// A certificate's time has not come.
    #[error("the {role} is not valid before {not_before}")]
    NotYetValid { role: Role, not_before: String },
    /// A CRL is not one.
    #[error("read a revocation list: its {0}")]
    CrlMalformed(&'static str),
    /// A CRL is not signed by its issuer.
    #[error("the revocation list of {issuer:?} is not signed by it")]
    CrlSignatureInvalid { issuer: String },
    /// A CRL signed by the right key in another name.
    #[error("the revocation list names the issuer {issuer:?}, its signer is {signer:?}")]
    CrlIssuerMismatch { issuer: String, signer: String },
    /// The CRL's next update is past.
    #[error("the revocation list of {issuer:?} was to be replaced at {next_update}")]
    CrlExpired { issuer: String, next_update: String },
    /// The CRL is of the future.
    #[error("the revocation list of {issuer:?} is of {this_update}, which is not yet")]
    CrlNotYetValid { issuer: String, this_update: String },
    /// The policy asks for a CRL and none came.
    #[error("policy asks for a revocation list of {issuer:?} and none is at hand")]
    CrlMissing { issuer: String },
    /// AMD revoked a certificate of the chain.
    #[error("the {role}, serial {serial}, is revoked")]
    Revoked { role: Role, serial: String },
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl SnpError {
    /// A short, stable name of the reason, for machines.
    #[must_use]
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Report(ReportError::Length { .. }) => "malformed_length",
            Self::Report(ReportError::Version { .. }) => "unsupported_version",
            Self::Table(_) => "malformed",
            Self::Certificate { .. } => "malformed",
            Self::NoEndorsementKey => "no_endorsement_key",
            Self::NoIntermediate => "no_endorsement_chain",
            Self::RootNotTrusted { .. } => "root_not_trusted",
            Self::AskNotSignedByArk { .. } => "ask_not_signed_by_ark",
            Self::AskSignatureInvalid { .. } => "ask_signature_invalid",
            Self::AskNotAuthority { .. } => "ask_not_authority",
            Self::VekNotSignedByAsk { .. } => "vek_not_signed_by_ask",
            Self::VekSignatureInvalid { .. } => "vek_signature_invalid",
            Self::ReportNotSigned { .. } => "report_not_signed",
            Self::ReportSignatureInvalid { .. } => "report_signature_invalid",
            Self::UnsupportedSignatureAlgorithm { .. } => "unsupported_signature_algorithm",
            Self::SigningKeyMismatch { .. } => "signing_key_mismatch",
            Self::ChipIdMismatch { .. } => "chip_id_mismatch",
            Self::VekTcbMismatch { .. } => "vek_tcb_mismatch",
            Self::ProductMismatch { .. } => "product_mismatch",
            Self::NonzeroSignaturePadding { .. } => "nonzero_signature_padding",
            Self::Expired {
                role: Role::Ark, ..
            } => "ark_expired",
            Self::Expired {
                role: Role::Ask, ..
            } => "ask_expired",
            Self::Expired {
                role: Role::Vek, ..
            } => "vek_expired",
            Self::NotYetValid {
                role: Role::Ark, ..
            } => "ark_not_yet_valid",
            Self::NotYetValid {
                role: Role::Ask, ..
            } => "ask_not_yet_valid",
            Self::NotYetValid {
                role: Role::Vek, ..
            } => "vek_not_yet_valid",
            Self::CrlMalformed(_) => "malformed",
            Self::CrlSignatureInvalid { .. } => "crl_signature_invalid",
            Self::CrlIssuerMismatch { .. } => "crl_issuer_mismatch",
            Self::CrlExpired { .. } => "crl_expired",
            Self::CrlNotYetValid { .. } => "crl_not_yet_valid",
            Self::CrlMissing { .. } => "crl_missing",
            Self::Revoked {
                role: Role::Ark, ..
            } => "ark_revoked",
            Self::Revoked {
                role: Role::Ask, ..
            } => "ask_revoked",
            Self::Revoked {
                role: Role::Vek, ..
            } => "vek_revoked",
            Self::Policy(error) => error.reason_class(),
        }
    }

    /// Whether signatures and bindings hold, as far as this error tells.
    #[must_use]
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::Report(_) | Self::Table(_) | Self::Certificate { .. } | Self::CrlMalformed(_) => {
                Crypto::NotApplicable
            }
            Self::NoEndorsementKey | Self::NoIntermediate => Crypto::Unknown,
            Self::RootNotTrusted { .. }
            | Self::AskNotSignedByArk { .. }
            | Self::AskSignatureInvalid { .. }
            | Self::AskNotAuthority { .. }
            | Self::VekNotSignedByAsk { .. }
            | Self::VekSignatureInvalid { .. }
            | Self::ReportNotSigned { .. }
            | Self::ReportSignatureInvalid { .. }
            | Self::UnsupportedSignatureAlgorithm { .. }
            | Self::SigningKeyMismatch { .. }
            | Self::ChipIdMismatch { .. }
            | Self::VekTcbMismatch { .. }
            | Self::ProductMismatch { .. }
            | Self::CrlSignatureInvalid { .. }
            | Self::CrlIssuerMismatch { .. } => Crypto::Invalid,
            Self::NonzeroSignaturePadding { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::CrlExpired { .. }
            | Self::CrlNotYetValid { .. }
            | Self::CrlMissing { .. }
            | Self::Revoked { .. }
            | Self::Policy(_) => Crypto::Valid,
        }
    }

    /// Whether the evidence is neither good nor bad: something is missing that could be fetched.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        self.crypto() == Crypto::Unknown
    }
}
