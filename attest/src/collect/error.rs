//! Why evidence could not be collected.

use std::path::PathBuf;

use super::{qgs::QgsError, sev_guest::SevGuestError, tdx_guest::TdxGuestError, tsm::TsmError};
use crate::reader::ReadError;

/// Why evidence could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The TCTI text names no TPM.
    #[error(
        "TPM connection {tcti:?} is not understood, expected for example device:/dev/tpmrm0: {source}"
    )]
    Tcti {
        /// Text of the configuration.
        tcti: String,
        /// What the TSS says.
        source: tss_esapi::Error,
    },
    /// The TPM cannot be reached.
    #[error("TPM at {tcti:?} cannot be opened: {source}")]
    Connect {
        /// Text of the configuration.
        tcti: String,
        /// What the TSS says.
        source: tss_esapi::Error,
    },
    /// A TPM command failed.
    #[error("TPM failed to {doing}: {source}")]
    Tpm {
        /// What was attempted.
        doing: &'static str,
        /// What the TSS says.
        source: tss_esapi::Error,
    },
    /// The TPM answered something it may not answer.
    #[error("TPM answered wrongly when asked to {doing}: {problem}")]
    Answer {
        /// What was attempted.
        doing: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A structure of the TPM cannot be parsed.
    #[error("TPM gave a malformed {what}: {source}")]
    Structure {
        /// Name of the structure.
        what: &'static str,
        /// What is wrong.
        source: ReadError,
    },
    /// The attestation key's persistent handle holds something else.
    #[error(
        "persistent handle {handle:#010x} holds a key that is not this crate's attestation key: {problem}; \
         remove it with `tpm2_evictcontrol -c {handle:#010x}` if nothing else needs it"
    )]
    HandleOccupied {
        /// The handle.
        handle: u32,
        /// What is wrong with the key.
        problem: &'static str,
    },
    /// The event log cannot be read.
    #[error("event log {} cannot be read: {source}", .path.display())]
    EventLog {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The event log is larger than evidence may carry.
    #[error("event log {} is larger than {most} bytes", .path.display())]
    EventLogTooLarge {
        /// Its path.
        path: PathBuf,
        /// Cap in bytes.
        most: u64,
    },
    /// The ACPI table of a TD's event log is none.
    #[error("ACPI table {} is not a TD's CCEL: {problem}", .path.display())]
    CcelTable {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// No report through configfs-tsm.
    #[error("configfs-tsm: {0}")]
    Tsm(#[from] TsmError),
    /// No report through `/dev/sev-guest`.
    #[error("/dev/sev-guest: {0}")]
    SevGuest(#[from] SevGuestError),
    /// No TDREPORT through `/dev/tdx_guest`.
    #[error("/dev/tdx_guest: {0}")]
    TdxGuest(#[from] TdxGuestError),
    /// No quote from the host's service.
    #[error(transparent)]
    Qgs(#[from] QgsError),
    /// PCRs kept changing between reading and quoting.
    #[error("PCR values changed during each of {attempts} quotes")]
    Race {
        /// Quotes tried.
        attempts: usize,
    },
    /// The challenge is larger than the structures it must be.
    #[error("enrolment challenge is malformed: {what} of {found} bytes")]
    Challenge {
        /// Part of the challenge.
        what: &'static str,
        /// Its length.
        found: usize,
    },
    /// The boot was closed before, or something else wrote to the register.
    #[error("PCR {pcr} is {found}, closing the boot needs it to be all zero")]
    BootAlreadyClosed {
        /// The register.
        pcr: u8,
        /// Its value in hex.
        found: String,
    },
    /// The register does not have the value it must have after closing.
    #[error(
        "PCR {pcr} is {found} after closing the boot, {wanted} was expected: something else extended it"
    )]
    CloseNotSeen {
        /// The register.
        pcr: u8,
        /// Its value in hex.
        found: String,
        /// The expected value in hex.
        wanted: String,
    },
}

/// Names the attempt in the error of a TSS call.
pub(super) trait Doing<T> {
    /// Adds what was attempted.
    fn doing(self, doing: &'static str) -> Result<T, CollectError>;
}

impl<T> Doing<T> for Result<T, tss_esapi::Error> {
    fn doing(self, doing: &'static str) -> Result<T, CollectError> {
        self.map_err(|source| CollectError::Tpm { doing, source })
    }
}
