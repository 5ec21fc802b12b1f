//! Disks and images on this machine: their header read once, and held alone while they are written.

use crate::outcome::{Failure, chain};
use crate::output;
use dawnkey_dm::disk::{Access, Disk, OsDisk};
use dawnkey_dm::header::{self, Condition, Parsed, REGION_BYTES};
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use uuid::Uuid;

/// Opens a disk, an image or a file with a saved header, for reading.
pub(super) fn open(path: &Path) -> Result<OsDisk, Failure> {
    OsDisk::open(path, Access::Read)
        .map_err(|e| Failure::local(chain(&e), path.display(), "a readable disk or image"))
}

/// Reads the header's region, once.
pub(super) fn region(disk: &dyn Disk) -> Result<Vec<u8>, Failure> {
    let mut region = vec![0; REGION_BYTES];
    disk.read_at(0, &mut region).map_err(|e| {
        Failure::local(
            format!("read the header: {e}"),
            disk.path().display(),
            format!("a readable disk, or a file with its first {REGION_BYTES} bytes"),
        )
    })?;
    Ok(region)
}

/// Reads the header of `volume` out of a region, and notes on standard error what is wrong with a copy.
pub(super) fn parse(region: &[u8], path: &Path, volume: Uuid) -> Result<Parsed, Failure> {
    let parsed = header::parse(region).map_err(|e| {
        Failure::local(
            chain(&e),
            path.display(),
            "the disk of a volume that Dawnkey formatted",
        )
    })?;
    let found = parsed.header.volume();
    if found != volume {
        return Err(Failure::local(
            format!("read the header: it is of volume {found}"),
            path.display(),
            format!("the disk of volume {volume}"),
        ));
    }
    match parsed.condition {
        Condition::Clean => {}
        Condition::Recovered { damaged, torn } => output::note(&format!(
            "note: the {damaged} copy of the header is damaged ({torn}); the other was read"
        )),
        Condition::Interrupted { older } => output::note(&format!(
            "note: the {older} copy of the header is one write behind; the newer was read"
        )),
    }
    Ok(parsed)
}

/// A disk that nothing else maps, mounts or claims until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    /// The disk, open for writing.
    pub(super) disk: OsDisk,
    /// Keeps the claim. `None` for an image, which the kernel cannot claim.
    _claim: Option<File>,
}

impl Held {
    /// Claims a disk that is not mapped, or an image that no loop device shows.
    pub(super) fn claim(path: &Path) -> Result<Self, Failure> {
        let failed = |what: String, right: &str| Failure::local(what, path.display(), right);
        let kind = std::fs::metadata(path)
            .map_err(|e| failed(format!("open the disk: {e}"), "an existing disk or image"))?
            .file_type();
        let claim = if kind.is_block_device() {
            Some(exclusively(path)?)
        } else {
            if let Some(device) = loop_device_of(path) {
                return Err(failed(
                    format!("write to the image: {device} shows it"),
                    "an image without a loop device; `losetup -d` removes one",
                ));
            }
            None
        };
        let disk = OsDisk::open(path, Access::Write)
            .map_err(|e| failed(chain(&e), "a disk or image that you may write"))?;
        Ok(Self {
            disk,
            _claim: claim,
        })
    }
}

/// With `O_EXCL` the kernel opens a block device only while no mapping, filesystem or other claim is on it.
fn exclusively(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_EXCL.bits())
        .open(path);
    opened.map_err(|e| {
        let (what, right) = match e.kind() {
            ErrorKind::ResourceBusy => (
                "write to the disk: it is mapped or mounted".to_owned(),
                "a disk that nothing uses; `cryptsetup close` takes a mapping away",
            ),
            _ => (format!("open the disk: {e}"), "a disk that you may write"),
        };
        Failure::local(what, path.display(), right)
    })
}

/// The loop device that shows an image, if one does.
fn loop_device_of(image: &Path) -> Option<String> {
    let image = std::fs::canonicalize(image).ok()?;
    let devices = std::fs::read_dir("/sys/block").ok()?;
    devices.flatten().find_map(|device| {
        let shown = std::fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        let name = device.file_name().to_string_lossy().into_owned();
        (Path::new(shown.trim_end()) == image).then(|| format!("/dev/{name}"))
    })
}
