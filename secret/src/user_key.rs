//! Secrets that one process of root leaves to another: `user` keys of the kernel, in root's user keyring.
//!
//! Such a key is in kernel memory only, lives through `switch_root`, and is gone after a reboot. Every process of root
//! can read it, as it could read the memory of the process that left it.
#![allow(unsafe_code)]
// JUSTIFICATION: neither std, nix nor another dependency wraps add_key(2) and keyctl(2). Every function below is safe
// to call with any argument.

use std::ffi::{CStr, c_long};
use std::io;

use zeroize::Zeroizing;

/// `KEY_SPEC_USER_KEYRING`: one for each user, there until the machine ends.
const USER_KEYRING: c_long = -4;
/// Operations of keyctl(2).
const SETPERM: c_long = 5;
const UNLINK: c_long = 9;
const SEARCH: c_long = 10;
const READ: c_long = 11;
/// The possessor may do everything; the user may view, read and search, since a service with a session keyring of its
/// own does not possess what is in the user keyring. Nobody else may do anything.
const PERMISSIONS: c_long = 0x3f0b_0000;
/// Most bytes of a payload that is read.
const MAX: usize = 512;

/// Leaves a secret under a name. One that is there under this name is replaced.
///
/// # Errors
/// The kernel's, such as a quota.
pub fn put(name: &CStr, payload: &[u8]) -> io::Result<()> {
    // SAFETY: both strings end with NUL, and the kernel reads exactly `payload.len()` bytes from the payload; it keeps
    // no pointer.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            USER_KEYRING,
        )
    };
    if serial < 0 {
        return Err(io::Error::last_os_error());
    }
    let permitted = keyctl(SETPERM, serial, PERMISSIONS);
    permitted.inspect_err(|_| {
        // The error that counts is the one about permissions.
        let _ = keyctl(UNLINK, serial, USER_KEYRING);
    })?;
    Ok(())
}

/// The secret under a name, `None` if there is none.
///
/// # Errors
/// The kernel's; one that is longer than any that [`put`] is used for.
pub fn read(name: &CStr) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let Some(serial) = find(name)? else {
        return Ok(None);
    };
    let mut payload = Zeroizing::new(vec![0; MAX]);
    // SAFETY: the kernel writes at most `payload.len()` bytes to the buffer, which lives through the call.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            READ,
            serial,
            payload.as_mut_ptr(),
            payload.len(),
        )
    };
    match usize::try_from(length) {
        Ok(length) if length <= MAX => {
            payload.truncate(length);
            Ok(Some(payload))
        }
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Takes the secret under a name away; the kernel wipes it. One that is not there is no error.
///
/// # Errors
/// The kernel's.
pub fn remove(name: &CStr) -> io::Result<()> {
    match find(name)? {
        Some(serial) => keyctl(UNLINK, serial, USER_KEYRING).map(drop),
        None => Ok(()),
    }
}

fn find(name: &CStr) -> io::Result<Option<c_long>> {
    // SAFETY: both strings end with NUL, and the kernel keeps no pointer.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            SEARCH,
            USER_KEYRING,
            c"user".as_ptr(),
            name.as_ptr(),
            0,
        )
    };
    if serial >= 0 {
        return Ok(Some(serial));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOKEY) => Ok(None),
        _ => Err(error),
    }
}

/// An operation that takes two numbers.
fn keyctl(operation: c_long, first: c_long, second: c_long) -> io::Result<c_long> {
    // SAFETY: the operations above that take two numbers touch no memory of this process.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Keys of a name of this process; where the kernel lets this process have none, there is nothing to see.
    fn name(test: &str) -> Option<std::ffi::CString> {
        let name = std::ffi::CString::new(format!("dawnkey:test:{test}:{}", std::process::id()));
        let name = name.unwrap();
        match put(&name, b"probe") {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            other => {
                other.unwrap();
                Some(name)
            }
        }
    }

    #[test]
    fn a_secret_can_be_read_until_it_is_removed_and_is_replaced_by_the_next() {
        let Some(name) = name("life") else { return };
        put(&name, b"first").unwrap();
        assert_eq!(read(&name).unwrap().unwrap().as_slice(), b"first");
        put(&name, b"second").unwrap();
        assert_eq!(read(&name).unwrap().unwrap().as_slice(), b"second");
        remove(&name).unwrap();
        assert!(read(&name).unwrap().is_none());
        remove(&name).unwrap();
    }

    #[test]
    fn refuses_a_payload_that_is_longer_than_any() {
        let Some(name) = name("long") else { return };
        put(&name, &[1; MAX + 1]).unwrap();
        let error = read(&name).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        remove(&name).unwrap();
    }
}
