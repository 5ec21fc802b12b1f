//! Activation by the Linux kernel: dm-crypt over dm-integrity, through the `devicemapper` crate.
//!
//! Must run on one thread from adding the key to loading the table: the key is in that thread's keyring.

use std::path::Path;

use dawnkey_secret::{Dek, VolumeKey};

use crate::devices::Devices;
use crate::disk::{Disk, SystemDisks};
use crate::error::MapError;
use crate::handed;
use crate::handing::{Handing, Offer};
use crate::header::Detached;
use crate::mapper::{
    BlankDisk, Filesystem, Found, Grant, Mapped, Mapper, Opener, Progress, Rotation, SealedVolume,
    Timings, Wanted,
};
use crate::stack::{self, Lower};
use crate::superblock;
use crate::tables::{DeviceNumber, MappedName, Writing};
use crate::volumes::{Activated, Activation, Plan, Volumes, check_superblock, timed};
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
            activation: KernelActivation {
                devices: None,
                handing: None,
            },
        })
    }

    /// Hands volumes that the system is to open to it in this way.
    #[must_use]
    pub fn with_handing(mut self, handing: Box<dyn Handing>) -> Self {
        self.0.activation.handing = Some(handing);
        self
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

    fn open(
        &mut self,
        volume: SealedVolume,
        dek: &Dek,
        grant: Grant,
        rotation: Option<&Rotation>,
    ) -> Result<Mapped, MapError> {
        self.0.open(volume, dek, grant, rotation)
    }

    fn open_as_it_is(&mut self, volume: SealedVolume, dek: &Dek) -> Result<Mapped, MapError> {
        self.0.open_as_it_is(volume, dek)
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
struct KernelActivation {
    devices: Option<Devices>,
    handing: Option<Box<dyn Handing>>,
}

impl std::fmt::Debug for KernelActivation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelActivation").finish_non_exhaustive()
    }
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

    /// Lets the system map the volume, and judges what it has mapped.
    fn hand(
        &mut self,
        plan: &Plan<'_>,
        disk: DeviceNumber,
        key: &VolumeKey,
        timings: &mut Timings,
    ) -> Result<Activated, MapError> {
        let detached = Detached::new(plan.volume, &plan.layout, key)?;
        let refused = |detail| MapError::Handing {
            name: plan.name.clone(),
            detail,
        };
        let handing = self.handing.as_deref_mut();
        let handing = handing.ok_or_else(|| refused("nothing here hands volumes on".into()))?;
        let offer = Offer {
            name: plan.name,
            disk,
            header: &detached.bytes,
            key: &detached.key,
        };
        timed(&mut timings.crypt, || handing.hand(&offer)).map_err(refused)?;
        drop(detached);
        handed::check(self.devices()?, plan, disk)
    }
}

impl Activation for KernelActivation {
    fn refuse_taken(&mut self, name: &MappedName) -> Result<(), MapError> {
        let devices = self.devices()?;
        for layer in name.layers() {
            if devices.exists(&layer)? {
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
        let number = stack::number_of(disk)?;
        let devices = self.devices()?;
        if plan.layout.integrity().has_tags() {
            timed(&mut timings.wipe, || {
                stack::initialise_superblock(devices, plan, disk, key)
            })?;
        }
        let lower = Lower {
            disk: number,
            writing: Writing::Direct,
            key,
        };
        let prepared = stack::map(devices, plan, &lower, &mut Timings::default())
            .and_then(|mapped| fill(plan, &mapped.device, filesystem, progress, timings));
        let unmapped = stack::unmap(devices, plan.name);
        prepared.and(unmapped)
    }

    fn activate(
        &mut self,
        plan: &Plan<'_>,
        disk: &mut dyn Disk,
        key: &VolumeKey,
        timings: &mut Timings,
    ) -> Result<Activated, MapError> {
        let number = stack::number_of(disk)?;
        if plan.layout.integrity().has_tags() {
            check_superblock(disk, plan, superblock::check)?;
        }
        let mapped = match plan.opener {
            Opener::System => self.hand(plan, number, key, timings),
            Opener::Ours => {
                let lower = Lower {
                    disk: number,
                    writing: Writing::Journal,
                    key,
                };
                stack::map(self.devices()?, plan, &lower, timings)
            }
        };
        mapped.inspect_err(|_| {
            // The first error is the one to report. Of a name that somebody else has taken nothing is ours to take away.
            let _ = match plan.opener {
                Opener::System => self.deactivate(plan.name),
                Opener::Ours => self.devices().and_then(|all| stack::undo(all, plan.name)),
            };
        })
    }

    fn deactivate(&mut self, name: &MappedName) -> Result<(), MapError> {
        stack::unmap(self.devices()?, name)
    }
}

/// Wipes what becomes visible, so that every block of it has a valid tag, and makes the filesystem.
fn fill(
    plan: &Plan<'_>,
    device: &Path,
    filesystem: Option<Filesystem>,
    progress: &mut dyn FnMut(Progress),
    timings: &mut Timings,
) -> Result<(), MapError> {
    if plan.layout.integrity().has_tags() {
        timed(&mut timings.wipe, || wipe::zeros(device, progress))?;
    }
    if let Some(filesystem) = filesystem {
        progress(Progress::Filesystem);
        timed(&mut timings.filesystem, || {
            mkfs::make(filesystem, device, &plan.layout)
        })?;
    }
    Ok(())
}
