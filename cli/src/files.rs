//! Local files: read with a limit, written exclusively, secrets kept from other users.

use crate::outcome::Failure;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest configuration, policy, certificate or claims file, in bytes.
pub(crate) const MAX_TEXT: u64 = 4 << 20;

/// Mode of files that hold keys.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode of files that everyone may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read(path: &Path, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|e| unreadable(path, what, &e))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::local(
            format!("read {what}: more than {limit} bytes"),
            path.display(),
            format!("a file of at most {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads a text file of at most [`MAX_TEXT`] bytes.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, Failure> {
    String::from_utf8(read(path, what, MAX_TEXT)?).map_err(|_| {
        Failure::local(
            format!("read {what}: not UTF-8 text"),
            path.display(),
            "a text file in UTF-8",
        )
    })
}

/// Reads a file that holds a key. Group and others must have no permission on it.
pub(crate) fn read_private(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mode = std::fs::metadata(path)
        .map_err(|e| unreadable(path, what, &e))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(Failure::local(
            format!(
                "read {what}: mode {:04o} lets other users read it",
                mode & 0o7777
            ),
            path.display(),
            format!("chmod 600 {}", path.display()),
        ));
    }
    read(path, what, MAX_TEXT).map(Zeroizing::new)
}

fn unreadable(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    let right = match error.kind() {
        ErrorKind::NotFound => "a path to an existing file",
        ErrorKind::PermissionDenied => "a file that you may read",
        _ => "a readable file",
    };
    Failure::local(format!("read {what}: {error}"), path.display(), right)
}

/// Creates a file that must not exist yet, with `mode`, and writes it to the disk.
pub(crate) fn create(path: &Path, what: &str, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|e| uncreated(path, what, &e))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| {
            // A partly written file would look whole to the next command.
            let _ = std::fs::remove_file(path);
            uncreated(path, what, &e)
        })
}

/// Refuses a path at which something exists.
pub(crate) fn must_be_absent(path: &Path, what: &str) -> Result<(), Failure> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(uncreated(path, what, &e)),
        Ok(_) => Err(uncreated(path, what, &ErrorKind::AlreadyExists.into())),
    }
}

fn uncreated(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    let right = match error.kind() {
        ErrorKind::AlreadyExists => "a path that does not exist yet; nothing is ever overwritten",
        ErrorKind::NotFound => "a path in an existing directory",
        ErrorKind::PermissionDenied => "a path that you may write",
        _ => "a writable path with space left",
    };
    Failure::local(format!("write {what}: {error}"), path.display(), right)
}

/// Replaces a file's content in one step, keeping its mode: readers see the old or the new text, never a part.
pub(crate) fn replace(path: &Path, what: &str, text: &str) -> Result<(), Failure> {
    let fail = |e: std::io::Error| uncreated(path, what, &e);
    let target = std::fs::canonicalize(path).map_err(fail)?;
    let mode = std::fs::metadata(&target)
        .map_err(fail)?
        .permissions()
        .mode();
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = target.with_file_name(name);
    create(&new, what, mode & 0o777, text.as_bytes())?;
    std::fs::rename(&new, &target).map_err(|e| {
        let _ = std::fs::remove_file(&new);
        uncreated(path, what, &e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Exit;

    #[test]
    fn creates_exclusively_and_with_the_mode_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, "a key", PRIVATE, b"one").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = create(&path, "a key", PRIVATE, b"two").unwrap_err();
        assert_eq!(refused.exit, Exit::Local);
        assert_eq!(refused.place, path.display().to_string());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn refuses_a_private_file_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, "a key", 0o640, b"one").unwrap();
        let refused = read_private(&path, "a key").unwrap_err();
        assert!(refused.what.contains("0640"), "{refused}");
        assert!(refused.right.starts_with("chmod 600"), "{refused}");
    }

    #[test]
    fn refuses_a_file_above_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        std::fs::write(&path, [0; 9]).unwrap();
        assert!(read(&path, "a file", 9).is_ok());
        let refused = read(&path, "a file", 8).unwrap_err();
        assert!(refused.what.contains("more than 8 bytes"), "{refused}");
    }

    #[test]
    fn replacing_keeps_the_mode_and_leaves_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        create(&path, "policy", 0o640, b"old").unwrap();
        replace(&path, "policy", "new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
