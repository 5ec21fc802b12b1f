//! A disk file with real headers, mapped by nobody, that fails on demand.

use super::{DEK, OTHER, VOLUME};
use dawnkey_agent::config::VolumeConfig;
use dawnkey_dm::disk::OpenError;
use dawnkey_dm::fake::FakeMapper as Files;
use dawnkey_dm::{
    BlankDisk, Found, Grant, HeaderSeen, Integrity, MapError, Mapped, MappedName, Mapper, Progress,
    Rotation, SealedVolume, Wanted, Wipe,
};
use dawnkey_secret::Dek;
use std::path::PathBuf;
use std::time::Duration;

/// What the mapper fails at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    Nothing,
    Find,
    /// The disk is there only after it was looked for so many times.
    Late(u8),
    Map,
    /// Mapping the second of two.
    MapOther,
    Close,
}

/// What the disk holds at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Nothing,
    Header { epoch: u32, generation: u64 },
}

pub struct FakeMapper {
    pub fails: Fails,
    files: Files,
    disks: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

fn failure() -> MapError {
    MapError::List(std::io::Error::other("told to fail"))
}

impl FakeMapper {
    /// One disk file for each of `holds`.
    pub fn holding(holds: &[Holds]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disks: Vec<_> = (0..holds.len())
            .map(|number| dir.path().join(format!("disk-{number}")))
            .collect();
        for disk in &disks {
            let file = std::fs::File::create(disk).unwrap();
            file.set_len(64 << 20).unwrap();
        }
        let mut mapper = Self {
            fails: Fails::Nothing,
            files: Files::new(disks.clone()),
            disks,
            _dir: dir,
        };
        for (number, holds) in holds.iter().enumerate() {
            let Holds::Header { epoch, generation } = *holds else {
                continue;
            };
            let Ok(Found::Blank(blank)) = mapper.find(&mapper.wanted(number)) else {
                panic!("a new disk is blank")
            };
            let dek = Dek::take(&mut DEK.clone()).unwrap();
            let grant = Grant { epoch, generation };
            let mapped = mapper.files.format(blank, &dek, grant, &mut |_| {});
            mapper.files.close(&mapped.unwrap()).unwrap();
        }
        mapper
    }

    /// The volumes, each required.
    pub fn volumes(&self) -> Vec<VolumeConfig> {
        let wanted = (0..self.disks.len()).map(|number| self.wanted(number));
        wanted
            .map(|wanted| VolumeConfig {
                wanted,
                required: true,
                adopted: false,
                wait: Duration::from_secs(10),
            })
            .collect()
    }

    fn wanted(&self, number: usize) -> Wanted {
        Wanted {
            volume: [VOLUME, OTHER][number],
            name: MappedName::new(["state", "other"][number]).unwrap(),
            device: Some(self.disks[number].clone()),
            integrity: Integrity::HmacSha256,
            journal_mac: false,
            filesystem: None,
            wipe: Wipe::UpFront,
            grow: false,
            opener: dawnkey_dm::Opener::Ours,
        }
    }

    /// How many mappings there are.
    pub fn mapped(&self) -> usize {
        self.files.mapped().count()
    }

    /// What the first header says now.
    pub fn seen(&self) -> HeaderSeen {
        match Files::new(self.disks.clone()).find(&self.wanted(0)) {
            Ok(Found::Volume(volume)) => volume.seen(),
            other => panic!("no header: {other:?}"),
        }
    }

    /// The first disk's first 16 MiB.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = std::fs::read(&self.disks[0]).unwrap();
        bytes.truncate(16 << 20);
        bytes
    }

    fn unless(&self, fails: Fails) -> Result<(), MapError> {
        if self.fails == fails {
            return Err(failure());
        }
        Ok(())
    }
}

impl Mapper for FakeMapper {
    fn find(&mut self, wanted: &Wanted) -> Result<Found, MapError> {
        self.unless(Fails::Find)?;
        if let Fails::Late(times @ 1..) = self.fails {
            self.fails = Fails::Late(times - 1);
            let device = self.disks[0].clone();
            return Err(OpenError::Absent { device }.into());
        }
        self.files.find(wanted)
    }

    fn open(
        &mut self,
        volume: SealedVolume,
        dek: &Dek,
        grant: Grant,
        rotation: Option<&Rotation>,
    ) -> Result<Mapped, MapError> {
        self.unless(Fails::Map)?;
        if volume.device().ends_with("disk-1") {
            self.unless(Fails::MapOther)?;
        }
        self.files.open(volume, dek, grant, rotation)
    }

    fn open_as_it_is(&mut self, volume: SealedVolume, dek: &Dek) -> Result<Mapped, MapError> {
        self.unless(Fails::Map)?;
        self.files.open_as_it_is(volume, dek)
    }

    fn format(
        &mut self,
        disk: BlankDisk,
        dek: &Dek,
        grant: Grant,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Mapped, MapError> {
        self.unless(Fails::Map)?;
        self.files.format(disk, dek, grant, progress)
    }

    fn close(&mut self, mapped: &Mapped) -> Result<(), MapError> {
        self.unless(Fails::Close)?;
        self.files.close(mapped)
    }
}
