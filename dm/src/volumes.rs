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
use crate::header::{Condition, SealedHeader};
use crate::mapper::{
    BlankDisk, Filesystem, Found, Grant, Mapped, Mapper, Progress, SealedVolume, Timings, Wanted,
};
use crate::superblock::{SUPERBLOCK_BYTES, SuperblockError};
use crate::tables::MappedName;

/// What is to be mapped, all of it authenticated by the header's seal.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) volume: Uuid,
    pub(crate) layout: Layout,
    pub(crate) name: &'a MappedName,
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

    /// Maps the volume and returns the device in clear. On failure nothing stays mapped.
    fn activate(
        &mut self,
        plan: &Plan<'_>,
        disk: &dyn Disk,
        key: &VolumeKey,
        timings: &mut Timings,
    ) -> Result<PathBuf, MapError>;

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

    fn open(&mut self, volume: SealedVolume, dek: &Dek, grant: Grant) -> Result<Mapped, MapError> {
        let SealedVolume {
            mut disk,
            header,
            name,
            condition,
        } = volume;
        let mut timings = Timings::default();
        refuse_other_grant(&header, grant)?;
        let (key, next) = timed(&mut timings.seal, || {
            let key = header.open(dek)?;
            let next = header.advance(grant.generation, dek, &key)?;
            Ok::<_, MapError>((key, next))
        })?;
        let plan = plan(&next, &name);
        let device = self
            .activation
            .activate(&plan, disk.as_ref(), &key, &mut timings)?;
        drop(key);
        self.commit(disk.as_mut(), (&next, condition), &name, &mut timings)?;
        Ok(mapped(device, name, &next, timings))
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
        } = blank;
        let mut timings = Timings::default();
        let (header, key) = timed(&mut timings.seal, || {
            SealedHeader::create(volume, grant.epoch, grant.generation, layout, dek)
        })?;
        let plan = plan(&header, &name);
        self.activation.prepare(
            &plan,
            disk.as_mut(),
            &key,
            filesystem,
            progress,
            &mut timings,
        )?;
        progress(Progress::Map);
        let device = self
            .activation
            .activate(&plan, disk.as_ref(), &key, &mut timings)?;
        drop(key);
        progress(Progress::Commit);
        let fresh = (&header, Condition::Clean);
        self.commit(disk.as_mut(), fresh, &name, &mut timings)?;
        Ok(mapped(device, name, &header, timings))
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

fn plan<'a>(header: &SealedHeader, name: &'a MappedName) -> Plan<'a> {
    Plan {
        volume: header.volume(),
        layout: header.layout(),
        name,
    }
}

fn mapped(device: PathBuf, name: MappedName, header: &SealedHeader, timings: Timings) -> Mapped {
    Mapped {
        device,
        name,
        seen: header.seen(),
        timings,
    }
}

fn refuse_other_grant(header: &SealedHeader, grant: Grant) -> Result<(), MapError> {
    let seen = header.seen();
    if seen.epoch != grant.epoch {
        return Err(MapError::EpochDiffers {
            header: seen.epoch,
            grant: grant.epoch,
        });
    }
    if seen.generation >= grant.generation {
        return Err(MapError::GenerationNotHigher {
            header: seen.generation,
            grant: grant.generation,
        });
    }
    Ok(())
}

/// Reads the dm-integrity superblock, once, and judges it.
pub(crate) fn check_superblock(
    disk: &dyn Disk,
    layout: &Layout,
    judge: fn(&[u8; SUPERBLOCK_BYTES], &Layout) -> Result<(), SuperblockError>,
) -> Result<(), MapError> {
    let mut block = [0; SUPERBLOCK_BYTES];
    disk.read_at(DATA_OFFSET_BYTES, &mut block)
        .map_err(disk_error("read the dm-integrity superblock", disk.path()))?;
    judge(&block, layout).map_err(|source| MapError::Superblock {
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
