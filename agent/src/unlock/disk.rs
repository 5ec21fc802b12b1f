//! What was found for a volume: Dawnkey's own, one that something else formatted, or a blank disk.

use crate::config::VolumeConfig;
use dawnkey_dm::adopt::AdoptedVolume;
use dawnkey_dm::{BlankDisk, Found, MapError, Mapper, SealedVolume};

/// A disk, from finding it to mapping it.
#[derive(Debug)]
pub(super) enum Disk {
    /// A volume, its seal closed.
    Volume(SealedVolume),
    /// A volume that something else formatted, its keyslots closed.
    Adopted(Box<AdoptedVolume>),
    /// The configured disk, blank.
    Blank(BlankDisk),
    /// No disk: only the key is wanted.
    None,
}

impl Disk {
    /// Finds what the configuration names. It says which kind of volume is wanted; the disk does not.
    pub(super) fn find(config: &VolumeConfig, mapper: &mut impl Mapper) -> Result<Self, MapError> {
        let wanted = &config.wanted;
        if config.adopted {
            let volume = mapper.find_adopted(wanted)?;
            return Ok(Self::Adopted(Box::new(volume)));
        }
        Ok(match mapper.find(wanted)? {
            Found::Volume(volume) => Self::Volume(volume),
            Found::Blank(blank) => Self::Blank(blank),
        })
    }
}
