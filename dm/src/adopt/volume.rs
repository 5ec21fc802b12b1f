//! An adopted volume on its way from the configured disk to a mapping.

use std::fmt;
use std::path::{Path, PathBuf};

use dawnkey_secret::Dek;

use super::error::AdoptError;
use super::memory::Foreign;
use crate::disk::{Access, Disks, SystemDisks};
use crate::error::MapError;
use crate::header::HeaderSeen;
use crate::mapper::{Mapped, Wanted};
use crate::tables::MappedName;

/// Epoch and generation of every adopted volume: its header is not Dawnkey's to count in.
const CONSTANT: u32 = 1;

/// A volume that something else formatted: its header judged and in memory, its keyslots closed.
pub struct AdoptedVolume {
    foreign: Foreign,
    device: PathBuf,
    name: MappedName,
}

impl fmt::Debug for AdoptedVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdoptedVolume")
            .field("device", &self.device)
            .field("name", &self.name)
            .field("header", self.foreign.header())
            .finish_non_exhaustive()
    }
}

impl AdoptedVolume {
    /// Reads the header of the configured disk, once. No other disk is looked at: what a foreign header says of itself is
    /// worth nothing until the key service has compared its digest.
    pub(crate) fn find(wanted: &Wanted) -> Result<Self, MapError> {
        let device = wanted.device.clone().ok_or(AdoptError::NoDevice);
        let device = device.map_err(failed(Path::new("no disk")))?;
        let disk = SystemDisks.open(&device, Access::Read)?;
        if let Some(holder) = SystemDisks.holder(disk.as_ref()) {
            return Err(MapError::InUse { device, holder });
        }
        let foreign = Foreign::read(disk.as_ref()).map_err(failed(&device))?;
        let header = foreign.header();
        if header.volume() != wanted.volume {
            let (found, wanted) = (header.volume(), wanted.volume);
            return Err(failed(&device)(AdoptError::OtherVolume { found, wanted }));
        }
        if header.integrity() != wanted.integrity {
            return Err(MapError::IntegrityDiffers {
                device,
                found: header.integrity(),
                wanted: wanted.integrity,
            });
        }
        Ok(Self {
            foreign,
            device,
            name: wanted.name.clone(),
        })
    }

    /// What the key service compares.
    #[must_use]
    pub fn seen(&self) -> HeaderSeen {
        HeaderSeen {
            generation: u64::from(CONSTANT),
            epoch: CONSTANT,
            digest: self.foreign.header().digest(),
        }
    }

    /// The disk.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Maps the volume with the DEK in one of its keyslots.
    #[cfg(feature = "adopt")]
    pub(crate) fn open(self, dek: &Dek) -> Result<Mapped, MapError> {
        use crate::disk::Disk as _;
        use crate::disk::OsDisk;
        use crate::mapper::{Ready, Timings};

        let mut timings = Timings::default();
        let device = crate::volumes::timed(&mut timings.crypt, || {
            self.foreign
                .activate(&self.device, &self.name, dek)
                .map_err(failed(&self.device))
        })?;
        let bytes = OsDisk::open(&device, Access::Read)?.bytes();
        Ok(Mapped {
            device,
            seen: self.seen(),
            name: self.name,
            ready: Ready {
                ready_bytes: bytes,
                total_bytes: bytes,
            },
            timings,
        })
    }

    /// Without the feature `adopt` there is nothing that opens keyslots.
    #[cfg(not(feature = "adopt"))]
    pub(crate) fn open(self, _: &Dek) -> Result<Mapped, MapError> {
        Err(failed(&self.device)(AdoptError::NotBuilt))
    }
}

fn failed(device: &Path) -> impl Fn(AdoptError) -> MapError {
    let device = device.to_owned();
    move |source| MapError::Adopted {
        device: device.clone(),
        source,
    }
}
