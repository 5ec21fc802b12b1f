//! Letting the system's own tools open a volume, with what was validated and nothing else.
//!
//! A volume that stands in `/etc/crypttab` is opened by `systemd-cryptsetup`. It is given a header of its own (made of
//! what was parsed and authenticated, see [`crate::header::Detached`]) and the passphrase of that header's only
//! keyslot. How both reach it is the caller's, behind the port [`Handing`]. When it has ended, the kernel is asked what
//! it works with, and that must be what would have been mapped here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use dawnkey_secret::SlotKey;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::syscalls;
use crate::tables::{DeviceNumber, MappedName};

/// What is handed to the system.
#[derive(Debug)]
pub struct Offer<'a> {
    /// As what the volume is to be mapped.
    pub name: &'a MappedName,
    /// The disk that carries it.
    pub disk: DeviceNumber,
    /// The header, as a file's bytes.
    pub header: &'a [u8],
    /// The passphrase of its keyslot, as verbatim bytes.
    pub key: &'a SlotKey,
}

/// Hands a header and its passphrase to whoever opens volumes on this system.
pub trait Handing {
    /// Hands both over, once, and returns when whoever took them has ended. Nothing of the offer is left behind,
    /// whatever the outcome.
    ///
    /// # Errors
    /// Why nobody could be given them.
    fn hand(&mut self, offer: &Offer<'_>) -> Result<(), String>;
}

/// A process that may end.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    /// There is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        syscalls::open_process(pid).map(Self)
    }

    /// Waits until it has ended. `false` if it has not by the deadline.
    ///
    /// # Errors
    /// The kernel would not say.
    pub fn ended(&self, deadline: Instant) -> io::Result<bool> {
        readable(&self.0, deadline)
    }
}

/// Waits until there is something to read from a descriptor, or to accept. `false` if there is nothing by the deadline.
///
/// # Errors
/// The kernel would not say.
pub fn readable(descriptor: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a wait of less than a millisecond must not become a busy one.
        let millis = left.as_millis().saturating_add(u128::from(!left.is_zero()));
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) => {}
            Ok(_) => return Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn end_of_a_process_is_seen_and_waited_for_no_longer_than_asked() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::open(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!process.ended(Instant::now()).unwrap());
        drop(child.stdin.take());
        assert!(
            process
                .ended(Instant::now() + Duration::from_secs(60))
                .unwrap()
        );
        child.wait().unwrap();
        assert!(Process::open(-1).is_err());
    }
}
