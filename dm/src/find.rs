//! Finding a volume among all disks, writing nothing.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::blank;
use crate::disk::{Access, Disk, Disks, OpenError};
use crate::error::{MapError, Unreadable};
use crate::geometry::Layout;
use crate::header::{self, HeaderError, Parsed, REGION_BYTES};
use crate::mapper::{BlankDisk, Found, Opener, SealedVolume, Wanted};

/// A disk that says, in either copy, whole or damaged, that it carries the volume.
struct Claim {
    device: PathBuf,
    parsed: Result<Parsed, HeaderError>,
}

/// Finds the volume, or the blank disk it may be made on.
pub(crate) fn find(disks: &dyn Disks, wanted: &Wanted) -> Result<Found, MapError> {
    let listed = disks.list().map_err(MapError::List)?;
    let mut claims = Vec::new();
    let mut unreadable = Unreadable::default();
    for device in &listed {
        match claim(disks, device, wanted.volume) {
            Ok(Some(claim)) => claims.push(claim),
            Ok(None) => {}
            Err(reason) => unreadable.0.push((device.clone(), reason)),
        }
    }
    let mut claims = claims.into_iter();
    match (claims.next(), claims.next()) {
        (Some(first), Some(second)) => Err(MapError::TwoDisks {
            volume: wanted.volume,
            first: first.device,
            second: second.device,
        }),
        (Some(only), None) => volume(disks, only, wanted).map(Found::Volume),
        (None, _) => match &wanted.device {
            Some(device) => blank(disks, device, wanted).map(Found::Blank),
            None => Err(MapError::NotFound {
                volume: wanted.volume,
                searched: listed.len() - unreadable.0.len(),
                unreadable,
            }),
        },
    }
}

/// Reads one disk's header region. Disks that are too small or carry something else are no claim.
fn claim(disks: &dyn Disks, device: &Path, volume: Uuid) -> Result<Option<Claim>, String> {
    let disk = match disks.open(device, Access::Read) {
        Ok(disk) => disk,
        // Drives without a medium, and names that went away while listing.
        Err(OpenError::Absent { .. } | OpenError::NotABlockDevice { .. }) => return Ok(None),
        Err(error) => return Err(with_source(&error)),
    };
    if disk.bytes() < REGION_BYTES as u64 {
        return Ok(None);
    }
    let mut region = vec![0; REGION_BYTES];
    disk.read_at(0, &mut region)
        .map_err(|error| error.to_string())?;
    let claimed = header::claimed_volumes(&region).any(|claimed| claimed == volume);
    Ok(claimed.then(|| Claim {
        device: device.to_owned(),
        parsed: header::parse(&region),
    }))
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Takes the one claim: its header must be sound, and be of this volume and kind.
fn volume(disks: &dyn Disks, claim: Claim, wanted: &Wanted) -> Result<SealedVolume, MapError> {
    let device = claim.device;
    let Parsed { header, condition } = claim.parsed.map_err(|source| MapError::Header {
        device: device.clone(),
        source,
    })?;
    if header.volume() != wanted.volume {
        // Only the damaged copy of the two named the volume.
        return Err(MapError::NotBlank {
            device,
            content: blank::Content::Luks,
        });
    }
    if header.integrity() != wanted.integrity {
        return Err(MapError::IntegrityDiffers {
            device,
            found: header.integrity(),
            wanted: wanted.integrity,
        });
    }
    let journal_mac = header.layout().journal_mac();
    if journal_mac != wanted.journal_mac {
        return Err(MapError::JournalMacDiffers {
            device,
            found: journal_mac,
            wanted: wanted.journal_mac,
        });
    }
    if wanted.opener == Opener::System && !header.layout().is_ready() {
        return Err(MapError::NotWhole { device });
    }
    let disk = disks.open(&device, Access::Write)?;
    refuse_in_use(disks, disk.as_ref())?;
    let (bytes, needed) = (disk.bytes(), header.layout().needed_disk_bytes());
    if bytes < needed {
        return Err(MapError::Shrunk {
            device,
            bytes,
            needed,
        });
    }
    let grown = wanted.grow.then(|| header.layout().grown(bytes)).flatten();
    Ok(SealedVolume {
        disk,
        header,
        condition,
        name: wanted.name.clone(),
        grown,
        opener: wanted.opener,
    })
}

/// Takes the configured disk, if it is blank, writable and large enough.
fn blank(disks: &dyn Disks, device: &Path, wanted: &Wanted) -> Result<BlankDisk, MapError> {
    let disk = disks.open(device, Access::Write)?;
    refuse_in_use(disks, disk.as_ref())?;
    let layout =
        Layout::for_disk(wanted.integrity, disk.bytes()).map_err(|source| MapError::TooSmall {
            device: device.to_owned(),
            source,
        })?;
    let layout = wanted
        .wipe
        .begin(layout.with_journal_mac(wanted.journal_mac));
    let content = blank::content(disk.as_ref()).map_err(|source| MapError::Disk {
        doing: "read the first 16 MiB",
        device: device.to_owned(),
        source,
    })?;
    match content {
        None => Ok(BlankDisk {
            disk,
            layout,
            volume: wanted.volume,
            name: wanted.name.clone(),
            filesystem: wanted.filesystem,
            opener: wanted.opener,
        }),
        Some(blank::Content::Luks) => Err(damaged(disk.as_ref())),
        Some(content) => Err(MapError::NotBlank {
            device: device.to_owned(),
            content,
        }),
    }
}

/// Says what kind of LUKS header is on the configured disk: a damaged one, or somebody else's.
fn damaged(disk: &dyn Disk) -> MapError {
    let device = disk.path().to_owned();
    let mut region = vec![0; REGION_BYTES];
    if let Err(source) = disk.read_at(0, &mut region) {
        let doing = "read the header";
        return MapError::Disk {
            doing,
            device,
            source,
        };
    }
    let foreign = header::claimed_volumes(&region).next().is_some();
    match header::parse(&region) {
        Err(source) if !foreign => MapError::Header { device, source },
        _ => MapError::NotBlank {
            device,
            content: blank::Content::Luks,
        },
    }
}

fn refuse_in_use(disks: &dyn Disks, disk: &dyn Disk) -> Result<(), MapError> {
    match disks.holder(disk) {
        None => Ok(()),
        Some(holder) => Err(MapError::InUse {
            device: disk.path().to_owned(),
            holder,
        }),
    }
}
