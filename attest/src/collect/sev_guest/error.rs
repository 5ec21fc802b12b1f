//! Why `/dev/sev-guest` gave no report, and the words for its codes.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::MAX_TABLE;

/// `exitinfo2`: what the firmware says in the low half, what the hypervisor says in the high half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitInfo(pub u64);

impl ExitInfo {
    /// The hypervisor's part.
    #[must_use]
    pub const fn vmm(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The firmware's part.
    #[must_use]
    pub const fn firmware(self) -> u32 {
        self.0 as u32
    }

    /// `SNP_GUEST_VMM_ERR_INVALID_LEN`: the buffer for certificates is too short.
    #[must_use]
    pub const fn is_invalid_length(self) -> bool {
        self.vmm() == 1
    }

    /// `SNP_GUEST_VMM_ERR_BUSY`: the host throttles requests.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        self.vmm() == 2
    }
}

impl fmt::Display for ExitInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vmm() {
            0 => {}
            1 => f.write_str("hypervisor: the certificate buffer is too short; ")?,
            2 => f.write_str("hypervisor: busy; ")?,
            other => write!(f, "hypervisor: error {other:#x}; ")?,
        }
        match self.firmware() {
            0 => f.write_str("firmware: no error"),
            code => write!(f, "firmware: {} ({code:#x})", firmware_words(code)),
        }
    }
}

/// Words for a status of the SEV firmware (AMD 56860, "Status codes"; Linux `psp-sev.h`).
const fn firmware_words(code: u32) -> &'static str {
    match code {
        0x01 => "invalid platform state",
        0x02 => "invalid guest state",
        0x03 => "invalid configuration",
        0x04 => "a buffer is too short",
        0x05 => "the platform is owned already",
        0x06 => "a certificate is invalid",
        0x07 => "the guest's policy does not allow it",
        0x08 => "the guest is not active",
        0x09 => "invalid address",
        0x0a => "bad signature",
        0x0b => "bad measurement",
        0x0c => "the ASID is owned already",
        0x0d => "invalid ASID",
        0x0e => "WBINVD is needed first",
        0x0f => "DF_FLUSH is needed first",
        0x10 => "invalid guest handle",
        0x11 => "invalid command",
        0x12 => "the guest is active already",
        0x13 => "hardware error, the platform is safe",
        0x14 => "hardware error, the platform is not safe",
        0x15 => "not supported",
        0x16 => "invalid parameter, for example a VMPL below the caller's",
        0x17 => "out of resources",
        0x18 => "integrity check of a message failed",
        0x19 => "invalid page size",
        0x1a => "invalid page state",
        0x1b => "invalid metadata entry",
        0x1c => "invalid page owner",
        0x1d => "message sequence number overflow",
        0x20 => "RMP is to be initialised again",
        0x21 => "version number would go back",
        0x22 => "bad version",
        0x23 => "shut down is needed first",
        0x24 => "update failed",
        0x25 => "restore is needed first",
        0x26 => "initialisation of the RMP failed",
        0x27 => "the key asked for is not there",
        0xffff_ffff => "it was not called",
        _ => "status without a name",
    }
}

/// Why `/dev/sev-guest` gave no report.
#[derive(Debug, thiserror::Error)]
pub enum SevGuestError {
    /// The device cannot be opened.
    #[error("open {}: {source}; expected the device of the sev-guest module", .path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A request failed. After most failures the kernel gives up this guest's message key, and only a reboot helps
    /// (`ENOTTY` from then on).
    #[error("{asked}: {source} ({exit_info})")]
    Refused {
        /// The request's name.
        asked: &'static str,
        /// Codes of firmware and hypervisor.
        exit_info: ExitInfo,
        /// What the system says.
        source: io::Error,
    },
    /// The hypervisor kept being busy.
    #[error("{asked}: the hypervisor was busy in each of {tries} requests")]
    Busy {
        /// The request's name.
        asked: &'static str,
        /// Requests made.
        tries: usize,
    },
    /// Each buffer was too short for a table that had grown again.
    #[error(
        "SNP_GET_EXT_REPORT: the certificate table was longer than {last} bytes after {attempts} requests and kept growing"
    )]
    TableGrows {
        /// Requests made.
        attempts: usize,
        /// Bytes asked for last.
        last: usize,
    },
    /// The host wants a buffer that makes no sense.
    #[error(
        "SNP_GET_EXT_REPORT: the host wants {needed} bytes for certificates, at most {MAX_TABLE} are given"
    )]
    TableTooLarge {
        /// Bytes wanted.
        needed: usize,
    },
    /// The buffer is said to be too short, and the length to be enough is no longer.
    #[error(
        "SNP_GET_EXT_REPORT: a certificate buffer of {last} bytes is said to be too short and {needed} to be enough"
    )]
    TableLength {
        /// Bytes given.
        last: usize,
        /// Bytes wanted.
        needed: usize,
    },
    /// The firmware answered without a report.
    #[error("the firmware's answer has status {status:#x} ({}), expected 0", firmware_words(*.status))]
    Status {
        /// Its status.
        status: u32,
    },
    /// The report in the answer has another length than reports have.
    #[error("the firmware's answer has a report of {found} bytes, expected 1184")]
    Length {
        /// Bytes it says.
        found: u32,
    },
}
