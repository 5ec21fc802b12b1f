//! The order in which a volume is opened and formatted, over any disks and any way of activating.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dawnkey_secret::{Dek, VolumeKey};
use uuid::Uuid;

use crate::commit;
use crate::disk::{Disk, Disks};
use crate::error::MapError;
use crate::find;
use crate::geometry::{DATA_OFFSET_BYTES, Layout};
use crate::header::{Condition, Next, SealedHeader};
use crate::mapper::{
    BlankDisk, Filesystem, Found, Grant, Mapped, Mapper, Opener, Progress, Ready, Rotation,
    SealedVolume, Timings, Wanted,
};
use crate::superblock::{SUPERBLOCK_BYTES, SuperblockError};
use crate::tables::MappedName;

/// What is to be mapped, all of it authenticated by the header's seal.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) volume: Uuid,
    /// All of it is mapped below; its ready sectors are what becomes visible at least.
    pub(crate) layout: Layout,
    pub(crate) name: &'a MappedName,
    /// How far an earlier wipe of this volume may have come, in sectors; `None` if there was none.
    pub(crate) wiped_before: Option<u64>,
    /// Who maps it.
    pub(crate) opener: Opener,
}

/// A mapped volume.
#[derive(Debug)]
pub(crate) struct Activated {
    /// The device in clear.
    pub(crate) device: PathBuf,
    /// Its sectors: at least the plan's ready ones.
    pub(crate) ready_sectors: u64,
}

/// The part that needs a kernel: tables, nodes, the wipe, the filesystem.
pub(crate) trait Activation {
    /// Refuses when a mapping of this name exists.
    fn refuse_taken(&mut self, name: &MappedName) -> Result<(), MapError>;

    /// Prepares a blank disk's data area: superblock, a valid tag for every block, the filesystem. Whatever the
    /// outcome, nothing is mapped afterwards.
    fn prepare(
        &mut self,
        plan: &Plan<'_>,
        disk: &mut dyn Disk,
        key: &VolumeKey,
        filesystem: Option<Filesystem>,
        progress: &mut dyn FnMut(Progress),
        timings: &mut Timings,
    ) -> Result<(), MapError>;

    /// Maps the volume, as much of it as is ready. On failure nothing stays mapped.
    fn activate(
        &mut self,
        plan: &Plan<'_>,
        disk: &mut dyn Disk,
        key: &VolumeKey,
        timings: &mut Timings,
    ) -> Result<Activated, MapError>;

    /// Takes the mapping away.
    fn deactivate(&mut self, name: &MappedName) -> Result<(), MapError>;
}

/// A mapper made of the two.
#[derive(Debug)]
pub(crate) struct Volumes<D, A> {
    pub(crate) disks: D,
    pub(crate) activation: A,
}

impl<D: Disks, A: Activation> Mapper for Volumes<D, A> {
    fn find(&mut self, wanted: &Wanted) -> Result<Found, MapError> {
        self.activation.refuse_taken(&wanted.name)?;
        find::find(&self.disks, wanted)
    }

    fn open(
        &mut self,
        volume: SealedVolume,
        dek: &Dek,
        grant: Grant,
        rotation: Option<&Rotation>,
    ) -> Result<Mapped, MapError> {
        let SealedVolume {
            mut disk,
            header,
            name,
            condition,
            grown,
            opener,
        } = volume;
        let mut timings = Timings::default();
        let keys = keys(&header, dek, grant, rotation)?;
        let key = timed(&mut timings.seal, || header.open(keys.opens))?;
        let sealed = header.layout();
        let plan = Plan {
            volume: header.volume(),
            layout: grown.unwrap_or(sealed),
            name: &name,
            wiped_before: Some(sealed.data_sectors()),
            opener,
        };
        let activated = self
            .activation
            .activate(&plan, disk.as_mut(), &key, &mut timings)?;
        let next = timed(&mut timings.seal, || {
            let next = Next {
                generation: grant.generation,
                epoch: keys.epoch,
                layout: plan.layout.with_ready(activated.ready_sectors)?,
            };
            Ok::<_, MapError>(header.advance(next, keys.seals, &key)?)
        });
        drop(key);
        let next = next.inspect_err(|_| {
            // The first error is the one to report; the mapping goes away as far as it can.
            let _ = self.activation.deactivate(&name);
        })?;
        self.commit(disk.as_mut(), (&next, condition), &name, &mut timings)?;
        Ok(mapped(activated.device, name, &next, timings))
    }

    fn open_as_it_is(&mut self, volume: SealedVolume, dek: &Dek) -> Result<Mapped, MapError> {
        let SealedVolume {
            mut disk,
            header,
            name,
            opener,
            ..
        } = volume;
        let mut timings = Timings::default();
        let key = timed(&mut timings.seal, || header.open(dek))?;
        let layout = header.layout();
        let plan = Plan {
            volume: header.volume(),
            layout,
            name: &name,
            wiped_before: Some(layout.data_sectors()),
            opener,
        };
        let activated = self
            .activation
            .activate(&plan, disk.as_mut(), &key, &mut timings)?;
        let ready = layout.with_ready(activated.ready_sectors);
        let ready = ready.inspect_err(|_| {
            // The first error is the one to report; the mapping goes away as far as it can.
            let _ = self.activation.deactivate(&name);
        })?;
        Ok(Mapped {
            ready: Ready::of(&ready),
            ..mapped(activated.device, name, &header, timings)
        })
    }

    fn format(
        &mut self,
        blank: BlankDisk,
        dek: &Dek,
        grant: Grant,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Mapped, MapError> {
        let BlankDisk {
            mut disk,
            layout,
            volume,
            name,
            filesystem,
            opener,
        } = blank;
        let mut timings = Timings::default();
        let (header, key) = timed(&mut timings.seal, || {
            SealedHeader::create(volume, grant.epoch, grant.generation, layout, dek)
        })?;
        let plan = Plan {
            volume,
            layout,
            name: &name,
            wiped_before: None,
            opener,
        };
        self.activation.prepare(
            &plan,
            disk.as_mut(),
            &key,
            filesystem,
            progress,
            &mut timings,
        )?;
        progress(Progress::Map);
        let activated = self
            .activation
            .activate(&plan, disk.as_mut(), &key, &mut timings)?;
        drop(key);
        progress(Progress::Commit);
        let fresh = (&header, Condition::Clean);
        self.commit(disk.as_mut(), fresh, &name, &mut timings)?;
        Ok(mapped(activated.device, name, &header, timings))
    }

    fn close(&mut self, mapped: &Mapped) -> Result<(), MapError> {
        self.activation.deactivate(&mapped.name)
    }
}

impl<D, A: Activation> Volumes<D, A> {
    /// Writes the header of a volume that is mapped already, over one that was found in this condition; unmaps the
    /// volume if that fails.
    fn commit(
        &mut self,
        disk: &mut dyn Disk,
        (header, condition): (&SealedHeader, Condition),
        name: &MappedName,
        timings: &mut Timings,
    ) -> Result<(), MapError> {
        let written = timed(&mut timings.commit, || {
            commit::write(disk, header, condition)
        });
        written.map_err(|source| {
            // The failed write is what the operator must hear of; the mapping goes away as far as it can.
            let _ = self.activation.deactivate(name);
            let device = disk.path().to_owned();
            let doing = "write the header";
            MapError::Disk {
                doing,
                device,
                source,
            }
        })
    }
}

fn mapped(device: PathBuf, name: MappedName, header: &SealedHeader, timings: Timings) -> Mapped {
    Mapped {
        device,
        name,
        seen: header.seen(),
        ready: Ready::of(&header.layout()),
        timings,
    }
}

/// Which DEK opens a header, and which seals the next one, for this epoch.
struct Keys<'a> {
    opens: &'a Dek,
    seals: &'a Dek,
    epoch: u32,
}

/// Chooses the DEKs by the header's epoch: the grant's, or the rotation's where its writing was confirmed to nobody.
fn keys<'a>(
    header: &SealedHeader,
    dek: &'a Dek,
    grant: Grant,
    rotation: Option<&'a Rotation>,
) -> Result<Keys<'a>, MapError> {
    let seen = header.seen();
    if let Some(rotation) = rotation
        && grant.epoch.checked_add(1) != Some(rotation.epoch)
    {
        return Err(MapError::RotationEpoch {
            grant: grant.epoch,
            rotation: rotation.epoch,
        });
    }
    let keys = match rotation {
        Some(rotation) if seen.epoch == rotation.epoch => Keys {
            opens: &rotation.dek,
            seals: &rotation.dek,
            epoch: rotation.epoch,
        },
        _ if seen.epoch != grant.epoch => {
            return Err(MapError::EpochDiffers {
                header: seen.epoch,
                grant: grant.epoch,
            });
        }
        Some(rotation) => Keys {
            opens: dek,
            seals: &rotation.dek,
            epoch: rotation.epoch,
        },
        None => Keys {
            opens: dek,
            seals: dek,
            epoch: grant.epoch,
        },
    };
    if seen.generation >= grant.generation {
        return Err(MapError::GenerationNotHigher {
            header: seen.generation,
            grant: grant.generation,
        });
    }
    Ok(keys)
}

/// Reads the dm-integrity superblock, once, and judges it.
///
/// Of a volume that is to grow it still says the size before, or a larger one.
pub(crate) fn check_superblock(
    disk: &dyn Disk,
    plan: &Plan<'_>,
    judge: fn(&[u8; SUPERBLOCK_BYTES], &Layout, u64) -> Result<(), SuperblockError>,
) -> Result<(), MapError> {
    let mut block = [0; SUPERBLOCK_BYTES];
    disk.read_at(DATA_OFFSET_BYTES, &mut block)
        .map_err(disk_error("read the dm-integrity superblock", disk.path()))?;
    let least = plan
        .wiped_before
        .unwrap_or_else(|| plan.layout.data_sectors());
    judge(&block, &plan.layout, least).map_err(|source| MapError::Superblock {
        device: disk.path().to_owned(),
        source,
    })
}

/// Adds the time that `work` takes.
pub(crate) fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    *total += begun.elapsed();
    result
}

/// An error of reading, writing or flushing `device`.
pub(crate) fn disk_error(
    doing: &'static str,
    device: &Path,
) -> impl FnOnce(std::io::Error) -> MapError + use<> {
    let device = device.to_owned();
    move |source| MapError::Disk {
        doing,
        device,
        source,
    }
}
