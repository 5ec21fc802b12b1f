//! Reports through configfs-tsm: one entry per report, made, filled, read and removed again.
//!
//! Source: Linux `Documentation/ABI/testing/configfs-tsm-report` and `drivers/virt/coco/guest/report.c`. Two of its
//! habits decide how this is written. The kernel takes a binary attribute when the file is closed and drops an error
//! then, so that only `generation` shows whether `inblob` was taken. And `generation` counts every write of whoever
//! has the entry open: if it is not what our own writes make it, the report may be another's, and a new entry is made.

mod error;
mod fs;

pub use error::TsmError;
pub use fs::{KernelFs, ROOT, TsmFs};

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// Largest `outblob` and `auxblob`, bytes. Kernels stop at 32 KiB; evidence carries 64 KiB.
pub const MAX_BLOB: usize = 64 << 10;
/// Entries made while others write into ours.
pub const RACES: usize = 4;
/// Times one step is tried while the kernel is busy.
pub const TRIES: usize = 50;
/// Time between two tries of a busy kernel.
const PAUSE: Duration = Duration::from_millis(100);
/// Largest attribute that is text, bytes.
const MAX_TEXT: usize = 64;

/// Who makes the report, as the entry's `provider` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// SEV-SNP.
    SevGuest,
    /// TDX.
    TdxGuest,
}

impl Provider {
    /// The name the kernel gives.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SevGuest => "sev_guest",
            Self::TdxGuest => "tdx_guest",
        }
    }
}

/// A report as the kernel gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsmReport {
    /// The report or quote.
    pub outblob: Vec<u8>,
    /// What the host gave beside it, for SEV-SNP a certificate table; empty if nothing.
    pub auxblob: Vec<u8>,
}

/// Gets a report of `wanted` over `data`.
///
/// `privlevel` is the VMPL the report is to be made at; without it the entry's floor is taken, where it has one.
///
/// # Errors
/// [`TsmError::Absent`] if this kernel has no configfs-tsm: the only case in which another way may be tried.
pub fn report(
    fs: &mut impl TsmFs,
    wanted: Provider,
    data: &[u8; 64],
    privlevel: Option<u8>,
) -> Result<TsmReport, TsmError> {
    expect_root(fs)?;
    let mut number = 0;
    let mut race = (0, 0);
    for _ in 0..RACES {
        let name = make(fs, &mut number)?;
        let mut entry = Entry { fs, name: &name };
        let filled = entry.fill(wanted, data, privlevel);
        let removed = persist(fs, "remove its entry", |fs| fs.remove(&name));
        match filled? {
            Filled::Report(report) => {
                removed?;
                return Ok(report);
            }
            Filled::Race { expected, found } => {
                removed?;
                race = (expected, found);
            }
        }
    }
    Err(TsmError::Race {
        attempts: RACES,
        expected: race.0,
        found: race.1,
    })
}

/// Sees that `wanted` makes the reports here, without asking for one.
///
/// # Errors
/// As [`report`].
pub fn expect_provider(fs: &mut impl TsmFs, wanted: Provider) -> Result<(), TsmError> {
    let found = provider(fs)?;
    if found == wanted.name() {
        return Ok(());
    }
    Err(TsmError::Provider {
        wanted: wanted.name(),
        found,
    })
}

/// Who makes reports here.
///
/// # Errors
/// As [`report`].
pub fn provider(fs: &mut impl TsmFs) -> Result<String, TsmError> {
    expect_root(fs)?;
    let name = make(fs, &mut 0)?;
    let provider = Entry { fs, name: &name }.provider();
    let removed = persist(fs, "remove its entry", |fs| fs.remove(&name));
    let provider = provider?;
    removed?;
    Ok(provider)
}

fn expect_root(fs: &mut impl TsmFs) -> Result<(), TsmError> {
    match fs.has_root() {
        Ok(true) => Ok(()),
        Ok(false) => Err(TsmError::Absent),
        Err(source) => Err(TsmError::io("look for configfs-tsm", source)),
    }
}

/// Makes an entry that nobody else has.
fn make(fs: &mut impl TsmFs, number: &mut u32) -> Result<String, TsmError> {
    let doing = "make an entry";
    for _ in 0..TRIES {
        *number += 1;
        let name = format!("dawnkey-{}-{number}", std::process::id());
        match persist(fs, doing, |fs| fs.make(&name)) {
            Ok(()) => return Ok(name),
            Err(TsmError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(TsmError::Io { source, .. })
                if source.raw_os_error() == Some(Errno::ENXIO as i32) =>
            {
                return Err(TsmError::NoProvider);
            }
            Err(error) => return Err(error),
        }
    }
    Err(TsmError::Busy {
        doing,
        tries: TRIES,
    })
}

/// Does a step again while the kernel is busy or was interrupted, for a bounded time.
fn persist<F: TsmFs, T>(
    fs: &mut F,
    doing: &'static str,
    mut step: impl FnMut(&mut F) -> io::Result<T>,
) -> Result<T, TsmError> {
    for _ in 0..TRIES {
        match step(fs) {
            Ok(value) => return Ok(value),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => fs.pause(PAUSE),
                _ => return Err(TsmError::io(doing, error)),
            },
        }
    }
    Err(TsmError::Busy {
        doing,
        tries: TRIES,
    })
}

/// What came of one entry.
enum Filled {
    Report(TsmReport),
    Race { expected: u64, found: u64 },
}

/// An entry that exists.
struct Entry<'a, F> {
    fs: &'a mut F,
    name: &'a str,
}

impl<F: TsmFs> Entry<'_, F> {
    fn fill(
        &mut self,
        wanted: Provider,
        data: &[u8; 64],
        privlevel: Option<u8>,
    ) -> Result<Filled, TsmError> {
        let found = self.provider()?;
        if found != wanted.name() {
            return Err(TsmError::Provider {
                wanted: wanted.name(),
                found,
            });
        }
        let mut expected = self.number("generation", "read its generation")?;
        if let Some(level) = self.level(privlevel)? {
            let doing = "set its privlevel";
            self.write("privlevel", doing, level.to_string().as_bytes())?;
            expected = expected.wrapping_add(1);
        }
        self.write("inblob", "write its inblob", data)?;
        expected = expected.wrapping_add(1);
        let found = self.number("generation", "read its generation")?;
        if found != expected {
            return Ok(Filled::Race { expected, found });
        }
        let outblob = self.blob("outblob", "read its outblob")?;
        let auxblob = match self.blob("auxblob", "read its auxblob") {
            Err(TsmError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Vec::new()
            }
            other => other?,
        };
        let found = self.number("generation", "read its generation")?;
        if found != expected {
            return Ok(Filled::Race { expected, found });
        }
        if outblob.is_empty() {
            return Err(TsmError::Empty);
        }
        Ok(Filled::Report(TsmReport { outblob, auxblob }))
    }

    fn provider(&mut self) -> Result<String, TsmError> {
        self.text("provider", "read its provider")
    }

    /// The level to write, if the entry takes one: the one wanted, or the entry's floor.
    fn level(&mut self, wanted: Option<u8>) -> Result<Option<u64>, TsmError> {
        let doing = "read its privlevel_floor";
        let floor = match self.number("privlevel_floor", doing) {
            Err(TsmError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return wanted.map_or(Ok(None), |wanted| Err(TsmError::NoPrivlevel { wanted }));
            }
            other => other?,
        };
        match wanted {
            Some(wanted) if u64::from(wanted) < floor => Err(TsmError::Privlevel { wanted, floor }),
            Some(wanted) => Ok(Some(wanted.into())),
            None => Ok(Some(floor)),
        }
    }

    fn number(&mut self, attribute: &'static str, doing: &'static str) -> Result<u64, TsmError> {
        let text = self.text(attribute, doing)?;
        text.parse().map_err(|_| TsmError::Number {
            attribute,
            found: text,
        })
    }

    fn text(&mut self, attribute: &'static str, doing: &'static str) -> Result<String, TsmError> {
        let bytes = self.read(attribute, doing, MAX_TEXT)?;
        Ok(bytes.trim_ascii().escape_ascii().to_string())
    }

    fn blob(&mut self, attribute: &'static str, doing: &'static str) -> Result<Vec<u8>, TsmError> {
        self.read(attribute, doing, MAX_BLOB)
    }

    fn read(
        &mut self,
        attribute: &'static str,
        doing: &'static str,
        most: usize,
    ) -> Result<Vec<u8>, TsmError> {
        let name = self.name;
        let bytes = persist(self.fs, doing, |fs| fs.read(name, attribute, most))?;
        if bytes.len() > most {
            return Err(TsmError::TooLarge { attribute, most });
        }
        Ok(bytes)
    }

    fn write(
        &mut self,
        attribute: &'static str,
        doing: &'static str,
        value: &[u8],
    ) -> Result<(), TsmError> {
        let name = self.name;
        persist(self.fs, doing, |fs| fs.write(name, attribute, value))
    }
}

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod tests;
