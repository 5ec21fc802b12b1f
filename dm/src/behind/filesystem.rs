//! Letting a mounted filesystem take the room that its device has got.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::devices::Devices;
use crate::error::MapError;
use crate::geometry::SECTOR_BYTES;
use crate::syscalls;
use crate::tables::{DeviceNumber, MappedName};

/// What became of the filesystem on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// It has the size of its device now.
    Grown {
        /// Bytes of the device.
        bytes: u64,
    },
    /// Nothing is mounted from the volume: it grows when this is asked again.
    NotMounted,
    /// It is of a kind that is not known here; its own tool makes it larger.
    Other {
        /// As the kernel calls it.
        kind: String,
    },
}

/// Lets the filesystem on a mapped volume grow to the size of its device, if it is a mounted ext4.
pub fn grow(name: &MappedName) -> Result<Growth, MapError> {
    let devices = Devices::open()?;
    let device = devices
        .active(name.as_str())?
        .ok_or_else(|| MapError::NotMapped { name: name.clone() })?;
    let mounts =
        std::fs::read("/proc/self/mountinfo").map_err(|error| failed(name, error.to_string()))?;
    let Some(mount) = mounted(&mounts, device.number) else {
        return Ok(Growth::NotMounted);
    };
    if mount.kind != "ext4" {
        return Ok(Growth::Other { kind: mount.kind });
    }
    let bytes = device.sectors * SECTOR_BYTES;
    let grown = File::open(&mount.point).and_then(|point| {
        let block = nix::sys::statfs::fstatfs(&point)?.block_size();
        let block = u64::try_from(block).unwrap_or(0);
        let blocks = bytes.checked_div(block).unwrap_or(0);
        syscalls::resize_ext4(&point, blocks)
    });
    match grown {
        Ok(()) => Ok(Growth::Grown { bytes }),
        Err(error) => Err(failed(name, error.to_string())),
    }
}

fn failed(name: &MappedName, detail: String) -> MapError {
    MapError::Grow {
        name: name.clone(),
        detail,
    }
}

/// A mounted filesystem.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    kind: String,
}

/// Looks for a device in `mountinfo` (proc_pid_mountinfo(5)). A mount of the filesystem's root is as good as any other.
fn mounted(mounts: &[u8], device: DeviceNumber) -> Option<Mount> {
    let device = device.to_string();
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        if fields.next()? != device.as_bytes() {
            return None;
        }
        let point = fields.nth(1)?;
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        Some(Mount {
            point: OsString::from_vec(unescaped(point)).into(),
            kind: String::from_utf8_lossy(kind).into_owned(),
        })
    })
}

/// `\040` and the like, which the kernel writes for space, tab, line break and backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        text.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 0:21 / /proc rw - proc proc rw\n\
        30 1 253:2 / /srv/with\\040space rw,noatime shared:1 - ext4 /dev/mapper/state rw\n\
        31 1 253:3 /sub /mnt rw - xfs /dev/mapper/logs rw\n\
        broken\n";

    fn mount(minor: u32) -> Option<Mount> {
        mounted(MOUNTS, DeviceNumber { major: 253, minor })
    }

    #[test]
    fn finds_the_mount_of_a_device_by_its_number() {
        let (point, kind) = ("/srv/with space".into(), "ext4".to_owned());
        assert_eq!(mount(2), Some(Mount { point, kind }));
        let (point, kind) = ("/mnt".into(), "xfs".to_owned());
        assert_eq!(mount(3), Some(Mount { point, kind }));
        assert_eq!(mount(20), None);
        assert_eq!(
            mounted(
                b"",
                DeviceNumber {
                    major: 0,
                    minor: 21
                }
            ),
            None
        );
    }
}
