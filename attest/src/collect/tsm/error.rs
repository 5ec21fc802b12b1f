//! Why configfs-tsm gave no report.

use std::io;

use super::{MAX_BLOB, ROOT};

/// Why configfs-tsm gave no report.
#[derive(Debug, thiserror::Error)]
pub enum TsmError {
    /// This kernel has no configfs-tsm, or configfs is not mounted.
    #[error(
        "{ROOT} is not there: expected a kernel with CONFIG_TSM_REPORTS, its module loaded and configfs mounted"
    )]
    Absent,
    /// No guest driver has registered.
    #[error(
        "{ROOT} takes no entry, since no TEE guest driver has registered: load sev-guest or tdx-guest, or this is no confidential VM"
    )]
    NoProvider,
    /// The report would be of another platform.
    #[error("reports are made by {found:?} here, {wanted:?} was expected")]
    Provider {
        /// Name wanted.
        wanted: &'static str,
        /// Name found.
        found: String,
    },
    /// A step failed.
    #[error("failed to {doing}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A step kept being refused for a moment.
    #[error("failed to {doing}: busy or interrupted in each of {tries} tries")]
    Busy {
        /// What was attempted.
        doing: &'static str,
        /// Tries made.
        tries: usize,
    },
    /// Something else kept writing into our entries.
    #[error(
        "another process wrote into each of {attempts} entries: generation {found} where our own writes make {expected}"
    )]
    Race {
        /// Entries made.
        attempts: usize,
        /// Generation our writes make.
        expected: u64,
        /// Generation found.
        found: u64,
    },
    /// An attribute is larger than any that makes sense.
    #[error("{attribute} has more than {most} bytes (blobs may have {MAX_BLOB})")]
    TooLarge {
        /// Its name.
        attribute: &'static str,
        /// Cap in bytes.
        most: usize,
    },
    /// There is a report, but no byte of it.
    #[error("outblob is empty, a report was expected")]
    Empty,
    /// An attribute that is a number is none.
    #[error("{attribute} is {found:?}, a decimal number was expected")]
    Number {
        /// Its name.
        attribute: &'static str,
        /// What was found.
        found: String,
    },
    /// The report was wanted at a level this guest cannot speak for.
    #[error("a report at VMPL {wanted} was asked for, this guest can have one at {floor} or above")]
    Privlevel {
        /// Level wanted.
        wanted: u8,
        /// Lowest level the kernel offers.
        floor: u64,
    },
    /// A level was asked for, and the platform has none.
    #[error("a report at VMPL {wanted} was asked for, this platform has no privilege levels")]
    NoPrivlevel {
        /// Level wanted.
        wanted: u8,
    },
}

impl TsmError {
    pub(super) fn io(doing: &'static str, source: io::Error) -> Self {
        Self::Io { doing, source }
    }
}
