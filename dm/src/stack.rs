//! The devices of one volume, from the disk up, and taking them away.
//!
//! | device | target | there when |
//! |---|---|---|
//! | `NAME_dif` | integrity | blocks have tags |
//! | `NAME_whole` | crypt | not all of the volume is ready |
//! | `NAME` | linear over the ready part of `NAME_whole`; crypt when all is ready | always |

use dawnkey_secret::VolumeKey;
use zeroize::Zeroize;

use crate::behind::whole::Whole;
use crate::devices::{Audience, Devices};
use crate::disk::Disk;
use crate::error::MapError;
use crate::geometry::{BLOCK_SECTORS, DATA_OFFSET_BYTES, SECTOR_BYTES};
use crate::header::journal_key;
use crate::keyring::LogonKey;
use crate::mapper::Timings;
use crate::steps::{self, Steps};
use crate::superblock::{self, SUPERBLOCK_BYTES};
use crate::tables::{self, DeviceNumber, MappedName, Writing};
use crate::taken::{self, Loaded};
use crate::volumes::{Activated, Plan, check_superblock, disk_error, timed};

/// What a volume is mapped over, and how.
pub(crate) struct Lower<'a> {
    pub(crate) disk: DeviceNumber,
    pub(crate) writing: Writing,
    pub(crate) key: &'a VolumeKey,
}

/// Maps all layers. After an error some of them may be there: the caller takes them away.
pub(crate) fn map(
    devices: &Devices,
    plan: &Plan<'_>,
    lower: &Lower<'_>,
    timings: &mut Timings,
) -> Result<Activated, MapError> {
    let below = if plan.layout.integrity().has_tags() {
        timed(&mut timings.integrity, || {
            integrity(devices, plan, lower, plan.layout.data_sectors())
        })?
    } else {
        lower.disk
    };
    let audience = match lower.writing {
        Writing::Journal => Audience::System,
        Writing::Direct => Audience::Us,
    };
    let name = plan.name.as_str();
    let uuid = tables::crypt_uuid(plan.volume, plan.name);
    if plan.layout.is_ready() {
        let number = timed(&mut timings.crypt, || {
            crypt(devices, plan, lower.key, below, (name, &uuid, audience))
        })?;
        return Ok(Activated {
            device: devices.node(name, number)?,
            ready_sectors: plan.layout.ready_sectors(),
        });
    }
    let layer = plan.name.whole_layer();
    let layer_uuid = tables::layer_uuid(plan.volume, &layer);
    let whole = timed(&mut timings.crypt, || {
        let identity = (layer.as_str(), layer_uuid.as_str(), Audience::Us);
        crypt(devices, plan, lower.key, below, identity)
    })?;
    timed(&mut timings.ready, || {
        let ready_sectors = ready_sectors(plan, whole)?;
        let table = tables::linear(whole, ready_sectors);
        let number = devices.create(name, &uuid, &table, audience, None)?;
        let device = devices.node(name, number)?;
        Ok(Activated {
            device,
            ready_sectors,
        })
    })
}

/// How far the wipe has come: what is sealed, and what an earlier boot has wiped behind that.
fn ready_sectors(plan: &Plan<'_>, whole: DeviceNumber) -> Result<u64, MapError> {
    let sealed = plan.layout.ready_sectors();
    match plan.wiped_before {
        Some(end) if end > sealed => {
            let steps = Steps::new(sealed * SECTOR_BYTES, end * SECTOR_BYTES);
            let found = steps::find(&steps, &mut Whole::read(whole)?)?;
            Ok(found.wiped_bytes / SECTOR_BYTES)
        }
        _ => Ok(sealed),
    }
}

/// The integrity layer, as many sectors of it.
fn integrity(
    devices: &Devices,
    plan: &Plan<'_>,
    lower: &Lower<'_>,
    sectors: u64,
) -> Result<DeviceNumber, MapError> {
    let journal = plan.layout.journal_mac().then(|| journal_key(lower.key));
    let journal = journal.transpose()?;
    let (disk, writing) = (lower.disk, lower.writing);
    let mut table = tables::integrity(disk, &plan.layout, sectors, writing, journal.as_ref());
    let layer = plan.name.integrity_layer();
    let uuid = tables::layer_uuid(plan.volume, &layer);
    // What the disk showed the kernel must be the sealed layout: nothing is started with another one.
    let inspect = |loaded: &Loaded| {
        taken::check(loaded, disk, &plan.layout, writing, journal.as_ref()).map_err(|source| {
            MapError::Taken {
                device: layer.clone(),
                source,
            }
        })
    };
    let created = devices.create(&layer, &uuid, &table, Audience::Us, Some(&inspect));
    table.3.zeroize();
    created
}

/// Maps the encrypting layer under a name and UUID; the key is in the keyring only meanwhile.
fn crypt(
    devices: &Devices,
    plan: &Plan<'_>,
    key: &VolumeKey,
    below: DeviceNumber,
    (name, uuid, audience): (&str, &str, Audience),
) -> Result<DeviceNumber, MapError> {
    let table = tables::crypt(below, &plan.layout, plan.volume);
    let in_kernel = LogonKey::add(plan.volume, key)?;
    let number = devices.create(name, uuid, &table, audience, None)?;
    in_kernel.unlink()?;
    Ok(number)
}

/// Zeroes the superblock, lets the kernel write its own, and compares that with the layout.
///
/// The kernel writes one when a table is loaded over a zeroed block. The table is 8 sectors long: should the kernel
/// compute another size than we did, the comparison says so, not a failed mapping.
pub(crate) fn initialise_superblock(
    devices: &Devices,
    plan: &Plan<'_>,
    disk: &mut dyn Disk,
    key: &VolumeKey,
) -> Result<(), MapError> {
    let path = disk.path().to_owned();
    disk.write_at(DATA_OFFSET_BYTES, &[0; SUPERBLOCK_BYTES])
        .and_then(|()| disk.flush())
        .map_err(disk_error("zero the dm-integrity superblock", &path))?;
    let lower = Lower {
        disk: number_of(disk)?,
        writing: Writing::Journal,
        key,
    };
    integrity(devices, plan, &lower, BLOCK_SECTORS)?;
    devices.remove(&plan.name.integrity_layer())?;
    check_superblock(disk, plan, superblock::check_new)
}

/// Takes away whichever of the layers exist, the upper ones first.
pub(crate) fn unmap(devices: &Devices, name: &MappedName) -> Result<(), MapError> {
    for layer in name.layers() {
        if devices.exists(&layer)? {
            devices.remove(&layer)?;
        }
    }
    Ok(())
}

/// The same for those layers that were made through `devices`: another's under the same name stay.
pub(crate) fn undo(devices: &Devices, name: &MappedName) -> Result<(), MapError> {
    for layer in name.layers() {
        if devices.has_made(&layer) {
            devices.remove(&layer)?;
        }
    }
    Ok(())
}

/// The disk's number; plain files have none.
pub(crate) fn number_of(disk: &dyn Disk) -> Result<DeviceNumber, MapError> {
    let device = disk.path().to_owned();
    disk.number()
        .ok_or(crate::disk::OpenError::NotABlockDevice { device })
        .map_err(MapError::Open)
}
