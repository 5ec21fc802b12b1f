//! Files that the service writes, and the directories they are in.

use super::Found;
use nix::unistd::{AccessFlags, access};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Modes with which somebody other than owner and group may write.
const WORLD: u32 = 0o002;
/// Modes with which the group may write.
const GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// The user of this process, from the kernel; root where it does not tell.
fn user() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, file system.
    let effective = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    effective.unwrap_or(0)
}

/// A file that the service makes or goes on with: the directory as in [`directory_of`]; the file, where it is there, a
/// regular one of this user that nobody else reads.
pub(super) fn written(what: &str, path: &Path, found: &mut Found) {
    directory_of(what, path, found);
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => return found.problem(format!("{what} {}: {error}", path.display())),
        Ok(metadata) => metadata,
    };
    let place = format!("{what} {}", path.display());
    if !metadata.is_file() {
        return found.problem(format!(
            "{place}: it is no regular file; another path, or move it away"
        ));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        found.problem(format!(
            "{place}: mode {mode:04o} lets others at it; chmod 600 {}",
            path.display()
        ));
    }
    owner(&place, &metadata, found);
    if access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_err() {
        found.problem(format!(
            "{place}: it cannot be read and written by this user; chown it to the service's user"
        ));
    }
}

/// The directory of a file that the service makes: it is there, this user may write to it, and no stranger may. A group
/// may where the directory belongs to root: so are volumes of a pod with `fsGroup` laid out.
pub(super) fn directory_of(what: &str, path: &Path, found: &mut Found) {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let place = format!("directory {} of {what}", directory.display());
    let metadata = match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return found.problem(format!("{place}: it is no directory; another path")),
        Err(error) => {
            return found.problem(format!(
                "{place}: {error}; install -d -m 700 -o SERVICE-USER {}",
                directory.display()
            ));
        }
    };
    let mode = metadata.mode() & 0o7777;
    let sticky = mode & STICKY != 0;
    let strangers = mode & WORLD != 0 || (mode & GROUP != 0 && metadata.uid() != 0);
    if strangers && !sticky {
        found.problem(format!(
            "{place}: mode {mode:04o} lets others replace what is in it; chmod 700 {}",
            directory.display()
        ));
    }
    owner(&place, &metadata, found);
    if access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        found.problem(format!(
            "{place}: this user cannot write to it; chown it to the service's user"
        ));
    }
}

/// Root may do everything anyway; a file of anybody else is not for us alone. Checked as root, nobody is a stranger: the
/// service runs as another user, whom the check does not know.
fn owner(place: &str, metadata: &Metadata, found: &mut Found) {
    let (ours, theirs) = (user(), metadata.uid());
    if ours != 0 && theirs != 0 && theirs != ours {
        found.problem(format!(
            "{place}: it belongs to user {theirs}, and this is user {ours}; chown it to the service's user"
        ));
    }
}
