//! How far a volume of `/etc/crypttab` has come, for the system's units: a word in `/run/dawnkey/NAME.crypttab`.
//!
//! `systemd-cryptsetup@NAME.service` must not begin before there is a header to open, and what is on the volume must not
//! be used before the key service has confirmed. The unit's drop-in waits for both with `dawnkey-agent wait`. No secret
//! is in the file; whoever can change it is root of this system.

use dawnkey_dm::MappedName;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Header and key are there to be fetched.
    Offered,
    /// The volume is mapped, the boot closed, the service knows.
    Open,
    /// There will be no volume.
    Failed,
}

impl Progress {
    const ALL: [Self; 3] = [Self::Offered, Self::Open, Self::Failed];

    const fn word(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Open => "open",
            Self::Failed => "failed",
        }
    }
}

fn file(run: &Path, name: &MappedName) -> PathBuf {
    run.join(format!("{name}.crypttab"))
}

/// Says how far a volume has come.
///
/// # Errors
/// The word could not be left.
pub fn set(run: &Path, name: &MappedName, progress: Progress) -> io::Result<()> {
    let file = file(run, name);
    let new = file.with_extension("crypttab-new");
    directory(run)?;
    fs::write(&new, progress.word())?;
    fs::rename(new, file)
}

/// Forgets what an earlier unlock has said.
pub fn forget(run: &Path, name: &MappedName) {
    // Mostly there is nothing to forget.
    let _ = fs::remove_file(file(run, name));
}

/// How far a volume has come; `None` if nothing was said yet, or nothing that [`set`] says.
#[must_use]
pub fn get(run: &Path, name: &MappedName) -> Option<Progress> {
    let word = fs::read_to_string(file(run, name)).ok()?;
    Progress::ALL.into_iter().find(|one| one.word() == word)
}

/// Waits until a volume has come to something that `enough` takes, and gives that.
///
/// # Errors
/// The directory cannot be watched.
pub fn wait(
    run: &Path,
    name: &MappedName,
    enough: impl Fn(Progress) -> bool,
) -> io::Result<Progress> {
    directory(run)?;
    let watch = Inotify::init(InitFlags::IN_CLOEXEC)?;
    // Watched before the first look, so that nothing is missed between the two.
    watch.add_watch(run, AddWatchFlags::IN_MOVED_TO)?;
    loop {
        if let Some(progress) = get(run, name).filter(|progress| enough(*progress)) {
            return Ok(progress);
        }
        watch.read_events()?;
    }
}

fn directory(run: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name() -> MappedName {
        MappedName::new("state").unwrap()
    }

    #[test]
    fn a_waiter_that_was_first_hears_of_what_comes_later_and_of_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let waiter = {
            let run = run.clone();
            std::thread::spawn(move || {
                wait(&run, &name(), |progress| progress == Progress::Open).unwrap()
            })
        };
        let other = MappedName::new("other").unwrap();
        set(&run, &other, Progress::Open).unwrap();
        set(&run, &name(), Progress::Offered).unwrap();
        assert_eq!(get(&run, &name()), Some(Progress::Offered));
        set(&run, &name(), Progress::Open).unwrap();
        assert_eq!(waiter.join().unwrap(), Progress::Open);
        forget(&run, &name());
        assert_eq!(get(&run, &name()), None);
        forget(&run, &name());
    }

    #[test]
    fn other_words_are_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(file(dir.path(), &name()), "opened").unwrap();
        assert_eq!(get(dir.path(), &name()), None);
    }
}
