//! A secret: the same steps with nothing to map, and the key handed to whoever it is for.

use super::disk::Disk;
use super::{Boot, By, Made, Mapped, Measured, Outcome, Released, Trace, Unlock};
use crate::error::UnlockError;
use dawnkey_dm::{HeaderSeen, Mapped as Mapping, MappedName, Ready, Timings};
use dawnkey_proto::secret;
use dawnkey_secret::Dek;
use std::io;
use std::path::PathBuf;
use uuid::Uuid;

/// What stands where a mapping has its name.
const NAME: &str = "secret";

impl Unlock<Measured> {
    /// Makes the request for a secret.
    pub fn secret(volume: Uuid, boot: Boot<'_>, node_name: &str) -> Result<Self, UnlockError> {
        Self::request(volume, Disk::None, boot, node_name, Trace::default())
    }
}

impl<S> Unlock<Released<S>> {
    /// Hands the key on. It ends here, but for the copy that `hand` makes.
    pub fn hand(
        self,
        hand: impl FnOnce(&Dek) -> io::Result<()>,
    ) -> Result<Unlock<Mapped<S>>, UnlockError> {
        let name = MappedName::new(NAME).map_err(|_| UnlockError::NoDisk)?;
        let Released {
            volume,
            dek,
            given,
            session,
            ..
        } = self.state;
        hand(&dek).map_err(UnlockError::Hand)?;
        drop(dek);
        let header = secret::header();
        let mapping = Mapping {
            device: PathBuf::from(NAME),
            name,
            seen: HeaderSeen {
                generation: header.generation,
                epoch: header.epoch,
                digest: header.digest,
            },
            ready: Ready {
                ready_bytes: 0,
                total_bytes: 0,
            },
            timings: Timings::default(),
        };
        let made = Made {
            outcome: Outcome::Unlocked,
            volume,
            mapping,
            by: By::of(given),
        };
        let session = Some(session);
        Ok(Self::next(self.trace, Mapped { made, session }))
    }
}
