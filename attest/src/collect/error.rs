//! Why evidence could not be collected.

use std::path::PathBuf;

use super::{
    imds::ImdsError, qgs::QgsError, register::Register, sev_guest::SevGuestError,
    tdx_guest::TdxGuestError, tsm::TsmError,
};
use crate::{azure::HclError, reader::ReadError};

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
    /// No answer of Azure's metadata service.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// The HCL report is none.
    #[error(transparent)]
    Hcl(#[from] HclError),
    /// The TPM lacks an NV index that this kind of evidence is made of.
    #[error("TPM has no NV index {index:#010x}, which holds the {what}: is this such a machine?")]
    NvAbsent {
        /// What the index holds.
        what: &'static str,
        /// The index.
        index: u32,
    },
    /// The TPM lacks the attestation key that the platform provides.
    #[error(
        "TPM has no key at persistent handle {handle:#010x}, where the platform keeps its attestation key"
    )]
    KeyAbsent {
        /// The handle.
        handle: u32,
    },
    /// No sign of a TEE.
    #[error(
        "no TEE was found, looked for: {looked}; a TPM alone is taken only with attestation.kind = \"vtpm\""
    )]
    NoTee {
        /// Each sign and what came of looking for it.
        looked: String,
    },
    /// Signs of more than one kind of TEE.
    #[error("signs of several TEEs were found: {found}; choose one with attestation.kind")]
    SeveralTees {
        /// The signs.
        found: String,
    },
    /// The report or quote is over other data than was given: something else asked at the same time, or it is none.
    #[error("the {what} that was given is not one over this exchange")]
    NotBound {
        /// What was given.
        what: &'static str,
    },
    /// Evidence of this kind has no key that could be enrolled.
    #[error("a challenge to enrol a key came, evidence of kind {kind} has none")]
    NoEnrolment {
        /// Kind of evidence.
        kind: &'static str,
    },
    /// The boot cannot be closed in hardware, and that is not accepted.
    #[error(
        "{} is not there, so that this boot could not be closed: expected Linux 6.16 or later, or \
         attestation.without_runtime_register = \"report\"", .path.display()
    )]
    RegisterAbsent {
        /// Where the register was expected.
        path: PathBuf,
    },
    /// The register cannot be read or extended.
    #[error("{doing} {register}: {source}")]
    Register {
        /// The register.
        register: Register,
        /// What was attempted.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The boot was closed before, or something else wrote to the register.
    #[error("{register} is {found}, closing the boot needs it to be all zero")]
    BootAlreadyClosed {
        /// The register.
        register: Register,
        /// Its value in hex.
        found: String,
    },
    /// The register does not have the value it must have after closing.
    #[error(
        "{register} is {found} after closing the boot, {wanted} was expected: something else extended it"
    )]
    CloseNotSeen {
        /// The register.
        register: Register,
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
