//! A disk file with real headers, mapped by nobody, that fails on demand.

use super::{DEK, VOLUME};
use dawnkey_dm::fake::FakeMapper as Files;
use dawnkey_dm::{
    BlankDisk, Found, Grant, HeaderSeen, Integrity, MapError, Mapped, MappedName, Mapper, Progress,
    SealedVolume, Wanted,
};
use dawnkey_secret::Dek;
use std::path::PathBuf;

/// What the mapper fails at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    Nothing,
    Find,
    Map,
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
    disk: PathBuf,
    _dir: tempfile::TempDir,
}

fn failure() -> MapError {
    MapError::List(std::io::Error::other("told to fail"))
}

impl FakeMapper {
    pub fn holding(holds: Holds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let file = std::fs::File::create(&disk).unwrap();
        file.set_len(64 << 20).unwrap();
        let mut mapper = Self {
            fails: Fails::Nothing,
            files: Files::new(vec![disk.clone()]),
            disk,
            _dir: dir,
        };
        if let Holds::Header { epoch, generation } = holds {
            let Ok(Found::Blank(blank)) = mapper.find(&wanted_on(&mapper.disk)) else {
                panic!("a new disk is blank")
            };
            let dek = Dek::take(&mut DEK.clone()).unwrap();
            let grant = Grant { epoch, generation };
            let mapped = mapper.files.format(blank, &dek, grant, &mut |_| {});
            mapper.files.close(&mapped.unwrap()).unwrap();
        }
        mapper
    }

    /// What is asked for.
    pub fn wanted(&self) -> Wanted {
        wanted_on(&self.disk)
    }

    /// Whether the mapping exists.
    pub fn is_mapped(&self) -> bool {
        self.files.mapped().next().is_some()
    }

    /// What the header says now.
    pub fn seen(&self) -> HeaderSeen {
        match Files::new(vec![self.disk.clone()]).find(&self.wanted()) {
            Ok(Found::Volume(volume)) => volume.seen(),
            other => panic!("no header: {other:?}"),
        }
    }

    /// The disk's first 16 MiB.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = std::fs::read(&self.disk).unwrap();
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

fn wanted_on(disk: &std::path::Path) -> Wanted {
    Wanted {
        volume: VOLUME,
        name: MappedName::new("state").unwrap(),
        device: Some(disk.to_owned()),
        integrity: Integrity::HmacSha256,
        filesystem: None,
    }
}

impl Mapper for FakeMapper {
    fn find(&mut self, wanted: &Wanted) -> Result<Found, MapError> {
        self.unless(Fails::Find)?;
        self.files.find(wanted)
    }

    fn open(&mut self, volume: SealedVolume, dek: &Dek, grant: Grant) -> Result<Mapped, MapError> {
        self.unless(Fails::Map)?;
        self.files.open(volume, dek, grant)
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
