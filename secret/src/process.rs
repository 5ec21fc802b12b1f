//! Process settings that keep secrets in memory and out of dumps.

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, setrlimit};

/// Why the process could not be hardened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardenError {
    /// Core dumps could not be switched off.
    CoreDumps(nix::Error),
    /// `PR_SET_DUMPABLE` was refused.
    Dumpable(nix::Error),
    /// Memory could not be locked: `RLIMIT_MEMLOCK` is too small (`LimitMEMLOCK=infinity` in a unit).
    MemoryLock(nix::Error),
}

impl std::fmt::Display for HardenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CoreDumps(e) => write!(f, "switch off core dumps: {e}"),
            Self::Dumpable(e) => write!(f, "make the process non-dumpable: {e}"),
            Self::MemoryLock(e) => write!(
                f,
                "lock memory: {e}; raise the limit (ulimit -l unlimited, or LimitMEMLOCK=infinity)"
            ),
        }
    }
}

impl std::error::Error for HardenError {}

/// Switches off core dumps and ptrace by equals, and locks all present and future pages in memory.
///
/// Pages are locked as they are touched, so thread stacks do not cost their whole reservation.
pub fn harden() -> Result<(), HardenError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(HardenError::CoreDumps)?;
    nix::sys::prctl::set_dumpable(false).map_err(HardenError::Dumpable)?;
    let all = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    // MCL_ONFAULT is 4 on every architecture Linux gives it to; nix has no name for it.
    mlockall(all | MlockAllFlags::from_bits_retain(libc_onfault())).map_err(HardenError::MemoryLock)
}

const fn libc_onfault() -> i32 {
    4
}
