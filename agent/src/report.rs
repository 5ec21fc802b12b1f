//! What the agent says: a closed list of events for the console and one object for programs.
//!
//! The console belongs to the host, so that it is told only what is on this list, and this file is the only one
//! that prints. Texts of the key service are cut and made printable before they get here
//! ([`dawnkey_proto::message::printable`]).

mod event;

pub use event::{Event, Sink};

use crate::unlock::{Done, Outcome, Trace};
use dawnkey_attest::collect::Closing;
use dawnkey_dm::Timings;
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

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

/// The end of a run, for programs (docs/agent.md, "Report").
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `unlocked`, `provisioned`, `refused` or `failed`.
    pub outcome: &'static str,
    /// The volume; absent when the configuration does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Uuid>,
    /// The mapped device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
    /// Generation now in the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Epoch of the DEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The key service that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<Uuid>,
    /// Kind of the evidence that the key was released for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<&'static str>,
    /// Register that the boot is closed in: `pcr-15`, `rtmr-3`, or `none` where the hardware has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_closed_in: Option<&'static str>,
    /// Round trips over the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trips: Option<u32>,
    /// Times of stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages_ms: Option<Stages>,
    /// Times inside `open` or `format`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_ms: Option<MappingTimes>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Milliseconds of the parts of mapping a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MappingTimes {
    /// Making or opening the header's seal.
    pub seal: u64,
    /// Writing every block of a new volume.
    pub wipe: u64,
    /// Making the filesystem of a new volume.
    pub filesystem: u64,
    /// Mapping dm-integrity.
    pub integrity: u64,
    /// Mapping dm-crypt.
    pub crypt: u64,
    /// Writing the header.
    pub commit: u64,
}

impl From<Timings> for MappingTimes {
    fn from(timings: Timings) -> Self {
        Self {
            seal: millis(timings.seal),
            wipe: millis(timings.wipe),
            filesystem: millis(timings.filesystem),
            integrity: millis(timings.integrity),
            crypt: millis(timings.crypt),
            commit: millis(timings.commit),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Why a run failed, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The step.
    pub step: &'static str,
    /// The process's exit code.
    pub exit_code: u8,
    /// Stable code of the refusal, if the service refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For people.
    pub message: String,
}

impl Report {
    /// The report of a run that succeeded, with the stages before the flow and the time of everything.
    #[must_use]
    pub fn done(volume: Uuid, done: &Done, before: Stages, total: Duration) -> Self {
        let mut stages = before;
        for (stage, elapsed) in done.trace.stages.iter() {
            stages.add(stage, elapsed);
        }
        stages.add(Stage::Total, total);
        Self {
            outcome: match done.outcome {
                Outcome::Unlocked => "unlocked",
                Outcome::Provisioned => "provisioned",
            },
            volume: Some(volume),
            device: Some(done.mapping.device.clone()),
            generation: Some(done.mapping.seen.generation),
            epoch: Some(done.mapping.seen.epoch),
            service_id: Some(done.service_id),
            evidence: Some(done.evidence),
            boot_closed_in: Some(match done.closing {
                Closing::Register(register) => register.name(),
                Closing::Absent { .. } => "none",
            }),
            round_trips: Some(done.trace.round_trips),
            stages_ms: Some(stages),
            mapping_ms: Some(done.mapping.timings.into()),
            error: None,
        }
    }

    /// The report of a run that failed, with what it had come to.
    #[must_use]
    pub fn failed(volume: Option<Uuid>, failure: Failure, trace: Option<Box<Trace>>) -> Self {
        let refused = failure.reason.is_some();
        Self {
            outcome: if refused { "refused" } else { "failed" },
            volume,
            device: None,
            generation: None,
            epoch: None,
            service_id: None,
            evidence: None,
            boot_closed_in: None,
            round_trips: trace.as_ref().map(|trace| trace.round_trips),
            stages_ms: trace.map(|trace| trace.stages),
            mapping_ms: None,
            error: Some(failure),
        }
    }
}

/// Writes an event's line to standard error, the console of an initramfs. A console that is gone stops nothing.
pub fn console(event: &Event) {
    let _ = writeln!(std::io::stderr().lock(), "dawnkey-agent: {event}");
}

/// Writes a report to standard output, one object on one line.
pub fn json(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// Writes a line of text to standard output.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
