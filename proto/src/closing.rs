//! How a boot is closed: what its last register is extended with, and the value that this leaves there.
//!
//! The agent extends the register once for each open volume, in the order of its configuration, and caps it. The key
//! service computes the same value from what it confirmed.

use crate::recovery::KeyId;
use sha2::{Digest, Sha256, Sha384};
use uuid::Uuid;

/// What the register is extended with begins with these bytes.
const LABEL: &[u8] = b"dawnkey/v1/unlocked";
/// What it is extended with after a recovery begins with these bytes.
const RECOVERED_LABEL: &[u8] = b"dawnkey/v1/recovered";
/// What it is extended with where only a key was given begins with these bytes.
const BROKERED_LABEL: &[u8] = b"dawnkey/v1/brokered";
/// What the register is capped with is the digest of these bytes, the TCG's separator.
const CAP: [u8; 4] = [0; 4];

/// A volume that a boot was closed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The volume.
    pub volume: Uuid,
    /// The generation that it was opened with.
    pub generation: u64,
}

/// The event of one open volume:
/// `"dawnkey/v1/unlocked" ‖ service id (16) ‖ volume id (16) ‖ generation (64-bit big-endian)`.
#[must_use]
pub fn event(service_id: Uuid, opened: &Opened) -> Vec<u8> {
    let mut event = LABEL.to_vec();
    event.extend(service_id.as_bytes());
    event.extend(opened.volume.as_bytes());
    event.extend(opened.generation.to_be_bytes());
    event
}

/// The event of one volume that an operator's grant has opened:
/// `"dawnkey/v1/recovered" ‖ grant key's name (8) ‖ volume id (16) ‖ generation (64-bit big-endian)`.
///
/// No service knows of it, so that none reopens a volume in such a boot.
#[must_use]
pub fn recovered_event(key: KeyId, opened: &Opened) -> Vec<u8> {
    let mut event = RECOVERED_LABEL.to_vec();
    event.extend(key.0);
    event.extend(opened.volume.as_bytes());
    event.extend(opened.generation.to_be_bytes());
    event
}

/// The event of one volume whose key came from somebody who only keeps keys:
/// `"dawnkey/v1/brokered" ‖ volume id (16) ‖ generation (64-bit big-endian)`.
#[must_use]
pub fn brokered_event(opened: &Opened) -> Vec<u8> {
    let mut event = BROKERED_LABEL.to_vec();
    event.extend(opened.volume.as_bytes());
    event.extend(opened.generation.to_be_bytes());
    event
}

/// What one event of a boot's last register says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// A service has released the key.
    Unlocked {
        /// Which service.
        service: Uuid,
        /// What it opened.
        opened: Opened,
    },
    /// An operator's grant has opened the volume.
    Recovered {
        /// The grant's key.
        key: KeyId,
        /// What it opened.
        opened: Opened,
    },
    /// Somebody who only keeps keys has given it.
    Brokered {
        /// What it opened.
        opened: Opened,
    },
    /// The boot is closed.
    Cap,
}

impl Recorded {
    /// Reads an event; `None` if it is no agent's.
    #[must_use]
    pub fn read(event: &[u8]) -> Option<Self> {
        if event == CAP {
            return Some(Self::Cap);
        }
        if let Some(rest) = event.strip_prefix(LABEL) {
            let (service, rest) = rest.split_first_chunk()?;
            let (service, opened) = (Uuid::from_bytes(*service), Opened::read(rest)?);
            return Some(Self::Unlocked { service, opened });
        }
        if let Some(rest) = event.strip_prefix(BROKERED_LABEL) {
            let opened = Opened::read(rest)?;
            return Some(Self::Brokered { opened });
        }
        let rest = event.strip_prefix(RECOVERED_LABEL)?;
        let (key, rest) = rest.split_first_chunk()?;
        let (key, opened) = (KeyId(*key), Opened::read(rest)?);
        Some(Self::Recovered { key, opened })
    }

    /// Its kind for programs: `unlocked`, `recovered`, `brokered` or `cap`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unlocked { .. } => "unlocked",
            Self::Recovered { .. } => "recovered",
            Self::Brokered { .. } => "brokered",
            Self::Cap => "cap",
        }
    }
}

impl Opened {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (volume, rest) = bytes.split_first_chunk()?;
        Some(Self {
            volume: Uuid::from_bytes(*volume),
            generation: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

impl std::fmt::Display for Recorded {
    /// In the manner of systemd's events: a word for who measures, then what, with colons between.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dawnkey:{}", self.kind())?;
        let opened = match self {
            Self::Unlocked { service, opened } => {
                write!(f, ":service={service}")?;
                opened
            }
            Self::Recovered { key, opened } => {
                write!(f, ":key={key}")?;
                opened
            }
            Self::Brokered { opened } => opened,
            Self::Cap => return Ok(()),
        };
        let Opened { volume, generation } = opened;
        write!(f, ":volume={volume}:generation={generation}")
    }
}

/// Value of a PCR of the SHA-256 bank that was zero, after the events of `opened` in this order and the cap.
#[must_use]
pub fn closed_pcr(service_id: Uuid, opened: &[Opened]) -> [u8; 32] {
    register::<Sha256>(service_id, opened).into()
}

/// The same for an RTMR of a TD, with SHA-384.
#[must_use]
pub fn closed_rtmr(service_id: Uuid, opened: &[Opened]) -> [u8; 48] {
    register::<Sha384>(service_id, opened).into()
}

fn register<H: Digest>(service_id: Uuid, opened: &[Opened]) -> sha2::digest::Output<H> {
    let events = opened.iter().map(|one| event(service_id, one));
    let mut value = sha2::digest::Output::<H>::default();
    for recorded in events.chain([CAP.to_vec()]) {
        value = H::new()
            .chain_update(&value)
            .chain_update(H::digest(recorded))
            .finalize();
    }
    value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn closed_registers_match_the_published_vectors() {
        // Computed apart from this code: python3 hashlib over the events in docs/protocol.md.
        let mut expected = include_str!("../tests/vectors/closed-boot.hex").lines();
        let opened = [(7, 2), (8, 5)].map(|(volume, generation)| Opened {
            volume: Uuid::from_u128(volume),
            generation,
        });
        let service = Uuid::from_u128(0xa);
        assert_eq!(
            hex::encode(closed_pcr(service, &opened)),
            expected.next().unwrap()
        );
        assert_eq!(
            hex::encode(closed_rtmr(service, &opened)),
            expected.next().unwrap()
        );
    }

    #[test]
    fn a_recovery_is_no_unlock_by_any_service() {
        let opened = Opened {
            volume: Uuid::from_u128(7),
            generation: 2,
        };
        let recovered = recovered_event(KeyId([1; 8]), &opened);
        assert_eq!(recovered.len(), 20 + 8 + 16 + 8);
        assert!(recovered.starts_with(b"dawnkey/v1/recovered"));
        assert_ne!(recovered, recovered_event(KeyId([2; 8]), &opened));
        assert!(!event(Uuid::from_u128(1), &opened).starts_with(RECOVERED_LABEL));
        let brokered = brokered_event(&opened);
        assert_eq!(brokered.len(), 19 + 16 + 8);
        assert!(brokered.starts_with(b"dawnkey/v1/brokered"));
    }

    #[test]
    fn an_event_is_read_as_it_was_written_and_no_other() {
        let opened = Opened {
            volume: Uuid::from_u128(7),
            generation: 2,
        };
        let (service, key) = (Uuid::from_u128(9), KeyId([1; 8]));
        let written = [
            (
                event(service, &opened),
                Recorded::Unlocked { service, opened },
            ),
            (
                recovered_event(key, &opened),
                Recorded::Recovered { key, opened },
            ),
            (brokered_event(&opened), Recorded::Brokered { opened }),
            (CAP.to_vec(), Recorded::Cap),
        ];
        for (bytes, recorded) in written {
            assert_eq!(Recorded::read(&bytes), Some(recorded));
            assert_eq!(Recorded::read(&bytes[1..]), None);
            assert_eq!(Recorded::read(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Recorded::read(&[bytes.as_slice(), &[0]].concat()), None);
        }
        assert_eq!(
            Recorded::Unlocked { service, opened }.to_string(),
            "dawnkey:unlocked:service=00000000-0000-0000-0000-000000000009:\
             volume=00000000-0000-0000-0000-000000000007:generation=2"
        );
    }

    #[test]
    fn order_generation_and_number_of_volumes_change_the_value() {
        let one = Opened {
            volume: Uuid::from_u128(1),
            generation: 1,
        };
        let other = Opened {
            volume: Uuid::from_u128(2),
            generation: 1,
        };
        let later = Opened {
            generation: 2,
            ..one
        };
        let value = |opened: &[Opened]| closed_pcr(Uuid::from_u128(3), opened);
        let all = [
            value(&[one, other]),
            value(&[other, one]),
            value(&[later, other]),
            value(&[one]),
            value(&[]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b));
        }
    }
}
