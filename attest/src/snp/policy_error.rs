//! The rules a genuine report may fail, one variant each.

use super::product::Product;
use super::report::FirmwareVersion;

/// The rule a report does not meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PolicyError {
    #[error("the guest's policy lets the host debug it")]
    DebugEnabled,
    #[error("the guest's policy lets a migration agent move it")]
    MigrationAgentAllowed,
    #[error("the report was asked for by the host (VMPL {vmpl:#x}), not by the guest")]
    HostRequested { vmpl: u32 },
    #[error("the report is of VMPL {vmpl}, at most {max} is accepted")]
    VmplTooHigh { vmpl: u32, max: u8 },
    #[error(
        "the guest's policy lacks bits {missing:#x} and has bits {present:#x} it must not have"
    )]
    GuestPolicyBits { missing: u64, present: u64 },
    #[error("the guest's policy lets it run on several sockets")]
    MultipleSocketsAllowed,
    #[error("the guest's security version is {found}, at least {min} is wanted")]
    GuestSvnTooOld { found: u32, min: u32 },
    #[error("the report is signed by a {found}, which is not accepted")]
    SigningKeyNotAllowed { found: &'static str },
    #[error("the host masked the chip id")]
    ChipIdMasked,
    #[error("the chip {found:?} is not accepted")]
    ChipNotAllowed { found: String },
    #[error("the provider {found:?} is not accepted")]
    ProviderNotAllowed { found: String },
    #[error("the product line {found} is not accepted")]
    ProductNotAllowed { found: Product },
    #[error("the CPU of family {family:#x}, model {model:#x} belongs to no known product line")]
    UnknownCpu { family: u8, model: u8 },
    #[error("the report is of version {found}, at least {min} is wanted")]
    ReportVersionTooOld { found: u32, min: u32 },
    #[error("the platform lacks bits {missing:#x} and has bits {present:#x} it must not have")]
    PlatformInfoBits { missing: u64, present: u64 },
    #[error("simultaneous multithreading is on")]
    SmtEnabled,
    #[error("the {which} mitigation vector lacks bits {missing:#x}")]
    MitigationsMissing { which: &'static str, missing: u64 },
    #[error("reserved bits at {at:#x} of the report are not as its version demands")]
    ReservedNotZero { at: usize },
    #[error("the {which} TCB's {component} is {found:?}, at least {min} is wanted")]
    TcbTooOld {
        which: &'static str,
        component: &'static str,
        found: Option<u8>,
        min: u8,
    },
    #[error("the SNP firmware is {found}, at least {min} is wanted")]
    FirmwareTooOld {
        found: FirmwareVersion,
        min: FirmwareVersion,
    },
    #[error("the platform runs firmware it has not committed to, which can be rolled back")]
    ProvisionalFirmware,
    #[error("the report binds {found}, which is not what was asked to be bound")]
    ReportDataMismatch { found: String },
    #[error("the launch digest {found} is not accepted")]
    MeasurementMismatch { found: String },
    #[error("the host data {found} is not accepted")]
    HostDataMismatch { found: String },
    #[error("the family id {found} is not accepted")]
    FamilyIdMismatch { found: String },
    #[error("the image id {found} is not accepted")]
    ImageIdMismatch { found: String },
    #[error("the id key {found} is not accepted")]
    IdKeyMismatch { found: String },
    #[error("the guest was launched without an author key")]
    AuthorKeyMissing,
    #[error("the author key {found} is not accepted")]
    AuthorKeyMismatch { found: String },
}

impl PolicyError {
    /// A short, stable name of the reason, for machines.
    #[must_use]
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::DebugEnabled => "debug_enabled",
            Self::MigrationAgentAllowed => "migration_agent_allowed",
            Self::HostRequested { .. } => "host_requested",
            Self::VmplTooHigh { .. } => "vmpl_too_high",
            Self::GuestPolicyBits { .. } => "guest_policy_mismatch",
            Self::MultipleSocketsAllowed => "multiple_sockets_allowed",
            Self::GuestSvnTooOld { .. } => "guest_svn_too_old",
            Self::SigningKeyNotAllowed { .. } => "signing_key_not_allowed",
            Self::ChipIdMasked => "chip_id_masked",
            Self::ChipNotAllowed { .. } => "chip_not_allowed",
            Self::ProviderNotAllowed { .. } => "provider_not_allowed",
            Self::ProductNotAllowed { .. } => "product_not_allowed",
            Self::UnknownCpu { .. } => "unknown_cpu",
            Self::ReportVersionTooOld { .. } => "report_version_too_old",
            Self::PlatformInfoBits { .. } => "platform_info_mismatch",
            Self::SmtEnabled => "smt_enabled",
            Self::MitigationsMissing { .. } => "mitigations_missing",
            Self::ReservedNotZero { .. } => "reserved_not_zero",
            Self::TcbTooOld { .. } => "tcb_too_old",
            Self::FirmwareTooOld { .. } => "firmware_too_old",
            Self::ProvisionalFirmware => "provisional_firmware",
            Self::ReportDataMismatch { .. } => "report_data_mismatch",
            Self::MeasurementMismatch { .. } => "measurement_mismatch",
            Self::HostDataMismatch { .. } => "host_data_mismatch",
            Self::FamilyIdMismatch { .. } => "family_id_mismatch",
            Self::ImageIdMismatch { .. } => "image_id_mismatch",
            Self::IdKeyMismatch { .. } => "id_key_mismatch",
            Self::AuthorKeyMissing => "author_key_missing",
            Self::AuthorKeyMismatch { .. } => "author_key_mismatch",
        }
    }
}
