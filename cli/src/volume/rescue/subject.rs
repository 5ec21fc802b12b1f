//! What a rescue is about: a volume of Dawnkey's, or an adopted one, checked before any key is asked for.

use crate::outcome::{Failure, chain};
use crate::volume::stock::Key;
use crate::volume::{disk, unseal};
use dawnkey_dm::adopt::Foreign;
use dawnkey_dm::disk::Disk;
use dawnkey_dm::geometry::{DATA_OFFSET_BYTES, Integrity, SECTOR_BYTES};
use dawnkey_dm::header::{self, SealedHeader};
use dawnkey_dm::superblock::{self, SUPERBLOCK_BYTES};
use dawnkey_secret::{Dek, VolumeKey};
use std::path::Path;
use uuid::Uuid;

/// A header that was checked.
pub(super) enum Subject {
    /// Dawnkey's own.
    Own(SealedHeader),
    /// One that something else wrote, with a DEK in a keyslot.
    Adopted(Foreign),
}

/// The secret that cryptsetup gets.
pub(super) enum Opener {
    /// The volume key, out of the seal.
    VolumeKey(VolumeKey),
    /// The DEK, a passphrase of an adopted volume.
    Dek(Dek),
}

impl Opener {
    /// As cryptsetup takes it.
    pub(super) fn key(&self) -> Key<'_> {
        match self {
            Self::VolumeKey(key) => Key::Volume(key.expose()),
            Self::Dek(dek) => Key::Passphrase(dek.expose()),
        }
    }
}

impl Subject {
    /// Reads and checks the header of `volume`, the disk's size and the integrity superblock.
    pub(super) fn read(disk: &dyn Disk, volume: Uuid) -> Result<Self, Failure> {
        let region = disk::region(disk)?;
        if header::parse(&region).is_err()
            && let Ok(foreign) = Foreign::read(disk)
            && foreign.header().volume() == volume
        {
            return Ok(Self::Adopted(foreign));
        }
        let header = disk::parse(&region, disk.path(), volume)?.header;
        check(&header, disk)?;
        Ok(Self::Own(header))
    }

    /// Epoch and generation; those of an adopted volume are always 1.
    pub(super) fn epoch_and_generation(&self) -> (u32, u64) {
        match self {
            Self::Own(header) => {
                let seen = header.seen();
                (seen.epoch, seen.generation)
            }
            Self::Adopted(_) => (1, 1),
        }
    }

    /// How changed blocks are found.
    pub(super) fn integrity(&self) -> Integrity {
        match self {
            Self::Own(header) => header.integrity(),
            Self::Adopted(foreign) => foreign.header().integrity(),
        }
    }

    /// The header that was checked, with keyslots if it has any.
    pub(super) fn area(&self) -> Vec<u8> {
        match self {
            Self::Own(header) => header.encode().to_vec(),
            Self::Adopted(foreign) => foreign.area().to_vec(),
        }
    }

    /// What opens the volume. The DEK of an adopted volume is tried by cryptsetup.
    pub(super) fn open(&self, dek: Dek, path: &Path) -> Result<Opener, Failure> {
        match self {
            Self::Own(header) => unseal::volume_key(header, &dek, path).map(Opener::VolumeKey),
            Self::Adopted(_) => Ok(Opener::Dek(dek)),
        }
    }

    /// Bytes that are ready, if the wipe behind the volume had not ended.
    pub(super) fn unfinished(&self) -> Option<u64> {
        let Self::Own(header) = self else {
            return None;
        };
        let layout = header.layout();
        (!layout.is_ready()).then(|| layout.ready_sectors() * SECTOR_BYTES)
    }
}

/// Compares the disk with what the header says of it.
fn check(header: &SealedHeader, disk: &dyn Disk) -> Result<(), Failure> {
    let (layout, place) = (header.layout(), disk.path().display());
    let (bytes, needed) = (disk.bytes(), layout.needed_disk_bytes());
    if bytes < needed {
        return Err(Failure::local(
            format!("the disk has {bytes} bytes, its volume needs {needed}"),
            place,
            "the whole disk or a whole copy; `truncate -s` brings a copy back to its length",
        ));
    }
    if layout.journal_mac() {
        return Err(Failure::local(
            "the volume's journal has a MAC, for which LUKS2 has no place: cryptsetup cannot open it",
            place,
            "the disk or a whole copy in a node that the policy allows: the agent opens it there",
        ));
    }
    if !header.integrity().has_tags() {
        return Ok(());
    }
    let mut found = [0; SUPERBLOCK_BYTES];
    disk.read_at(DATA_OFFSET_BYTES, &mut found).map_err(|e| {
        Failure::local(
            format!("read the dm-integrity superblock: {e}"),
            place.to_string(),
            "a readable disk",
        )
    })?;
    superblock::check(&found, &layout, layout.data_sectors())
        .map_err(|e| Failure::local(chain(&e), place, "a disk whose integrity layer is whole"))
}
