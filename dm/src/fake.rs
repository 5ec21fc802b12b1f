//! A mapper over plain files, for the tests of other crates: real headers and disks, no kernel.
//!
//! Only with the feature `fake`, which no release build enables.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use dawnkey_secret::{Dek, VolumeKey};

use crate::disk::{Access, Disk, Disks, OpenError, OsDisk};
use crate::error::MapError;
use crate::mapper::{
    BlankDisk, Filesystem, Found, Grant, Mapped, Mapper, Progress, Rotation, SealedVolume, Timings,
    Wanted,
};
use crate::tables::MappedName;
use crate::volumes::{Activated, Activation, Plan, Volumes};

/// Maps nothing: the mapped device of a volume is its disk file.
#[derive(Debug)]
pub struct FakeMapper(Volumes<Files, NoKernel>);

impl FakeMapper {
    /// A machine with these disk files.
    #[must_use]
    pub fn new(disks: Vec<PathBuf>) -> Self {
        Self(Volumes {
            disks: Files(disks),
            activation: NoKernel::default(),
        })
    }

    /// Lets every further mapping fail.
    pub fn refuse_to_map(&mut self) {
        self.0.activation.broken = true;
    }

    /// Lets further openings find that a wipe behind the volume has come to this sector.
    pub fn wiped_to(&mut self, sectors: u64) {
        self.0.activation.wiped_to = sectors;
    }

    /// How often the kernel was asked to prepare, map or unmap anything.
    #[must_use]
    pub const fn kernel_calls(&self) -> usize {
        self.0.activation.calls
    }

    /// Names of what is mapped.
    pub fn mapped(&self) -> impl Iterator<Item = &str> {
        self.0.activation.mapped.iter().map(String::as_str)
    }
}

impl Mapper for FakeMapper {
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

/// Disk files.
#[derive(Debug)]
struct Files(Vec<PathBuf>);

impl Disks for Files {
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.clone())
    }

    fn open(&self, device: &Path, access: Access) -> Result<Box<dyn Disk>, OpenError> {
        OsDisk::open(device, access).map(|disk| Box::new(disk) as Box<dyn Disk>)
    }

    fn holder(&self, _: &dyn Disk) -> Option<String> {
        None
    }
}

/// Remembers names.
#[derive(Debug, Default)]
struct NoKernel {
    mapped: BTreeSet<String>,
    broken: bool,
    calls: usize,
    wiped_to: u64,
}

impl NoKernel {
    fn call(&mut self, plan: &Plan<'_>) -> Result<(), MapError> {
        self.calls += 1;
        if self.broken {
            return Err(MapError::DeviceMapper {
                doing: "load the table of",
                device: plan.name.to_string(),
                detail: "told to fail".into(),
            });
        }
        Ok(())
    }
}

impl Activation for NoKernel {
    fn refuse_taken(&mut self, name: &MappedName) -> Result<(), MapError> {
        if self.mapped.contains(name.as_str()) {
            return Err(MapError::NameTaken { name: name.clone() });
        }
        Ok(())
    }

    fn prepare(
        &mut self,
        plan: &Plan<'_>,
        _: &mut dyn Disk,
        _: &VolumeKey,
        filesystem: Option<Filesystem>,
        progress: &mut dyn FnMut(Progress),
        _: &mut Timings,
    ) -> Result<(), MapError> {
        self.call(plan)?;
        let total = plan.layout.ready_sectors() * crate::geometry::SECTOR_BYTES;
        progress(Progress::Wipe { done: total, total });
        if filesystem.is_some() {
            progress(Progress::Filesystem);
        }
        Ok(())
    }

    fn activate(
        &mut self,
        plan: &Plan<'_>,
        disk: &mut dyn Disk,
        _: &VolumeKey,
        _: &mut Timings,
    ) -> Result<Activated, MapError> {
        self.call(plan)?;
        self.mapped.insert(plan.name.to_string());
        let found = plan.wiped_before.map_or(0, |end| self.wiped_to.min(end));
        Ok(Activated {
            device: disk.path().to_owned(),
            ready_sectors: found.max(plan.layout.ready_sectors()),
        })
    }

    fn deactivate(&mut self, name: &MappedName) -> Result<(), MapError> {
        self.calls += 1;
        self.mapped.remove(name.as_str());
        Ok(())
    }
}
