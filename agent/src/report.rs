//! What the agent says: a closed list of events for the console and one object for programs.
//!
//! The console belongs to the host, so that it is told only what is on this list, and this file is the only one
//! that prints. Texts of the key service are cut and made printable before they get here
//! ([`dawnkey_proto::message::printable`]).

mod event;
mod lines;
mod remedy;
mod summary;
mod wording;

pub use event::{Event, Sink};
pub use summary::{EXIT_PARTIAL, Failure, MappingTimes, Report, VolumeReport};

use lines::Lines;
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The console is one, whoever writes to it.
static LINES: Mutex<Lines> = Mutex::new(Lines::new());

/// Stages whose time is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Opening the source of evidence; for a TPM with its keys.
    Attester,
    /// Reading headers of all disks.
    Find,
    /// TCP and TLS.
    Connect,
    /// The report or quote and what goes with it.
    Collect,
    /// The calls until there is a verdict; includes `activate`.
    Ask,
    /// The TPM's part of a challenge.
    Activate,
    /// Unsealing, mapping, writing the header.
    Open,
    /// Mapping, wiping, making a filesystem, writing the header.
    Format,
    /// Extending and capping the boot's last register.
    CloseBoot,
    /// The last call.
    Confirm,
    /// All of it, waiting between attempts included.
    Total,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Attester => "attester",
            Self::Find => "find",
            Self::Connect => "connect",
            Self::Collect => "collect",
            Self::Ask => "ask",
            Self::Activate => "activate",
            Self::Open => "open",
            Self::Format => "format",
            Self::CloseBoot => "close_boot",
            Self::Confirm => "confirm",
            Self::Total => "total",
        }
    }
}

/// Times of stages, in the order in which they were first entered. A stage that was repeated has its sum.
#[derive(Debug, Clone, Default)]
pub struct Stages(Vec<(Stage, Duration)>);

impl Stages {
    /// Adds time to a stage.
    pub fn add(&mut self, stage: Stage, elapsed: Duration) {
        match self.0.iter_mut().find(|(s, _)| *s == stage) {
            Some((_, sum)) => *sum += elapsed,
            None => self.0.push((stage, elapsed)),
        }
    }

    /// Takes the time of `work`.
    pub fn time<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let began = std::time::Instant::now();
        let result = work();
        self.add(stage, began.elapsed());
        result
    }

    /// Adds the times of others.
    pub fn merge(&mut self, others: &Self) {
        for (stage, elapsed) in others.iter() {
            self.add(stage, elapsed);
        }
    }

    /// The stages with their times.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        self.0.iter().copied()
    }
}

impl Serialize for Stages {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|(stage, time)| (stage.name(), millis(*time))),
        )
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes an event to standard error, the console of an initramfs; long work is a bar there. A console that is gone stops nothing.
pub fn console(event: &Event) {
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut console = std::io::stderr().lock();
    let text = lines.next(event, console.is_terminal());
    let _ = console.write_all(text.as_bytes());
}

/// Writes an object to standard output, on one line.
pub fn json(report: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(report) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// Writes a line of text to standard output.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
