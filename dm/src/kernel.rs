//! Activation by the Linux kernel: dm-crypt over dm-integrity, through the `devicemapper` crate.
//!
//! Must run on one thread from adding the key to loading the table: the key is in that thread's keyring.

use std::path::{Path, PathBuf};

use dawnkey_secret::{Dek, VolumeKey};

use crate::devices::{Audience, Devices};
use crate::disk::{Disk, SystemDisks};
use crate::error::MapError;
use crate::geometry::{BLOCK_SECTORS, DATA_OFFSET_BYTES, Integrity};
use crate::keyring::LogonKey;
use crate::mapper::{
    BlankDisk, Filesystem, Found, Grant, Mapped, Mapper, Progress, SealedVolume, Timings, Wanted,
};
use crate::superblock::{self, SUPERBLOCK_BYTES};
use crate::tables::{self, DeviceNumber, MappedName, Writing};
use crate::taken::{self, Loaded};
use crate::volumes::{Activation, Plan, Volumes, check_superblock, disk_error, timed};
use crate::{mkfs, wipe};

/// The mapper of a running machine. Needs root, `/dev/mapper/control` and the modules `dm-crypt` and `dm-integrity`.
#[derive(Debug)]
pub struct KernelMapper(Volumes<SystemDisks, KernelActivation>);

impl KernelMapper {
    /// Makes a mapper; nothing is touched before it is used.
    #[must_use]
    pub fn new() -> Self {
        Self(Volumes {
            disks: SystemDisks,
            activation: KernelActivation { devices: None },
        })
    }
}

impl Default for KernelMapper {
    fn default() -> Self {
        Self::new()
    }
}

impl Mapper for KernelMapper {
    fn find(&mut self, wanted: &Wanted) -> Result<Found, MapError> {
        self.0.find(wanted)
    }

    fn open(&mut self, volume: SealedVolume, dek: &Dek, grant: Grant) -> Result<Mapped, MapError> {
        self.0.open(volume, dek, grant)
    }

    fn format(
        &mut self,
        disk: BlankDisk,
        dek: &Dek,
        grant: Grant,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Mapped, MapError> {
        self.0.format(disk, dek, grant, progress)
    }

    fn close(&mut self, mapped: &Mapped) -> Result<(), MapError> {
        self.0.close(mapped)
    }
}

/// Keeps the device-mapper context between calls.
#[derive(Debug)]
struct KernelActivation {
    devices: Option<Devices>,
}

impl KernelActivation {
    fn devices(&mut self) -> Result<&Devices, MapError> {
        if self.devices.is_none() {
            self.devices = Some(Devices::open()?);
        }
        self.devices.as_ref().ok_or(MapError::DeviceMapper {
            doing: "open",
            device: "/dev/mapper/control".into(),
            detail: "no context".into(),
        })
    }
}

impl Activation for KernelActivation {
    fn refuse_taken(&mut self, name: &MappedName) -> Result<(), MapError> {
        let devices = self.devices()?;
        for layer in [name.as_str(), &name.integrity_layer()] {
            if devices.exists(layer)? {
                return Err(MapError::NameTaken { name: name.clone() });
            }
        }
        Ok(())
    }

    fn prepare(
        &mut self,
        plan: &Plan<'_>,
        disk: &mut dyn Disk,
        key: &VolumeKey,
        filesystem: Option<Filesystem>,
        progress: &mut dyn FnMut(Progress),
        timings: &mut Timings,
    ) -> Result<(), MapError> {
        let number = number_of(disk)?;
        let devices = self.devices()?;
        if plan.layout.integrity() == Integrity::HmacSha256 {
            timed(&mut timings.wipe, || {
                initialise_superblock(devices, plan, disk, number)
            })?;
        }
        let mut ignored = Timings::default();
        let device = map(devices, plan, number, Writing::Direct, key, &mut ignored)?;
        let prepared = fill(plan, &device, filesystem, progress, timings);
        let unmapped = unmap(devices, plan.name);
        prepared.and(unmapped)
    }

    fn activate(
        &mut self,
        plan: &Plan<'_>,
        disk: &dyn Disk,
        key: &VolumeKey,
        timings: &mut Timings,
    ) -> Result<PathBuf, MapError> {
        let number = number_of(disk)?;
        let devices = self.devices()?;
        if plan.layout.integrity() == Integrity::HmacSha256 {
            check_superblock(disk, &plan.layout, superblock::check)?;
        }
        let device = map(devices, plan, number, Writing::Journal, key, timings)?;
        Ok(device)
    }

    fn deactivate(&mut self, name: &MappedName) -> Result<(), MapError> {
        unmap(self.devices()?, name)
    }
}

/// Wipes, so that every block has a valid tag, and makes the filesystem.
fn fill(
    plan: &Plan<'_>,
    device: &Path,
    filesystem: Option<Filesystem>,
    progress: &mut dyn FnMut(Progress),
    timings: &mut Timings,
) -> Result<(), MapError> {
    if plan.layout.integrity() == Integrity::HmacSha256 {
        timed(&mut timings.wipe, || wipe::zeros(device, progress))?;
    }
    if let Some(filesystem) = filesystem {
        progress(Progress::Filesystem);
        timed(&mut timings.filesystem, || mkfs::make(filesystem, device))?;
    }
    Ok(())
}

/// Zeroes the superblock, lets the kernel write its own, and compares that with the layout.
///
/// The kernel writes one when a table is loaded over a zeroed block. The table is 8 sectors long: should the kernel
/// compute another size than we did, the comparison says so, not a failed mapping.
fn initialise_superblock(
    devices: &Devices,
    plan: &Plan<'_>,
    disk: &mut dyn Disk,
    number: DeviceNumber,
) -> Result<(), MapError> {
    let path = disk.path().to_owned();
    disk.write_at(DATA_OFFSET_BYTES, &[0; SUPERBLOCK_BYTES])
        .and_then(|()| disk.flush())
        .map_err(disk_error("zero the dm-integrity superblock", &path))?;
    let table = tables::integrity(number, &plan.layout, BLOCK_SECTORS, Writing::Journal);
    let (name, uuid) = integrity_identity(plan);
    let inspect = inspect(plan, number, Writing::Journal);
    devices.create(&name, &uuid, &table, Audience::Us, Some(&inspect))?;
    devices.remove(&name)?;
    check_superblock(disk, &plan.layout, superblock::check_new)
}

/// Compares what dm-integrity took with the layout. Whatever the disk showed the kernel, nothing is started with
/// another one.
fn inspect(
    plan: &Plan<'_>,
    disk: DeviceNumber,
    writing: Writing,
) -> impl Fn(&Loaded) -> Result<(), MapError> {
    let (layout, device) = (plan.layout, plan.name.integrity_layer());
    move |loaded| {
        taken::check(loaded, disk, &layout, writing).map_err(|source| MapError::Taken {
            device: device.clone(),
            source,
        })
    }
}

/// Maps both layers, or nothing.
fn map(
    devices: &Devices,
    plan: &Plan<'_>,
    disk: DeviceNumber,
    writing: Writing,
    key: &VolumeKey,
    timings: &mut Timings,
) -> Result<PathBuf, MapError> {
    let below = match plan.layout.integrity() {
        Integrity::None => disk,
        Integrity::HmacSha256 => timed(&mut timings.integrity, || {
            let sectors = plan.layout.data_sectors();
            let table = tables::integrity(disk, &plan.layout, sectors, writing);
            let (name, uuid) = integrity_identity(plan);
            let inspect = inspect(plan, disk, writing);
            devices.create(&name, &uuid, &table, Audience::Us, Some(&inspect))
        })?,
    };
    let mapped = timed(&mut timings.crypt, || {
        let table = tables::crypt(below, &plan.layout, plan.volume);
        let uuid = tables::crypt_uuid(plan.volume, plan.name);
        let audience = match writing {
            Writing::Journal => Audience::System,
            Writing::Direct => Audience::Us,
        };
        let in_kernel = LogonKey::add(plan.volume, key)?;
        let number = devices.create(plan.name.as_str(), &uuid, &table, audience, None)?;
        in_kernel.unlink()?;
        devices.node(plan.name.as_str(), number)
    });
    if mapped.is_err() {
        // The first error is the one to report.
        let _ = unmap(devices, plan.name);
    }
    mapped
}

/// Takes away whichever of the two layers exist, the upper one first.
fn unmap(devices: &Devices, name: &MappedName) -> Result<(), MapError> {
    for layer in [name.as_str(), &name.integrity_layer()] {
        if devices.exists(layer)? {
            devices.remove(layer)?;
        }
    }
    Ok(())
}

fn integrity_identity(plan: &Plan<'_>) -> (String, String) {
    (
        plan.name.integrity_layer(),
        tables::integrity_uuid(plan.volume, plan.name),
    )
}

fn number_of(disk: &dyn Disk) -> Result<DeviceNumber, MapError> {
    let device = disk.path().to_owned();
    disk.number()
        .ok_or(crate::disk::OpenError::NotABlockDevice { device })
        .map_err(MapError::Open)
}
