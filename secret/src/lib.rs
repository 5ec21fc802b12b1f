//! Secrets of Dawnkey: one type per role, and the process settings that keep them in memory only.
//!
//! Every key that exists in clear is one of the types below. Each lives in its own heap allocation,
//! is filled in place, is wiped when dropped, prints as `Dek(redacted)`, and can neither be cloned
//! nor serialised. The only way to its bytes is [`Dek::expose`] and its siblings, so that a search
//! for `expose(` lists every place where a key is used.
//!
//! [`process::harden`] is called first by every program that holds one. [`user_key`] leaves one in the kernel's memory
//! for another process. `credential` (a feature) reads what proves to other systems who we are.

#[cfg(feature = "credential")]
pub mod credential;
pub mod process;
pub mod user_key;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A buffer had another length than the secret's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongLength {
    /// The name of the secret's type.
    pub what: &'static str,
    /// Bytes that were given.
    pub given: usize,
}

impl std::fmt::Display for WrongLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be made of {} bytes", self.what, self.given)
    }
}

impl std::error::Error for WrongLength {}

macro_rules! fixed {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        pub struct $name(Box<Zeroizing<[u8; $len]>>);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Makes the secret in place: `fill` writes into the final allocation.
            pub fn fill<E>(fill: impl FnOnce(&mut [u8; $len]) -> Result<(), E>) -> Result<Self, E> {
                let mut secret = Self(Box::new(Zeroizing::new([0; $len])));
                fill(&mut secret.0)?;
                Ok(secret)
            }

            /// Copies the secret out of a buffer and wipes the buffer, whatever the outcome.
            pub fn take(source: &mut [u8]) -> Result<Self, WrongLength> {
                let given = source.len();
                let made = Self::fill(|bytes| {
                    if given != $len {
                        return Err(WrongLength { what: stringify!($name), given });
                    }
                    bytes.copy_from_slice(source);
                    Ok(())
                });
                source.zeroize();
                made
            }

            /// The bytes in clear. Every call is a place to review.
            #[must_use]
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.expose().ct_eq(other.expose()).into()
            }
        }
        impl Eq for $name {}
    };
}

fixed!(
    /// Data encryption key of one volume and epoch: opens the seal in the volume's header.
    Dek,
    32
);
fixed!(
    /// Proves to the key service that the holder of a released DEK speaks; sealed together with it.
    ConfirmToken,
    32
);
fixed!(
    /// Renews a lease: whoever has it runs the volume. Derived from the confirm token.
    LeaseToken,
    32
);
fixed!(
    /// Key under which a header's volume key is sealed, derived from the DEK.
    SealKey,
    32
);

fixed!(
    /// Key of the MAC over a volume's dm-integrity journal, derived from the volume key.
    JournalKey,
    32
);

fixed!(
    /// Opens the one keyslot of a header that is made for one boot and for the system's own tools.
    SlotKey,
    32
);

/// Key of the block cipher: 64 bytes for AES-256-XTS, 96 with an HMAC-SHA256 key behind it.
pub struct VolumeKey(Zeroizing<Vec<u8>>);

impl VolumeKey {
    /// Makes a key of `len` bytes in place: `fill` writes into the final allocation.
    pub fn fill<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes in clear. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VolumeKey(redacted)")
    }
}

/// Key that an in-cluster caller asked for by id and length.
pub struct DataKey(Zeroizing<Vec<u8>>);

impl DataKey {
    /// Makes a key of `len` bytes in place: `fill` writes into the final allocation.
    pub fn fill<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes in clear. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}

/// Secret from which a key service in `cluster` mode derives its DEKs: 16 to 64 bytes.
pub struct MasterSecret(Zeroizing<Vec<u8>>);

impl MasterSecret {
    /// Fewest bytes accepted (Constellation's minimum).
    pub const MIN: usize = 16;
    /// Most bytes accepted.
    pub const MAX: usize = 64;

    /// Copies the secret out of a buffer and wipes the buffer, whatever the outcome.
    pub fn take(source: &mut [u8]) -> Result<Self, WrongLength> {
        let given = source.len();
        let made = (Self::MIN..=Self::MAX)
            .contains(&given)
            .then(|| Self(Zeroizing::new(source.to_vec())))
            .ok_or(WrongLength {
                what: "MasterSecret",
                given,
            });
        source.zeroize();
        made
    }

    /// The bytes in clear. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterSecret(redacted)")
    }
}

/// What proves to another system who we are: a token, a password, a client secret. 1 to 65536 bytes.
pub struct Credential(Zeroizing<Vec<u8>>);

impl Credential {
    /// Most bytes accepted.
    pub const MAX: usize = 65536;

    /// Copies the credential out of a buffer and wipes the buffer, whatever the outcome.
    pub fn take(source: &mut [u8]) -> Result<Self, WrongLength> {
        let given = source.len();
        let made = (1..=Self::MAX)
            .contains(&given)
            .then(|| Self(Zeroizing::new(source.to_vec())))
            .ok_or(WrongLength {
                what: "Credential",
                given,
            });
        source.zeroize();
        made
    }

    /// The bytes in clear. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_byte_of_the_secret() {
        let dek = Dek::take(&mut [0xa7; 32]).unwrap();
        let master = MasterSecret::take(&mut [0xa7; 32]).unwrap();
        let token = Credential::take(&mut [0xa7; 20]);
        let filled = |b: &mut [u8]| {
            b.fill(0xa7);
            Ok::<_, ()>(())
        };
        let volume = VolumeKey::fill(64, filled);
        let data = DataKey::fill(64, filled);
        assert_eq!(format!("{dek:?}"), "Dek(redacted)");
        assert_eq!(format!("{master:?}"), "MasterSecret(redacted)");
        assert_eq!(format!("{token:?}"), "Ok(Credential(redacted))");
        assert_eq!(format!("{volume:?}"), "Ok(VolumeKey(redacted))");
        assert_eq!(format!("{data:?}"), "Ok(DataKey(redacted))");
    }

    #[test]
    fn taking_wipes_the_source_even_when_refused() {
        let mut short = [7; 31];
        let refused = Dek::take(&mut short);
        assert_eq!(
            refused,
            Err(WrongLength {
                what: "Dek",
                given: 31
            })
        );
        assert_eq!(short, [0; 31]);
        let mut good = [7; 32];
        assert_eq!(Dek::take(&mut good).unwrap().expose(), &[7; 32]);
        assert_eq!(good, [0; 32]);
    }

    #[test]
    fn refuses_master_secret_below_sixteen_bytes() {
        let refused = MasterSecret::take(&mut [1; 15]);
        assert!(matches!(refused, Err(WrongLength { given: 15, .. })));
    }
}
