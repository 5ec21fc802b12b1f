//! The boot's last register: extended once for each volume when they are open, and capped, so that evidence of the
//! running system differs from evidence of the boot.

use std::fmt;

use super::error::CollectError;
use crate::tpm::hash::Hash;

/// What a register is capped with: the digest of four zero bytes, the TCG's separator.
const CAP: [u8; 4] = [0; 4];

/// A register that a boot can be closed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// PCR 15 of a TPM.
    Pcr15,
    /// RTMR 3 of a TD.
    Rtmr3,
}

impl Register {
    /// Its name for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcr15 => "pcr-15",
            Self::Rtmr3 => "rtmr-3",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcr15 => "PCR 15",
            Self::Rtmr3 => "RTMR 3",
        })
    }
}

/// How a boot was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// In this register: evidence shows it from now on.
    Register(Register),
    /// Not in hardware: evidence of the running system is as good as evidence of the boot.
    Absent {
        /// Why.
        why: &'static str,
    },
}

/// A register of the running machine.
pub(super) trait RuntimeRegister {
    /// Which one.
    fn which(&self) -> Register;

    /// Algorithm of its digests.
    fn hash(&self) -> Hash;

    /// Its value.
    fn read(&mut self) -> Result<Vec<u8>, CollectError>;

    /// Extends it.
    fn extend(&mut self, digest: &[u8]) -> Result<(), CollectError>;
}

/// Extends a register that is in its boot state with each of `events` in turn, caps it, and sees that nothing else happened to it.
pub(super) fn close(
    register: &mut impl RuntimeRegister,
    events: &[Vec<u8>],
) -> Result<Closing, CollectError> {
    let (which, hash) = (register.which(), register.hash());
    let before = register.read()?;
    if before.iter().any(|byte| *byte != 0) {
        return Err(CollectError::BootAlreadyClosed {
            register: which,
            found: hex::encode(before),
        });
    }
    let mut wanted = before;
    let events = events.iter().map(Vec::as_slice);
    for recorded in events.chain([CAP.as_slice()]) {
        let digest = hash.digest(&[recorded]);
        register.extend(&digest)?;
        wanted = hash.digest(&[&wanted, &digest]);
    }
    let found = register.read()?;
    if found == wanted {
        return Ok(Closing::Register(which));
    }
    Err(CollectError::CloseNotSeen {
        register: which,
        found: hex::encode(found),
        wanted: hex::encode(wanted),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Fake {
        value: Vec<u8>,
        other: bool,
    }

    impl RuntimeRegister for Fake {
        fn which(&self) -> Register {
            Register::Rtmr3
        }

        fn hash(&self) -> Hash {
            Hash::Sha384
        }

        fn read(&mut self) -> Result<Vec<u8>, CollectError> {
            Ok(self.value.clone())
        }

        fn extend(&mut self, digest: &[u8]) -> Result<(), CollectError> {
            let once = Hash::Sha384.digest(&[&self.value, digest]);
            self.value = once.clone();
            if self.other {
                self.value = Hash::Sha384.digest(&[&once, digest]);
            }
            Ok(())
        }
    }

    fn register(other: bool) -> Fake {
        Fake {
            value: vec![0; 48],
            other,
        }
    }

    #[test]
    fn extends_with_the_event_and_caps() {
        let mut fake = register(false);
        let closed = close(&mut fake, &[b"event".to_vec()]).unwrap();
        assert_eq!(closed, Closing::Register(Register::Rtmr3));
        let event = Hash::Sha384.digest(&[&[0; 48], &Hash::Sha384.digest(&[b"event"])]);
        let capped = Hash::Sha384.digest(&[&event, &Hash::Sha384.digest(&[&[0; 4]])]);
        assert_eq!(fake.value, capped);
    }

    #[test]
    fn extends_with_one_event_for_each_volume_in_order() {
        let mut fake = register(false);
        close(&mut fake, &[b"first".to_vec(), b"second".to_vec()]).unwrap();
        let recorded = [b"first".as_slice(), b"second", &[0; 4]];
        let wanted = recorded.iter().fold(vec![0; 48], |value, event| {
            Hash::Sha384.digest(&[&value, &Hash::Sha384.digest(&[event])])
        });
        assert_eq!(fake.value, wanted);
    }

    #[test]
    fn closes_no_boot_twice() {
        let mut fake = register(false);
        close(&mut fake, &[b"event".to_vec()]).unwrap();
        let again = close(&mut fake, &[b"event".to_vec()]);
        assert!(matches!(
            again,
            Err(CollectError::BootAlreadyClosed {
                register: Register::Rtmr3,
                ..
            })
        ));
    }

    #[test]
    fn sees_that_something_else_extended_it() {
        let error = close(&mut register(true), &[b"event".to_vec()]);
        assert!(matches!(
            error,
            Err(CollectError::CloseNotSeen {
                register: Register::Rtmr3,
                ..
            })
        ));
    }
}
