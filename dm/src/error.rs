//! Why a volume was not found, opened, formatted or closed.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use crate::adopt::AdoptError;
use crate::blank::Content;
use crate::disk::OpenError;
use crate::geometry::{BadLayout, DiskTooSmall, Integrity};
use crate::handed::HandedError;
use crate::header::{HeaderError, SealError};
use crate::keyring::KeyringError;
use crate::superblock::SuperblockError;
use crate::tables::MappedName;
use crate::taken::TakenError;

/// Why a volume was not found, opened, formatted or closed.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The machine's disks could not be listed.
    #[error("list the machine's disks")]
    List(#[source] io::Error),
    /// No disk carries the volume, and none is configured to be formatted.
    #[error(
        "find volume {volume}: none of {searched} disks carries it, and no disk is configured that may be formatted{unreadable}"
    )]
    NotFound {
        /// The volume.
        volume: Uuid,
        /// Disks that were read.
        searched: usize,
        /// Disks that could not be read, for the message.
        unreadable: Unreadable,
    },
    /// More than one disk says that it carries the volume.
    #[error(
        "find volume {volume}: both {first} and {second} carry it; exactly one disk must",
        first = first.display(), second = second.display()
    )]
    TwoDisks {
        /// The volume.
        volume: Uuid,
        /// One disk.
        first: PathBuf,
        /// Another disk.
        second: PathBuf,
    },
    /// A disk is absent, read-only, no block device, or cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The header of the volume, or of the configured disk, is damaged or was altered.
    #[error("read the header of {}", device.display())]
    Header {
        /// The disk.
        device: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The configured disk holds something that is not this volume.
    #[error(
        "use {device} for a new volume: it holds {content}; it must be blank (16 MiB of zeros)",
        device = device.display()
    )]
    NotBlank {
        /// The disk.
        device: PathBuf,
        /// What was recognised.
        content: Content,
    },
    /// An adopted volume could not be found or opened.
    #[error("open the adopted volume on {}", device.display())]
    Adopted {
        /// The disk.
        device: PathBuf,
        /// Why.
        source: AdoptError,
    },
    /// The configured disk is too small for a volume.
    #[error("use {} for a new volume", device.display())]
    TooSmall {
        /// The disk.
        device: PathBuf,
        /// The sizes.
        source: DiskTooSmall,
    },
    /// The disk is smaller than its volume.
    #[error(
        "open the volume on {device}: the disk has {bytes} bytes, its volume needs {needed}",
        device = device.display()
    )]
    Shrunk {
        /// The disk.
        device: PathBuf,
        /// Its size.
        bytes: u64,
        /// The size its volume was laid out for.
        needed: u64,
    },
    /// The disk is held by a mapping or filesystem already.
    #[error("open the volume on {device}: the disk is in use by {holder}", device = device.display())]
    InUse {
        /// The disk.
        device: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// A mapping of this name exists.
    #[error("map {name}: a device-mapper device of this name exists already")]
    NameTaken {
        /// The name.
        name: MappedName,
    },
    /// A mapping cannot be closed while something uses it.
    #[error("close {name}: it is in use; unmount it first")]
    StillOpen {
        /// The mapping's name.
        name: MappedName,
    },
    /// No mapping of this name exists.
    #[error("look at {name}: no volume of this name is mapped")]
    NotMapped {
        /// The name.
        name: MappedName,
    },
    /// The filesystem on a volume that has become larger could not.
    #[error("let the filesystem on {name} grow to the size of its device: {detail}")]
    Grow {
        /// The volume's mapping.
        name: MappedName,
        /// What the kernel answered.
        detail: String,
    },
    /// A disk whose header is to be destroyed shows it again.
    #[error("destroy the header of {device}: byte {offset} reads as written and not as zero; is the disk read-only or does it answer from elsewhere?", device = device.display())]
    NotErased {
        /// The disk.
        device: PathBuf,
        /// The first byte that is not zero.
        offset: u64,
    },
    /// The volume has another kind of integrity than the configuration demands.
    #[error("open the volume on {device}: its integrity is {found}, the configuration demands {wanted}", device = device.display())]
    IntegrityDiffers {
        /// The disk.
        device: PathBuf,
        /// The header's.
        found: Integrity,
        /// The configuration's.
        wanted: Integrity,
    },
    /// The volume's journal has a MAC and the configuration wants none, or the other way round.
    #[error("open the volume on {device}: whether its journal has a MAC is {found}, the configuration demands {wanted}", device = device.display())]
    JournalMacDiffers {
        /// The disk.
        device: PathBuf,
        /// The header's.
        found: bool,
        /// The configuration's.
        wanted: bool,
    },
    /// The rotation's epoch is not the one after the grant's.
    #[error(
        "open the volume: the rotation leads to epoch {rotation}, the grant is of epoch {grant}; it must lead to the next one"
    )]
    RotationEpoch {
        /// The grant's.
        grant: u32,
        /// The rotation's.
        rotation: u32,
    },
    /// The numbers of a layout fit no disk.
    #[error(transparent)]
    Layout(#[from] BadLayout),
    /// The DEK is of another epoch than the header's.
    #[error(
        "open the volume: its header is of epoch {header}, the granted DEK is of epoch {grant}"
    )]
    EpochDiffers {
        /// The header's.
        header: u32,
        /// The grant's.
        grant: u32,
    },
    /// The granted generation does not come after the header's.
    #[error(
        "open the volume: its header is of generation {header}, the granted generation {grant} must be higher"
    )]
    GenerationNotHigher {
        /// The header's.
        header: u64,
        /// The grant's.
        grant: u64,
    },
    /// The seal could not be made or does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Reading, writing or flushing a disk failed.
    #[error("{doing} on {}", device.display())]
    Disk {
        /// What was attempted.
        doing: &'static str,
        /// The disk.
        device: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The dm-integrity superblock is not the one that belongs to the header.
    #[error("check {}", device.display())]
    Superblock {
        /// The disk.
        device: PathBuf,
        /// What differs.
        source: SuperblockError,
    },
    /// The kernel took another layout from the disk than the one that was checked.
    #[error("check what the kernel took for {device}")]
    Taken {
        /// The dm-integrity mapping.
        device: String,
        /// What differs.
        source: TakenError,
    },
    /// The system is to open a volume of which only a part can be used.
    #[error("hand the volume on {device} to the system: not all of it is wiped yet, and the system opens whole volumes only; \
             open it with `open = \"agent\"` until `dawnkey-agent status` shows 100 percent", device = device.display())]
    NotWhole {
        /// The disk.
        device: PathBuf,
    },
    /// The system did not open the volume.
    #[error("let the system open {name}: {detail}")]
    Handing {
        /// The mapping.
        name: MappedName,
        /// Why not.
        detail: String,
    },
    /// The system opened something else than what was validated.
    #[error("check what the system opened as {name}")]
    Handed {
        /// The mapping.
        name: MappedName,
        /// What differs.
        source: HandedError,
    },
    /// The key could not be put into the kernel's keyring, or not taken out.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A device-mapper call failed.
    #[error("{doing} {device}: {detail}")]
    DeviceMapper {
        /// What was attempted.
        doing: &'static str,
        /// The mapping.
        device: String,
        /// What the kernel answered.
        detail: String,
    },
    /// The kernel knows no such device-mapper target.
    #[error(
        "map a volume: the kernel has no device-mapper target `{target}`; load the module dm-{target}"
    )]
    TargetMissing {
        /// `crypt` or `integrity`.
        target: String,
    },
    /// The device node of a mapping could not be made.
    #[error("make the device node {}", node.display())]
    Node {
        /// The node.
        node: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program that makes the filesystem is missing, failed, or could not be run.
    #[error("make a filesystem on {device} with {program}: {detail}", device = device.display())]
    Filesystem {
        /// The mapped device.
        device: PathBuf,
        /// The program.
        program: &'static str,
        /// What it said.
        detail: String,
    },
}

impl MapError {
    /// Whether the disk is not there, so that it may yet come.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::Open(OpenError::Absent { .. })
        )
    }
}

/// Disks that could not be read while searching, for a message.
#[derive(Debug, Default)]
pub struct Unreadable(pub Vec<(PathBuf, String)>);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (device, reason) in &self.0 {
            write!(f, "; {} could not be read: {reason}", device.display())?;
        }
        Ok(())
    }
}
