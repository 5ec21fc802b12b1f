//! The end of a run as one object for programs (docs/agent.md, "Report").

use super::{Stage, Stages, millis};
use crate::config::VolumeConfig;
use crate::error::{Stopped, UnlockError};
use crate::run::Finished;
use crate::unlock::{Done, Giver, Outcome};
use dawnkey_attest::collect::Closing;
use dawnkey_dm::Timings;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// Exit code when all that is required is there, and something that is not is missing.
pub const EXIT_PARTIAL: u8 = 50;

/// The end of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `unlocked`, `provisioned`, `partial`, `refused` or `failed`.
    pub outcome: &'static str,
    /// What became of each volume, in the configuration's order; those that were never come to are absent.
    pub volumes: Vec<VolumeReport>,
    /// The key service that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<Uuid>,
    /// Kind of the evidence that the keys were released for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<&'static str>,
    /// Register that the boot is closed in: `pcr-15`, `rtmr-3`, or `none` where the hardware has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_closed_in: Option<&'static str>,
    /// Round trips over the network, for all volumes.
    pub round_trips: u32,
    /// Times of stages, summed over volumes.
    pub stages_ms: Stages,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What became of one volume.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeReport {
    /// Which.
    pub id: Uuid,
    /// `unlocked`, `provisioned`, `recovered`, `refused` or `failed`.
    pub outcome: &'static str,
    /// The mapped device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
    /// Generation now in the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Epoch of the DEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Bytes that can be used by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_bytes: Option<u64>,
    /// Bytes that the device will have when the wipe behind it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
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
    /// Finding out how far the wipe behind the volume has come.
    pub ready: u64,
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
            ready: millis(timings.ready),
            commit: millis(timings.commit),
        }
    }
}

/// Why a run, or one volume of it, failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The step.
    pub step: &'static str,
    /// The process's exit code for it.
    pub exit_code: u8,
    /// Stable code of the refusal, if the service refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure outside the flow.
    #[must_use]
    pub fn at(step: &'static str, exit_code: u8, error: &dyn std::error::Error) -> Self {
        Self {
            step,
            exit_code,
            reason: None,
            message: error.to_string(),
        }
    }

    /// A failure of the flow.
    #[must_use]
    pub fn of(error: &UnlockError) -> Self {
        Self {
            reason: error.refusal().map(|refusal| refusal.code()),
            ..Self::at(error.step(), error.exit_code(), error)
        }
    }

    const fn outcome(&self) -> &'static str {
        if self.reason.is_some() {
            "refused"
        } else {
            "failed"
        }
    }
}

impl VolumeReport {
    fn done(done: &Done) -> Self {
        Self {
            id: done.volume,
            outcome: match done.outcome {
                Outcome::Unlocked => "unlocked",
                Outcome::Provisioned => "provisioned",
                Outcome::Recovered => "recovered",
            },
            device: Some(done.mapping.device.clone()),
            generation: Some(done.mapping.seen.generation),
            epoch: Some(done.mapping.seen.epoch),
            ready_bytes: Some(done.mapping.ready.ready_bytes),
            total_bytes: Some(done.mapping.ready.total_bytes),
            mapping_ms: Some(done.mapping.timings.into()),
            error: None,
        }
    }

    fn failed(id: Uuid, error: &UnlockError) -> Self {
        let failure = Failure::of(error);
        Self {
            id,
            outcome: failure.outcome(),
            device: None,
            generation: None,
            epoch: None,
            ready_bytes: None,
            total_bytes: None,
            mapping_ms: None,
            error: Some(failure),
        }
    }
}

impl Report {
    /// The report of a run that gave the node what it needs, with the stages before the flow and the time of
    /// everything.
    #[must_use]
    pub fn finished(
        order: &[VolumeConfig],
        finished: &Finished,
        before: Stages,
        total: Duration,
    ) -> Self {
        let mut stages = before;
        let (mut volumes, mut round_trips) = (Vec::new(), 0);
        for done in &finished.done {
            stages.merge(&done.trace.stages);
            round_trips += done.trace.round_trips;
            volumes.push(VolumeReport::done(done));
        }
        for (id, error) in &finished.missing {
            volumes.push(VolumeReport::failed(*id, error));
        }
        volumes.sort_by_key(|volume| order.iter().position(|v| v.wanted.volume == volume.id));
        stages.add(Stage::Total, total);
        let provisioned = finished
            .done
            .iter()
            .any(|d| d.outcome == Outcome::Provisioned);
        Self {
            outcome: match provisioned {
                _ if !finished.missing.is_empty() => "partial",
                true => "provisioned",
                false => "unlocked",
            },
            volumes,
            service_id: finished.done.iter().find_map(|done| match done.giver {
                Giver::Service(id) => Some(id),
                Giver::Operator(_) | Giver::Broker => None,
            }),
            evidence: Some(finished.evidence),
            boot_closed_in: Some(match finished.closing {
                Closing::Register(register) => register.name(),
                Closing::Absent { .. } => "none",
            }),
            round_trips,
            stages_ms: stages,
            error: None,
        }
    }

    /// The report of a run that gave nothing.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self {
            outcome: failure.outcome(),
            volumes: Vec::new(),
            service_id: None,
            evidence: None,
            boot_closed_in: None,
            round_trips: 0,
            stages_ms: Stages::default(),
            error: Some(failure),
        }
    }

    /// The report of a flow that stopped, with what it had come to.
    #[must_use]
    pub fn stopped(stopped: &Stopped) -> Self {
        let mut report = Self::failed(Failure {
            message: stopped.to_string(),
            ..Failure::of(&stopped.error)
        });
        if let UnlockError::Ask { trace, .. } = &stopped.error {
            report.round_trips = trace.round_trips;
            report.stages_ms = trace.stages.clone();
        }
        let failed = stopped.volume.iter();
        report.volumes = failed
            .map(|id| VolumeReport::failed(*id, &stopped.error))
            .collect();
        report
    }
}
