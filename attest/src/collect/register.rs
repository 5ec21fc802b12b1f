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

/// What a register was extended with, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended<'a> {
    /// The register.
    pub register: Register,
    /// What was recorded; of four zero bytes, the cap.
    pub event: &'a [u8],
    /// Its digest in every bank of the register.
    pub digests: Vec<(Hash, Vec<u8>)>,
}

impl Extended<'_> {
    /// Whether this is what closes the boot.
    #[must_use]
    pub fn is_cap(&self) -> bool {
        self.event == CAP
    }
}

/// Takes down what a register is extended with. It can keep nothing from being extended: the register speaks for itself.
pub trait RegisterLog {
    /// The register is in its boot state and is extended next: nobody else may, from now on until this is dropped.
    fn begin(&mut self, register: Register);

    /// The register was extended.
    fn extended(&mut self, what: &Extended<'_>);
}

/// A log for nobody.
impl RegisterLog for () {
    fn begin(&mut self, _: Register) {}

    fn extended(&mut self, _: &Extended<'_>) {}
}

/// A register of the running machine.
pub(super) trait RuntimeRegister {
    /// Which one.
    fn which(&self) -> Register;

    /// Algorithm of the value that is read.
    fn hash(&self) -> Hash;

    /// Algorithms of all its active banks that can be computed here, that of the value among them.
    fn banks(&mut self) -> Result<Vec<Hash>, CollectError>;

    /// Its value.
    fn read(&mut self) -> Result<Vec<u8>, CollectError>;

    /// Extends it with one digest for each bank.
    fn extend(&mut self, digests: &[(Hash, Vec<u8>)]) -> Result<(), CollectError>;
}

/// Extends a register that is in its boot state with each of `events` in turn, caps it, and sees that nothing else happened to it.
///
/// Every bank is extended: a quote of another bank than policy's shows as well that the boot is over.
pub(super) fn close(
    register: &mut impl RuntimeRegister,
    events: &[Vec<u8>],
    log: &mut dyn RegisterLog,
) -> Result<Closing, CollectError> {
    let (which, hash) = (register.which(), register.hash());
    let before = register.read()?;
    if before.iter().any(|byte| *byte != 0) {
        return Err(CollectError::BootAlreadyClosed {
            register: which,
            found: hex::encode(before),
        });
    }
    let banks = register.banks()?;
    log.begin(which);
    let mut wanted = before;
    let events = events.iter().map(Vec::as_slice);
    for event in events.chain([CAP.as_slice()]) {
        let digests = banks.iter().map(|bank| (*bank, bank.digest(&[event])));
        let what = Extended {
            register: which,
            event,
            digests: digests.collect(),
        };
        register.extend(&what.digests)?;
        log.extended(&what);
        wanted = hash.digest(&[&wanted, &hash.digest(&[event])]);
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

        fn banks(&mut self) -> Result<Vec<Hash>, CollectError> {
            Ok(vec![Hash::Sha256, Hash::Sha384])
        }

        fn extend(&mut self, digests: &[(Hash, Vec<u8>)]) -> Result<(), CollectError> {
            let [(Hash::Sha256, _), (Hash::Sha384, digest)] = digests else {
                panic!("not a digest for each bank: {digests:?}");
            };
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
        let closed = close(&mut fake, &[b"event".to_vec()], &mut ()).unwrap();
        assert_eq!(closed, Closing::Register(Register::Rtmr3));
        let event = Hash::Sha384.digest(&[&[0; 48], &Hash::Sha384.digest(&[b"event"])]);
        let capped = Hash::Sha384.digest(&[&event, &Hash::Sha384.digest(&[&[0; 4]])]);
        assert_eq!(fake.value, capped);
    }

    #[test]
    fn extends_with_one_event_for_each_volume_in_order() {
        let mut fake = register(false);
        close(&mut fake, &[b"first".to_vec(), b"second".to_vec()], &mut ()).unwrap();
        let recorded = [b"first".as_slice(), b"second", &[0; 4]];
        let wanted = recorded.iter().fold(vec![0; 48], |value, event| {
            Hash::Sha384.digest(&[&value, &Hash::Sha384.digest(&[event])])
        });
        assert_eq!(fake.value, wanted);
    }

    #[derive(Default)]
    struct Log(Vec<(Vec<u8>, bool)>, usize);

    impl RegisterLog for Log {
        fn begin(&mut self, _: Register) {
            self.1 += 1;
        }

        fn extended(&mut self, what: &Extended<'_>) {
            assert_eq!(self.1, 1);
            for (bank, digest) in &what.digests {
                assert_eq!(*digest, bank.digest(&[what.event]));
            }
            self.0.push((what.event.to_vec(), what.is_cap()));
        }
    }

    #[test]
    fn a_log_hears_of_each_extension_and_of_none_where_the_boot_is_closed() {
        let (mut fake, mut log) = (register(false), Log::default());
        close(&mut fake, &[b"event".to_vec()], &mut log).unwrap();
        assert_eq!(log.0, [(b"event".to_vec(), false), (vec![0; 4], true)]);
        let mut log = Log::default();
        close(&mut fake, &[b"event".to_vec()], &mut log).unwrap_err();
        assert_eq!((log.0.len(), log.1), (0, 0));
    }

    #[test]
    fn closes_no_boot_twice() {
        let mut fake = register(false);
        close(&mut fake, &[b"event".to_vec()], &mut ()).unwrap();
        let again = close(&mut fake, &[b"event".to_vec()], &mut ());
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
        let error = close(&mut register(true), &[b"event".to_vec()], &mut ());
        assert!(matches!(
            error,
            Err(CollectError::CloseNotSeen {
                register: Register::Rtmr3,
                ..
            })
        ));
    }
}
