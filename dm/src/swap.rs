//! Swap under a key that lives as long as the boot: random, in the kernel only, never on a disk.
//!
//! The device is mapped like a volume with integrity, but nothing of it is wiped and dm-integrity writes without its
//! journal. That is sound for swap, and for swap only: the kernel reads a page back only after it has written it in this
//! boot, so that no block without a valid tag is ever asked for; and a write that a power cut tears belongs to a memory
//! that is gone. A page that the host changed, moved or kept from an earlier boot fails its tag: a read error, which
//! ends the process that the page belonged to.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dawnkey_secret::VolumeKey;
use nix::unistd::{SysconfVar, sysconf};
use uuid::Uuid;

use crate::blank;
use crate::devices::Devices;
use crate::disk::{Access, AlignedBuffer, Disk, Disks, IO_UNIT, OsDisk, SystemDisks};
use crate::error::MapError;
use crate::geometry::{Integrity, Layout};
use crate::header::SealError;
use crate::mapper::Opener;
use crate::mapper::Timings;
use crate::stack::{self, Lower};
use crate::syscalls;
use crate::tables::{MappedName, Writing};
use crate::volumes::{Plan, disk_error};

/// What the first block of a device begins with that was made ours; the rest of the block is zeros.
const MARK: &[u8] = b"dawnkey swap v1\n";
/// Smallest and largest page of any Linux machine, in bytes.
const PAGES: std::ops::RangeInclusive<usize> = 4096..=65536;

/// Maps a device under a new key and swaps to it. Returns the mapped device.
///
/// The device must be blank, or carry the mark that an earlier call has left: nothing else is overwritten.
///
/// # Errors
/// The device holds something else, is in use or too small; the kernel refuses.
pub fn start(device: &Path, name: &MappedName) -> Result<PathBuf, MapError> {
    let mut disk = SystemDisks.open(device, Access::Write)?;
    if let Some(holder) = SystemDisks.holder(disk.as_ref()) {
        let device = device.to_owned();
        return Err(MapError::InUse { device, holder });
    }
    claim(disk.as_mut())?;
    let layout = Layout::for_disk(Integrity::HmacSha256, disk.bytes());
    let plan = Plan {
        volume: Uuid::new_v4(),
        layout: layout.map_err(|source| MapError::TooSmall {
            device: device.to_owned(),
            source,
        })?,
        name,
        wiped_before: None,
        opener: Opener::Ours,
    };
    let key = VolumeKey::fill(plan.layout.integrity().volume_key_bytes(), |bytes| {
        aws_lc_rs::rand::fill(bytes).map_err(|_| SealError::Random)
    })?;
    let devices = Devices::open()?;
    for layer in name.layers() {
        if devices.exists(&layer)? {
            return Err(MapError::NameTaken { name: name.clone() });
        }
    }
    stack::initialise_superblock(&devices, &plan, disk.as_mut(), &key)?;
    let lower = Lower {
        disk: stack::number_of(disk.as_ref())?,
        writing: Writing::Direct,
        key: &key,
    };
    let mapped = stack::map(&devices, &plan, &lower, &mut Timings::default());
    let on = mapped.and_then(|mapped| swap_on(&mapped.device, plan.volume).map(|()| mapped.device));
    on.inspect_err(|_| {
        // The first error is the one to report.
        let _ = stack::unmap(&devices, name);
    })
}

/// Makes a blank device ours, or finds that it is.
fn claim(disk: &mut dyn Disk) -> Result<(), MapError> {
    let device = disk.path().to_owned();
    let mut mark = [0; IO_UNIT];
    for (to, from) in mark.iter_mut().zip(MARK) {
        *to = *from;
    }
    let mut found = [0; IO_UNIT];
    disk.read_at(0, &mut found)
        .map_err(disk_error("read the begin", &device))?;
    if found == mark {
        return Ok(());
    }
    let content = blank::content(disk).map_err(disk_error("read the begin", &device))?;
    if let Some(content) = content {
        return Err(MapError::NotBlank { device, content });
    }
    disk.write_at(0, &mark)
        .and_then(|()| disk.flush())
        .map_err(disk_error("mark as swap", &device))
}

/// Writes the signature that mkswap(8) writes, and swaps to the device.
fn swap_on(device: &Path, id: Uuid) -> Result<(), MapError> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|bytes| usize::try_from(bytes).ok());
    let mut disk = OsDisk::open(device, Access::Write)?;
    let signature = page.and_then(|page| signature(page, disk.bytes(), id));
    let signature = signature.ok_or_else(|| io::Error::other("a page size that is not known"));
    let path = CString::new(device.as_os_str().as_bytes()).map_err(io::Error::other);
    let written = signature.and_then(|bytes| {
        let mut aligned = AlignedBuffer::new(bytes.len());
        aligned.bytes_mut().copy_from_slice(&bytes);
        disk.write_aligned_at(0, aligned.bytes())?;
        disk.flush()
    });
    written
        .and(path)
        .and_then(|path| syscalls::swap_on(&path))
        .map_err(disk_error("swap to", device))
}

/// The first page of swap space: `union swap_header` of Linux `include/linux/swap.h`, version 1.
fn signature(page: usize, device_bytes: u64, id: Uuid) -> Option<Vec<u8>> {
    if !PAGES.contains(&page) || !page.is_power_of_two() {
        return None;
    }
    let pages = device_bytes / u64::try_from(page).ok()?;
    let last = u32::try_from(pages.checked_sub(1)?).unwrap_or(u32::MAX);
    let mut bytes = vec![0; 1024];
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(last.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(id.as_bytes());
    bytes.resize(page - 10, 0);
    bytes.extend(b"SWAPSPACE2");
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    fn disk(bytes: u64) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn blank_disk_becomes_ours_and_stays_so() {
        let (_dir, path) = disk(64 << 20);
        for _ in 0..2 {
            let mut disk = OsDisk::open(&path, Access::Write).unwrap();
            claim(&mut disk).unwrap();
        }
        assert!(std::fs::read(&path).unwrap().starts_with(MARK));
    }

    #[test]
    fn nothing_else_is_overwritten_nor_a_mark_with_anything_behind_it() {
        for content in [
            &b"LUKS\xba\xbe"[..],
            b"dawnkey swap v2\n",
            b"dawnkey swap v1\nnotes",
            b"\0\0\0x",
        ] {
            let (_dir, path) = disk(64 << 20);
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, content, 0).unwrap();
            let before = std::fs::read(&path).unwrap();
            let mut disk = OsDisk::open(&path, Access::Write).unwrap();
            assert!(matches!(claim(&mut disk), Err(MapError::NotBlank { .. })));
            assert!(std::fs::read(&path).unwrap() == before, "the disk changed");
        }
    }

    #[test]
    fn signature_is_the_one_that_mkswap_writes() {
        let (_dir, path) = disk(8 << 20);
        let id = Uuid::from_u128(0x1234);
        let mkswap = ["/sbin/mkswap", "/usr/sbin/mkswap"];
        let Some(mkswap) = mkswap.iter().find(|path| Path::new(path).exists()) else {
            return;
        };
        let output = Command::new(mkswap)
            .args(["-p", "4096", "-U", &id.to_string()])
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let theirs = std::fs::read(&path).unwrap();
        assert_eq!(
            theirs.get(..4096).unwrap(),
            signature(4096, 8 << 20, id).unwrap()
        );
    }

    #[test]
    fn no_signature_for_pages_that_no_machine_has_or_a_device_without_one() {
        let id = Uuid::from_u128(1);
        for page in [0, 512, 4095, 12288, 131_072] {
            assert_eq!(signature(page, 1 << 30, id), None);
        }
        assert_eq!(signature(4096, 4095, id), None);
        let large = signature(4096, u64::MAX, id).unwrap();
        assert_eq!(large.get(1028..1032), Some(&[0xff; 4][..]));
    }
}
