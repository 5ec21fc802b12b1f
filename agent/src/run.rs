//! Drives the flow from its first state to its last, for every volume, and retries where that can help.

use crate::config::{Pace, VolumeConfig};
use crate::error::{AskError, Stopped, Undone, UnlockError, chain};
use crate::lease::Leases;
use crate::recovery::{Recovery, Won, wait as wait_for_both};
use crate::report::{Event, Sink};
use crate::retry::{Budget, Jitter};
use crate::service::KeyService;
use crate::unlock::{
    Boot, Closed, ClosedBoot, Done, Giver, Mapped, Measured, Released, Unlock, close_boot,
};
use dawnkey_attest::collect::{Attester, Closing};
use dawnkey_dm::{Mapped as Mapping, Mapper, SealedHeader};
use dawnkey_proto::closing::Opened;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How long before a disk that is not there is looked for again.
const DISK_AGAIN: Duration = Duration::from_millis(250);

/// What is to be unlocked, by whom, in what time.
#[derive(Debug)]
pub struct Job<'a> {
    /// The volumes, in the order in which they are opened.
    pub volumes: &'a [VolumeConfig],
    /// The node's name, a hint for people.
    pub node_name: &'a str,
    /// How long the network may take, for each volume.
    pub pace: Pace,
    /// Whether this node runs a holder for leases that are to be held.
    pub holder: bool,
}

/// The flow's three ports, its randomness and its voice.
pub struct Ports<'a, K, A, M> {
    /// Gives connections to the key service.
    pub service: &'a mut K,
    /// Gives evidence.
    pub attester: &'a mut A,
    /// Finds and maps volumes.
    pub mapper: &'a mut M,
    /// Where leases are left for their holders.
    pub leases: &'a mut dyn Leases,
    /// Spreads the attempts of many nodes.
    pub jitter: Jitter<'a>,
    /// Takes the events.
    pub report: Sink<'a>,
}

/// The end of the flow: every required volume may be used.
#[derive(Debug)]
pub struct Finished {
    /// The volumes that are open.
    pub done: Vec<Done>,
    /// The volumes that are not and need not be, and why.
    pub missing: Vec<(Uuid, UnlockError)>,
    /// Kind of the evidence that the keys were released for.
    pub evidence: &'static str,
    /// What its last register was extended with, in that order.
    pub closed_with: Vec<Opened>,
    /// How the boot was closed.
    pub closing: Closing,
}

/// Unlocks every volume: each is mapped, then the boot is closed for all, then each is confirmed.
///
/// A volume that is not required may fail; its mapping, if it has one, is closed. When anything else fails, every
/// mapping is closed again.
pub async fn run<K: KeyService, A: Attester, M: Mapper>(
    job: &Job<'_>,
    ports: &mut Ports<'_, K, A, M>,
) -> Result<Finished, Box<Stopped>> {
    run_or_recover(job, ports, None).await
}

/// The same, with an operator to wait for when the service does not answer.
pub async fn run_or_recover<K: KeyService, A: Attester, M: Mapper>(
    job: &Job<'_>,
    ports: &mut Ports<'_, K, A, M>,
    mut recovery: Option<&mut Recovery>,
) -> Result<Finished, Box<Stopped>> {
    let mut missing = Vec::new();
    let mut mapped = Vec::new();
    for volume in job.volumes {
        let (id, required) = (volume.wanted.volume, volume.required);
        let recovery = recovery.as_deref_mut();
        match map(job, volume, Boot::Open, ports, recovery).await {
            Ok(unlock) => mapped.push(unlock),
            Err(error) if required => {
                let open = mapped.iter().map(Unlock::<Mapped<_>>::mapping);
                return Err(stop(Some(id), error, open, ports));
            }
            Err(error) => missing.push(do_without(id, error, ports)),
        }
    }
    let ClosedBoot {
        volumes,
        closed_with,
        closing,
    } = match close_boot(&mut mapped, ports.attester) {
        Ok(closed) => closed,
        Err(error) => {
            let open = mapped.iter().map(Unlock::<Mapped<_>>::mapping);
            return Err(stop(None, UnlockError::CloseBoot(error), open, ports));
        }
    };
    (ports.report)(&match closing {
        Closing::Register(register) => Event::BootClosed { register },
        Closing::Absent { why } => Event::BootNotClosed { why },
    });
    let mut done: Vec<Done> = Vec::new();
    let mut closed = volumes.into_iter();
    while let Some(unlock) = closed.next() {
        let (id, mapping) = (unlock.volume(), unlock.mapping().clone());
        match confirm(job, unlock, ports).await {
            Ok(confirmed) => done.push(confirmed),
            Err(error) if job.requires(id) => {
                let before = done.iter().map(|done| &done.mapping);
                let after = closed.as_slice().iter().map(Unlock::<Closed<_>>::mapping);
                let open = before.chain([&mapping]).chain(after);
                for volume in job.volumes {
                    let _ = ports.leases.forget(volume.wanted.volume);
                }
                return Err(stop(Some(id), error, open, ports));
            }
            Err(error) => {
                undo([&mapping].into_iter(), ports);
                // A lease of the volume is worth nothing any more, and runs out by itself.
                let _ = ports.leases.forget(id);
                missing.push(do_without(id, error, ports));
            }
        }
    }
    Ok(Finished {
        done,
        missing,
        evidence: ports.attester.kind(),
        closed_with,
        closing,
    })
}

/// Opens one volume again in a boot that is closed, for maintenance. Policy has to allow that by name; the evidence
/// shows what the boot was closed with, and `closed_with` must say the same.
pub async fn reopen<K: KeyService, A: Attester, M: Mapper>(
    job: &Job<'_>,
    volume: &VolumeConfig,
    closed_with: &[Opened],
    ports: &mut Ports<'_, K, A, M>,
) -> Result<Done, Box<Stopped>> {
    let id = volume.wanted.volume;
    let boot = Boot::Closed(closed_with);
    let mapped = match map(job, volume, boot, ports, None).await {
        Ok(mapped) => mapped,
        Err(error) => return Err(stop(Some(id), error, [].into_iter(), ports)),
    };
    let mapping = mapped.mapping().clone();
    match confirm(job, mapped.in_closed_boot(), ports).await {
        Ok(done) => Ok(done),
        Err(error) => {
            let _ = ports.leases.forget(id);
            Err(stop(Some(id), error, [&mapping].into_iter(), ports))
        }
    }
}

impl Job<'_> {
    fn requires(&self, id: Uuid) -> bool {
        let mut volumes = self.volumes.iter();
        volumes.any(|volume| volume.wanted.volume == id && volume.required)
    }
}

/// One volume's way from the disk to a mapping.
async fn map<K: KeyService, A: Attester, M: Mapper>(
    job: &Job<'_>,
    volume: &VolumeConfig,
    boot: Boot<'_>,
    ports: &mut Ports<'_, K, A, M>,
    recovery: Option<&mut Recovery>,
) -> Result<Unlock<Mapped<K::Session>>, UnlockError> {
    (ports.report)(&Event::opening(&volume.wanted));
    let measured = measure(volume, boot, job.node_name, ports).await?;
    let header = measured.header().cloned();
    let released = match (recovery, header) {
        (Some(recovery), Some(header)) => {
            match ask_or_wait(job, ports, recovery, measured, &header).await? {
                Won::Service(released) => *released,
                Won::Operator(judged) => {
                    // The service's attempt had the disk in its hands and is gone with it.
                    let (name, report) = (job.node_name, &mut *ports.report);
                    let measured = Unlock::measure(volume, boot, name, ports.mapper, report)?;
                    return measured.recover(judged, &header, ports.mapper, ports.report);
                }
            }
        }
        _ => {
            let asked = ask(job.pace, ports, measured).await;
            asked.map_err(|unanswered| unanswered.error)?
        }
    };
    let released = released.with_holder(job.holder)?;
    released.map(ports.mapper, ports.report)
}

/// Finds the volume. A disk that is not there yet may come within the time that the configuration gives it.
async fn measure<K, A, M: Mapper>(
    volume: &VolumeConfig,
    boot: Boot<'_>,
    node_name: &str,
    ports: &mut Ports<'_, K, A, M>,
) -> Result<Unlock<Measured>, UnlockError> {
    let end = Instant::now() + volume.wait;
    let mut said = false;
    loop {
        let found = Unlock::measure(volume, boot, node_name, ports.mapper, ports.report);
        let error = match found {
            Err(UnlockError::Find(error)) if error.is_absence() => error,
            other => return other,
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(UnlockError::Find(error));
        }
        if !said {
            let (problem, wait) = (chain(&error), volume.wait);
            (ports.report)(&Event::DiskAwaited { problem, wait });
            said = true;
        }
        tokio::time::sleep(DISK_AGAIN.min(left)).await;
    }
}

/// Asks the service for as long as the configuration says, then waits for it and for an operator.
async fn ask_or_wait<K: KeyService, A: Attester, M>(
    job: &Job<'_>,
    ports: &mut Ports<'_, K, A, M>,
    recovery: &mut Recovery,
    mut measured: Unlock<Measured>,
    header: &SealedHeader,
) -> Result<Won<K::Session>, UnlockError> {
    let mut before = None;
    if !recovery.is_waiting() {
        let budget = recovery.after().unwrap_or(job.pace.budget);
        let pace = Pace {
            budget,
            attempt: job.pace.attempt.min(budget),
        };
        match ask(pace, ports, measured).await {
            Ok(released) => return Ok(Won::Service(Box::new(released))),
            Err(unanswered) if !unanswered.error.is_silence() => return Err(unanswered.error),
            Err(unanswered) => {
                measured = unanswered.back;
                before = Some(unanswered.error);
            }
        }
    }
    let began = Instant::now();
    let won = wait_for_both(job, ports, recovery, measured, header).await?;
    won.ok_or_else(|| UnlockError::Abandoned {
        waited: began.elapsed(),
        before: before.map(Box::new),
    })
}

/// No key within the budget, and the state from which the next attempt can begin.
pub(crate) struct Unanswered {
    pub(crate) back: Unlock<Measured>,
    pub(crate) error: UnlockError,
}

/// Asks until there is a verdict or the budget ends; each attempt has its own connection and its own evidence.
pub(crate) async fn ask<K: KeyService, A: Attester, M>(
    pace: Pace,
    ports: &mut Ports<'_, K, A, M>,
    mut measured: Unlock<Measured>,
) -> Result<Unlock<Released<K::Session>>, Box<Unanswered>> {
    let mut budget = Budget::start(pace);
    loop {
        budget.attempt();
        let tried = measured
            .attempt(ports.service, ports.attester, &budget, ports.report)
            .await;
        let failed = match tried {
            Ok(released) => return Ok(released),
            Err(failed) => *failed,
        };
        if !wait(&mut budget, &failed.error, ports).await {
            let error = UnlockError::Ask {
                attempts: budget.attempts(),
                spent: budget.spent(),
                error: Box::new(failed.error),
                trace: Box::new(failed.back.trace().clone()),
            };
            let back = failed.back;
            return Err(Box::new(Unanswered { back, error }));
        }
        measured = failed.back;
    }
}

/// Confirms until there is an answer or the budget, one of its own, ends.
pub(crate) async fn confirm<K: KeyService, A, M>(
    job: &Job<'_>,
    mut closed: Unlock<Closed<K::Session>>,
    ports: &mut Ports<'_, K, A, M>,
) -> Result<Done, UnlockError> {
    let mut budget = Budget::start(job.pace);
    loop {
        budget.attempt();
        let failed = match closed.confirm(ports.service, ports.leases, &budget).await {
            Ok(done) => {
                if let Giver::Service(_) = done.giver {
                    let device = done.mapping.device.clone();
                    (ports.report)(&Event::Confirmed { device });
                }
                return Ok(done);
            }
            Err(failed) => *failed,
        };
        if !wait(&mut budget, &failed.error, ports).await {
            return Err(UnlockError::Confirm {
                attempts: budget.attempts(),
                spent: budget.spent(),
                error: Box::new(failed.error),
            });
        }
        closed = failed.back;
    }
}

/// Waits before the next attempt; `false` when there must be none.
async fn wait<K, A, M>(
    budget: &mut Budget,
    error: &AskError,
    ports: &mut Ports<'_, K, A, M>,
) -> bool {
    let Some(wait) = budget.wait(error.again(), ports.jitter) else {
        return false;
    };
    (ports.report)(&Event::AttemptFailed {
        attempt: budget.attempts(),
        problem: error.to_string(),
        wait,
    });
    tokio::time::sleep(wait).await;
    true
}

/// Says that the node goes on without a volume.
fn do_without<K, A, M>(
    volume: Uuid,
    error: UnlockError,
    ports: &mut Ports<'_, K, A, M>,
) -> (Uuid, UnlockError) {
    (ports.report)(&Event::DoingWithout {
        volume,
        step: error.step(),
        problem: error.to_string(),
    });
    (volume, error)
}

/// The flow's end without its volumes.
fn stop<'m, K, A, M: Mapper>(
    volume: Option<Uuid>,
    error: UnlockError,
    open: impl Iterator<Item = &'m Mapping>,
    ports: &mut Ports<'_, K, A, M>,
) -> Box<Stopped> {
    Box::new(Stopped {
        volume,
        error,
        undone: undo(open, ports),
    })
}

/// Closes mappings that must not be used, the last first.
fn undo<'m, K, A, M: Mapper>(
    open: impl Iterator<Item = &'m Mapping>,
    ports: &mut Ports<'_, K, A, M>,
) -> Undone {
    let mut undone = Undone::default();
    let open: Vec<_> = open.collect();
    for mapping in open.into_iter().rev() {
        let device = mapping.device.clone();
        match ports.mapper.close(mapping) {
            Ok(()) => {
                (ports.report)(&Event::MappingClosed { device });
                undone.closed += 1;
            }
            Err(error) => {
                let problem = error.to_string();
                (ports.report)(&Event::MappingLeft { device, problem });
                undone.left.push(error);
            }
        }
    }
    undone
}
