//! What the boot's last register was extended with, taken down where systemd takes down its own measurements.
//!
//! The rules are systemd's, so that its tools and the agent can write at the same time: the file is locked before the
//! register is extended, and carries the sticky bit from then until what was extended is on record. Whoever finds it
//! with the bit knows that something is missing, and leaves it alone. RTMR 3 has a file of its own, since systemd's has
//! PCRs only.
//!
//! A log that cannot be written keeps no volume closed: it proves nothing that the register does not.

use crate::report::Event;
use dawnkey_attest::cel::{Place, Record};
use dawnkey_attest::collect::{Extended, Register, RegisterLog};
use dawnkey_proto::closing::Recorded;
use nix::fcntl::{Flock, FlockArg};
use nix::time::{ClockId, clock_gettime};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// systemd's log.
const PCR_LOG: &str = "/run/log/systemd/tpm2-measure.log";
/// The log of RTMR 3.
const RTMR_LOG: &str = "/run/log/dawnkey/rtmr-measure.log";
/// Mode of a log: only its writers may lock it.
const MODE: u32 = 0o600;
/// Set while something is extended that is not on record yet.
const UNFINISHED: u32 = 0o1000;

/// The log of one boot.
pub struct MeasureLog {
    pcr: PathBuf,
    rtmr: PathBuf,
    report: Box<dyn FnMut(&Event)>,
    open: Option<Flock<File>>,
}

impl MeasureLog {
    /// The logs of this system. What cannot be taken down is said.
    #[must_use]
    pub fn system(report: impl FnMut(&Event) + 'static) -> Self {
        Self::at(PCR_LOG.into(), RTMR_LOG.into(), report)
    }

    /// Logs somewhere: of PCRs, and of RTMRs.
    #[must_use]
    pub fn at(pcr: PathBuf, rtmr: PathBuf, report: impl FnMut(&Event) + 'static) -> Self {
        Self {
            pcr,
            rtmr,
            report: Box::new(report),
            open: None,
        }
    }

    const fn path(&self, register: Register) -> &PathBuf {
        match register {
            Register::Pcr15 => &self.pcr,
            Register::Rtmr3 => &self.rtmr,
        }
    }

    fn failed(&mut self, register: Register, error: &io::Error) {
        // The bit stays: the file lacks something from now on.
        self.open = None;
        let problem = format!("{}: {error}", self.path(register).display());
        (self.report)(&Event::ExtensionNotLogged { problem });
    }
}

impl RegisterLog for MeasureLog {
    fn begin(&mut self, register: Register) {
        match open(self.path(register)) {
            Ok(file) => self.open = Some(file),
            Err(error) => self.failed(register, &error),
        }
    }

    fn extended(&mut self, what: &Extended<'_>) {
        let Some(file) = &mut self.open else {
            return;
        };
        let written = write(file, what);
        match written {
            Ok(()) if what.is_cap() => self.open = None,
            Ok(()) => {}
            Err(error) => self.failed(what.register, &error),
        }
    }
}

/// Locks the log, and marks it as one that lacks what is extended now.
fn open(path: &Path) -> io::Result<Flock<File>> {
    if let Some(directory) = path.parent() {
        make_directory(directory)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NOCTTY)
        .open(path)?;
    let file =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if found.permissions().mode() & UNFINISHED != 0 {
        return Err(io::Error::other(
            "whoever wrote to it before did not finish",
        ));
    }
    file.set_permissions(Permissions::from_mode(MODE | UNFINISHED))?;
    Ok(file)
}

/// Directories that others can read, as systemd makes them; the agent's umask would keep them from it.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make_directory(parent)?;
    }
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn write(file: &mut Flock<File>, what: &Extended<'_>) -> io::Result<()> {
    let place = match what.register {
        Register::Pcr15 => Place::Pcr(15),
        Register::Rtmr3 => Place::Rtmr(3),
    };
    let recorded = Recorded::read(what.event).ok_or(io::ErrorKind::InvalidData)?;
    let text = recorded.to_string();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let boot = boot.trim().replace('-', "");
    let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    let moment = u64::try_from(since_boot.as_micros()).unwrap_or(u64::MAX);
    let record = Record::own(
        place,
        &what.digests,
        what.event,
        (&text, recorded.kind()),
        (&boot, moment),
    );
    file.write_all(&record.line())?;
    if what.is_cap() {
        file.sync_all()?;
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_attest::cel::{parse, replay};
    use dawnkey_attest::tpm::hash::Hash;
    use dawnkey_proto::closing::{Opened, closed_pcr, event};
    use std::cell::RefCell;
    use std::rc::Rc;
    use uuid::Uuid;

    const SERVICE: Uuid = Uuid::from_u128(9);
    const OPENED: Opened = Opened {
        volume: Uuid::from_u128(7),
        generation: 2,
    };

    struct Bench {
        dir: tempfile::TempDir,
        said: Rc<RefCell<Vec<String>>>,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let said = Rc::default();
            Self { dir, said }
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("log/systemd/tpm2-measure.log")
        }

        fn log(&self) -> MeasureLog {
            let said = Rc::clone(&self.said);
            let rtmr = self.dir.path().join("rtmr");
            MeasureLog::at(self.file(), rtmr, move |event| {
                said.borrow_mut().push(event.to_string());
            })
        }

        fn mode(&self) -> u32 {
            self.file().metadata().unwrap().permissions().mode() & 0o7777
        }

        fn write(&self, log: &mut MeasureLog, events: &[Vec<u8>]) {
            log.begin(Register::Pcr15);
            for event in events {
                log.extended(&Extended {
                    register: Register::Pcr15,
                    event,
                    digests: vec![(Hash::Sha256, Hash::Sha256.digest(&[event]))],
                });
            }
        }
    }

    fn events() -> Vec<Vec<u8>> {
        vec![event(SERVICE, &OPENED), vec![0; 4]]
    }

    #[test]
    fn replaying_the_log_gives_the_value_that_the_service_expects() {
        let bench = Bench::new();
        bench.write(&mut bench.log(), &events());
        assert_eq!(bench.mode(), MODE);
        let records = parse(&fs::read(bench.file()).unwrap()).unwrap();
        let value = replay(&records, Place::Pcr(15), Hash::Sha256).unwrap();
        assert_eq!(value, closed_pcr(SERVICE, &[OPENED]));
        assert!(records.iter().all(|record| record.event().is_some()));
        assert!(bench.said.borrow().is_empty());
    }

    #[test]
    fn a_log_of_systemd_is_appended_to() {
        let bench = Bench::new();
        make_directory(bench.file().parent().unwrap()).unwrap();
        fs::write(bench.file(), "\x1e{\"pcr\":11,\"digests\":[]}\n").unwrap();
        bench.write(&mut bench.log(), &events());
        let records = parse(&fs::read(bench.file()).unwrap()).unwrap();
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn a_boot_that_was_not_closed_leaves_a_log_that_says_so() {
        let bench = Bench::new();
        bench.write(&mut bench.log(), &events()[..1]);
        assert_eq!(bench.mode(), MODE | UNFINISHED);
        let before = fs::read(bench.file()).unwrap();
        bench.write(&mut bench.log(), &events());
        assert_eq!(fs::read(bench.file()).unwrap(), before);
        let said = bench.said.borrow();
        assert_eq!(said.len(), 1);
        assert!(said.concat().starts_with("extension-not-logged problem="));
        assert!(said.concat().contains("did not finish"));
    }

    #[test]
    fn what_is_no_file_of_the_systems_own_is_not_written_to() {
        let bench = Bench::new();
        make_directory(bench.file().parent().unwrap()).unwrap();
        let elsewhere = bench.dir.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, bench.file()).unwrap();
        bench.write(&mut bench.log(), &events());
        assert_eq!(fs::read(elsewhere).unwrap(), b"");
        assert_eq!(bench.said.borrow().len(), 1);
    }
}
