//! The kernel calls that have no safe wrapper: two block-device ioctls, one of ext4, `add_key`, `keyctl`, `swapon`,
//! `pidfd_open`.
#![allow(unsafe_code)]
// JUSTIFICATION: BLKGETSIZE64, BLKROGET and EXT4_IOC_RESIZE_FS exist only as ioctls, and neither std, nix nor another
// dependency wraps them, or add_key(2) and keyctl(2) for `logon` keys, or swapon(2), or pidfd_open(2). Every function below is safe to call with any argument.

use std::ffi::{CStr, c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `KEY_SPEC_THREAD_KEYRING`: seen by this thread only, gone with it.
const THREAD_KEYRING: c_long = -1;
/// `KEYCTL_UNLINK`.
const UNLINK: c_long = 9;

mod raw {
    #![allow(missing_docs)]
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_write_ptr!(ext4_resize_fs, b'f', 16, u64);
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), super::c_int);
}

/// Size of a block device in bytes.
pub(crate) fn block_device_bytes(device: &File) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the descriptor is open for the length of the call, and BLKGETSIZE64 writes one u64 to the pointer.
    // (The request number encodes size_t; it is a u64 on every 64-bit architecture, where the kernel fixed it.)
    unsafe { raw::blkgetsize64(device.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}

/// Whether the kernel holds a block device for read-only.
pub(crate) fn block_device_is_read_only(device: &File) -> io::Result<bool> {
    let mut read_only = 0;
    // SAFETY: the descriptor is open for the length of the call, and BLKROGET writes one int to the pointer.
    unsafe { raw::blkroget(device.as_raw_fd(), &raw mut read_only) }?;
    Ok(read_only != 0)
}

/// Makes a mounted ext4 larger: `point` is any open file or directory of it, `blocks` its new size in its own blocks.
pub(crate) fn resize_ext4(point: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and the kernel reads one u64 from the pointer. Another
    // filesystem answers ENOTTY.
    unsafe { raw::ext4_resize_fs(point.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

/// Lets the kernel swap to a device, at the priority that it chooses.
pub(crate) fn swap_on(device: &CStr) -> io::Result<()> {
    // SAFETY: the path ends with NUL and lives through the call; the kernel keeps no pointer.
    let result = unsafe { libc::swapon(device.as_ptr(), 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A descriptor of a process that can be read from when the process has ended.
pub(crate) fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and touches no memory of this process.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match c_int::try_from(descriptor) {
        // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Serial number of a kernel key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeySerial(i32);

/// Adds a `logon` key to the calling thread's keyring. The kernel copies the payload; user space can never read it.
pub(crate) fn add_logon_key(description: &CStr, payload: &[u8]) -> io::Result<KeySerial> {
    // SAFETY: both strings end with NUL, and the kernel reads exactly `payload.len()` bytes from the payload; it keeps
    // no pointer.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"logon".as_ptr(),
            description.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            THREAD_KEYRING,
        )
    };
    match i32::try_from(serial) {
        Ok(serial) if serial > 0 => Ok(KeySerial(serial)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Unlinks a key from the calling thread's keyring.
pub(crate) fn unlink_key(serial: KeySerial) -> io::Result<()> {
    let (operation, key) = (UNLINK, c_long::from(serial.0));
    // SAFETY: KEYCTL_UNLINK takes two numbers and touches no memory of this process.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, operation, key, THREAD_KEYRING) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
