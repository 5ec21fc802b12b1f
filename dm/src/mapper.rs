//! The port to disks: find a volume, open it, format it, close it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dawnkey_secret::Dek;
use uuid::Uuid;

use crate::adopt::AdoptedVolume;
use crate::disk::Disk;
use crate::error::MapError;
use crate::geometry::{BLOCK_BYTES, BLOCK_SECTORS, Integrity, Layout, SECTOR_BYTES};
use crate::header::{Condition, HeaderSeen, SealedHeader};
use crate::tables::MappedName;

/// A filesystem that is made once, after formatting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4, by `mke2fs`.
    Ext4,
}

/// When the blocks of a new volume with integrity are written for the first time. Before that a block is a read error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wipe {
    /// The first bytes while formatting, the rest behind a volume that is in use already: see [`crate::behind`].
    Behind {
        /// Bytes that are there from the begin, rounded up to whole blocks; the whole volume if it has fewer.
        prefix_bytes: u64,
    },
    /// Everything while formatting.
    UpFront,
}

impl Wipe {
    /// Bytes of the prefix unless configured otherwise: 128 MiB, a few seconds on any disk.
    pub const DEFAULT_PREFIX_BYTES: u64 = 128 << 20;
    /// The smallest prefix, in bytes: room for a filesystem and its journal.
    pub const LEAST_PREFIX_BYTES: u64 = 16 << 20;

    /// The layout that a format leaves.
    pub(crate) fn begin(self, layout: Layout) -> Layout {
        let prefix_bytes = match self {
            Self::Behind { prefix_bytes } => prefix_bytes.max(Self::LEAST_PREFIX_BYTES),
            Self::UpFront => u64::MAX,
        };
        let sectors = prefix_bytes
            .div_ceil(BLOCK_BYTES)
            .saturating_mul(BLOCK_SECTORS);
        // Refused for a volume without integrity, all of which is ready.
        let begun = layout.with_ready(sectors.min(layout.data_sectors()));
        begun.unwrap_or(layout)
    }
}

impl Default for Wipe {
    fn default() -> Self {
        Self::Behind {
            prefix_bytes: Self::DEFAULT_PREFIX_BYTES,
        }
    }
}

/// How much of a volume can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Bytes of the mapped device.
    pub ready_bytes: u64,
    /// Bytes that it will have when the wipe behind it has ended.
    pub total_bytes: u64,
}

impl Ready {
    /// Whether nothing is left to wipe.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.ready_bytes >= self.total_bytes
    }

    pub(crate) const fn of(layout: &Layout) -> Self {
        Self {
            ready_bytes: layout.ready_sectors() * SECTOR_BYTES,
            total_bytes: layout.data_sectors() * SECTOR_BYTES,
        }
    }
}

/// Who opens a volume when its key is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Opener {
    /// This crate, by device-mapper.
    #[default]
    Ours,
    /// The system's own `systemd-cryptsetup`, with a header and a passphrase of ours: see [`crate::handing`].
    System,
}

/// Which volume is wanted, from measured configuration.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its id.
    pub volume: Uuid,
    /// The mapping's name.
    pub name: MappedName,
    /// The only disk that may be formatted; `None` means that none may.
    pub device: Option<PathBuf>,
    /// How changed blocks are found. A volume with another kind is refused.
    pub integrity: Integrity,
    /// Whether dm-integrity checks a MAC over its journal. A volume that says otherwise is refused.
    pub journal_mac: bool,
    /// What is made on it after formatting.
    pub filesystem: Option<Filesystem>,
    /// When the blocks of a new volume are written for the first time.
    pub wipe: Wipe,
    /// Whether the volume becomes larger when its disk has.
    pub grow: bool,
    /// Who opens it.
    pub opener: Opener,
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// The volume, its seal closed.
    Volume(SealedVolume),
    /// The configured disk, blank.
    Blank(BlankDisk),
}

/// A volume on its disk, its seal closed. Holds the header as it was read, once.
pub struct SealedVolume {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) header: SealedHeader,
    pub(crate) condition: Condition,
    pub(crate) name: MappedName,
    /// The layout that the volume gets because its disk has grown.
    pub(crate) grown: Option<Layout>,
    pub(crate) opener: Opener,
}

impl SealedVolume {
    /// What the header says of itself.
    #[must_use]
    pub fn seen(&self) -> HeaderSeen {
        self.header.seen()
    }

    /// The header as it was read, its seal closed.
    #[must_use]
    pub const fn header(&self) -> &SealedHeader {
        &self.header
    }

    /// The disk.
    #[must_use]
    pub fn device(&self) -> &Path {
        self.disk.path()
    }

    /// In which state the header's copies were.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.condition
    }
}

impl std::fmt::Debug for SealedVolume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedVolume")
            .field("device", &self.disk.path())
            .field("seen", &self.seen())
            .finish_non_exhaustive()
    }
}

/// A disk that may become the volume, if the key service grants it.
pub struct BlankDisk {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) volume: Uuid,
    pub(crate) name: MappedName,
    pub(crate) filesystem: Option<Filesystem>,
    pub(crate) opener: Opener,
}

impl BlankDisk {
    /// The disk.
    #[must_use]
    pub fn device(&self) -> &Path {
        self.disk.path()
    }
}

impl std::fmt::Debug for BlankDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlankDisk")
            .field("device", &self.disk.path())
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// What the key service granted together with the DEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Epoch of the DEK.
    pub epoch: u32,
    /// Generation to write into the header.
    pub generation: u64,
}

/// The DEK of the next epoch, under which the header is sealed from this opening on.
#[derive(Debug)]
pub struct Rotation {
    /// Epoch of `dek`: one more than the grant's.
    pub epoch: u32,
    /// The DEK.
    pub dek: Dek,
}

/// How far a format has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Blocks are being written for the first time, so that every one has a valid tag.
    Wipe {
        /// Bytes written.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The filesystem is being made.
    Filesystem,
    /// The volume is being mapped as it will be from now on.
    Map,
    /// The header is being written: from here on the volume exists.
    Commit,
}

/// How long each part took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Making or opening the header's seal.
    pub seal: Duration,
    /// Preparing a blank disk: superblock, wipe.
    pub wipe: Duration,
    /// Making the filesystem.
    pub filesystem: Duration,
    /// Mapping the dm-integrity layer.
    pub integrity: Duration,
    /// Mapping the dm-crypt layer.
    pub crypt: Duration,
    /// Finding out how far the wipe behind the volume has come, and mapping that much.
    pub ready: Duration,
    /// Writing the header.
    pub commit: Duration,
}

/// An open volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The device in clear: `/dev/mapper/NAME`.
    pub device: PathBuf,
    /// The mapping's name.
    pub name: MappedName,
    /// The header as it is on the disk now.
    pub seen: HeaderSeen,
    /// How much of the volume can be used.
    pub ready: Ready,
    /// How long each part took.
    pub timings: Timings,
}

/// Finds, opens, formats and closes volumes.
pub trait Mapper {
    /// Looks at every disk for the volume; writes nothing.
    ///
    /// Exactly one disk must carry it. If none does and a disk is configured, that disk must be blank.
    fn find(&mut self, wanted: &Wanted) -> Result<Found, MapError>;

    /// Opens the seal, maps the volume, then writes its header anew: with the granted generation, with what is known
    /// to be ready, and with a rotation sealed under the next epoch's DEK.
    ///
    /// `dek` is the one of the grant's epoch. A header that is in the rotation's epoch already (its writing was
    /// confirmed to nobody) opens under the rotation's DEK. When anything fails nothing stays mapped, and the header
    /// is the old one or the new one.
    fn open(
        &mut self,
        volume: SealedVolume,
        dek: &Dek,
        grant: Grant,
        rotation: Option<&Rotation>,
    ) -> Result<Mapped, MapError>;

    /// Opens the seal and maps the volume as its header says; writes nothing: no generation was issued for it.
    fn open_as_it_is(&mut self, volume: SealedVolume, dek: &Dek) -> Result<Mapped, MapError>;

    /// Looks at the configured disk, and no other, for a volume that something else formatted; writes nothing.
    fn find_adopted(&mut self, wanted: &Wanted) -> Result<AdoptedVolume, MapError> {
        AdoptedVolume::find(wanted)
    }

    /// Maps such a volume with the DEK in one of its keyslots. Its header stays as it is.
    fn open_adopted(&mut self, volume: AdoptedVolume, dek: &Dek) -> Result<Mapped, MapError> {
        volume.open(dek)
    }

    /// Makes the volume on a blank disk, filesystem included. The header is written last: before that the disk is
    /// blank for [`Mapper::find`], and formatting can begin anew.
    fn format(
        &mut self,
        disk: BlankDisk,
        dek: &Dek,
        grant: Grant,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Mapped, MapError>;

    /// Takes the mapping away.
    fn close(&mut self, mapped: &Mapped) -> Result<(), MapError>;
}
