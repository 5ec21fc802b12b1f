//! The lease of a volume in use, as it goes from the unlock to the holder.
//!
//! It is left in the kernel's keyring, in root's user keyring, and stays there as long as it is held: a holder that was
//! restarted goes on with it. It is in no file, and gone with the machine.

use dawnkey_dm::MappedName;
use dawnkey_proto::message::OnLoss;
use dawnkey_secret::{LeaseToken, user_key};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::ffi::{CString, NulError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;
use zeroize::Zeroizing;

/// What the agent leaves for the running system: the boot's record, and a file for each holder. No secrets.
pub const RUN: &str = "/run/dawnkey";
/// First byte of a lease in the keyring.
const FORMAT: u8 = 1;
/// Bytes of a lease in the keyring: format, action, volume, fencing token, seconds, time, token.
const BYTES: usize = 1 + 1 + 16 + 8 + 4 + 8 + LeaseToken::LEN;

/// A lease to be renewed.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    /// The volume.
    pub volume: Uuid,
    /// The lease.
    pub fencing_token: u64,
    /// Renews it.
    pub token: LeaseToken,
    /// What is to be done when it is lost.
    pub on_loss: OnLoss,
    /// How long it lives.
    pub seconds: u32,
    /// From when: time since the boot at which what began it was sent.
    pub sent: Duration,
}

impl Held {
    /// When it ends, if it is not renewed: time since the boot.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.sent + Duration::from_secs(self.seconds.into())
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES));
        let sent = u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX);
        let on_loss = OnLoss::ALL.iter().position(|one| *one == self.on_loss);
        bytes.push(FORMAT);
        bytes.push(
            on_loss
                .and_then(|at| u8::try_from(at).ok())
                .unwrap_or(u8::MAX),
        );
        bytes.extend(self.volume.as_bytes());
        bytes.extend(self.fencing_token.to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        bytes.extend(sent.to_be_bytes());
        bytes.extend(self.token.expose());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (volume, rest) = rest.split_first_chunk()?;
        let (fencing_token, rest) = rest.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (sent, rest) = rest.split_first_chunk()?;
        let token: &[u8; LeaseToken::LEN] = rest.try_into().ok()?;
        let [FORMAT, on_loss] = *head else {
            return None;
        };
        Some(Self {
            volume: Uuid::from_bytes(*volume),
            fencing_token: u64::from_be_bytes(*fencing_token),
            token: LeaseToken::fill(|copy| {
                copy.copy_from_slice(token);
                Ok::<_, ()>(())
            })
            .ok()?,
            on_loss: *OnLoss::ALL.get(usize::from(on_loss))?,
            seconds: u32::from_be_bytes(*seconds),
            sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
        })
    }
}

/// A lease could not be left, or not be found.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The kernel's keyring refused.
    #[error("{doing} the lease of volume {volume} in the kernel's keyring: {source}")]
    Keyring {
        /// What was attempted.
        doing: &'static str,
        /// The volume.
        volume: Uuid,
        /// Why.
        source: io::Error,
    },
    /// What is in the keyring is not what an unlock of this version leaves.
    #[error(
        "read the lease of volume {volume} in the kernel's keyring: it is none of this version"
    )]
    Malformed {
        /// The volume.
        volume: Uuid,
    },
}

/// Where an unlock leaves leases for holders, and the clock by which they live.
pub trait Leases {
    /// Time since the boot, sleep included.
    fn now(&self) -> Duration;
    /// Leaves a lease; one of the same volume is replaced.
    fn leave(&mut self, held: &Held) -> Result<(), LeaseError>;
    /// The lease of a volume, which stays.
    fn find(&mut self, volume: Uuid) -> Result<Option<Held>, LeaseError>;
    /// Takes the lease of a volume away, if there is one.
    fn forget(&mut self, volume: Uuid) -> Result<(), LeaseError>;
}

/// The kernel's keyring and `CLOCK_BOOTTIME`.
#[derive(Debug, Default, Clone, Copy)]
pub struct KernelLeases;

fn key(volume: Uuid) -> Result<CString, NulError> {
    CString::new(format!("dawnkey:lease:{}", volume.hyphenated()))
}

fn keyring<T>(
    doing: &'static str,
    volume: Uuid,
    work: impl FnOnce(CString) -> io::Result<T>,
) -> Result<T, LeaseError> {
    let name = key(volume).map_err(io::Error::other);
    name.and_then(work).map_err(|source| LeaseError::Keyring {
        doing,
        volume,
        source,
    })
}

impl Leases for KernelLeases {
    fn now(&self) -> Duration {
        // It cannot fail for a clock that every kernel has; a time of zero would only make a lease look younger, so
        // that the largest is given instead.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
    }

    fn leave(&mut self, held: &Held) -> Result<(), LeaseError> {
        keyring("leave", held.volume, |key| {
            user_key::put(&key, &held.encode())
        })
    }

    fn find(&mut self, volume: Uuid) -> Result<Option<Held>, LeaseError> {
        let Some(bytes) = keyring("find", volume, |key| user_key::read(&key))? else {
            return Ok(None);
        };
        let held = Held::decode(&bytes).filter(|held| held.volume == volume);
        held.map(Some).ok_or(LeaseError::Malformed { volume })
    }

    fn forget(&mut self, volume: Uuid) -> Result<(), LeaseError> {
        keyring("remove", volume, |key| user_key::remove(&key))
    }
}

/// What a running holder says of itself in `/run/dawnkey/NAME.holder`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The lease.
    pub fencing_token: u64,
    /// What it does when the lease is lost.
    pub on_loss: String,
    /// `waiting`, `held`, `troubled`, or `lost`.
    pub state: String,
}

/// The holder's file, locked by the holder as long as it runs.
#[must_use]
pub fn holder_file(run: &Path, name: &MappedName) -> PathBuf {
    run.join(format!("{name}.holder"))
}

/// What the holder of a mapping says; `None` if none runs.
#[must_use]
pub fn holder(name: &MappedName) -> Option<Holder> {
    let file = std::fs::File::open(holder_file(Path::new(RUN), name)).ok()?;
    match file.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => serde_json::from_reader(&file).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn held() -> Held {
        Held {
            volume: Uuid::from_u128(u128::from(std::process::id())),
            fencing_token: 7,
            token: LeaseToken::take(&mut [9; 32]).unwrap(),
            on_loss: OnLoss::Suspend,
            seconds: 60,
            sent: Duration::from_millis(12_345),
        }
    }

    #[test]
    fn a_lease_survives_its_encoding_and_no_other_length_does() {
        let bytes = held().encode();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(Held::decode(&bytes), Some(held()));
        for length in 0..BYTES {
            assert_eq!(Held::decode(bytes.get(..length).unwrap()), None);
        }
        assert_eq!(Held::decode(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn another_format_or_action_is_no_lease() {
        for (at, value) in [(0, 2), (1, 4), (1, 255)] {
            let mut bytes = held().encode();
            *bytes.get_mut(at).unwrap() = value;
            assert_eq!(Held::decode(&bytes), None);
        }
    }

    #[test]
    fn a_lease_stays_in_the_keyring_until_it_is_forgotten() {
        let mut leases = KernelLeases;
        match leases.leave(&held()) {
            // A kernel that lets this process have no keys.
            Err(LeaseError::Keyring { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                return;
            }
            other => other.unwrap(),
        }
        let volume = held().volume;
        assert_eq!(leases.find(volume).unwrap(), Some(held()));
        assert_eq!(leases.find(volume).unwrap(), Some(held()));
        leases.forget(volume).unwrap();
        assert_eq!(leases.find(volume).unwrap(), None);
    }

    #[test]
    fn time_since_the_boot_goes_on() {
        let before = KernelLeases.now();
        assert!(before > Duration::ZERO && KernelLeases.now() >= before);
    }
}
