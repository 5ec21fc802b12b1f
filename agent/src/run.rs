//! Drives the flow from its first state to its last, and retries where that can help.

use crate::config::Pace;
use crate::error::{AskError, UnlockError};
use crate::report::{Event, Sink};
use crate::retry::{Budget, Jitter};
use crate::service::KeyService;
use crate::unlock::{Done, Measured, Released, Unlock};
use dawnkey_attest::collect::Attester;
use dawnkey_dm::{Mapper, Wanted};

/// What is to be unlocked, by whom, in what time.
#[derive(Debug)]
pub struct Job<'a> {
    /// The volume, where it may be, and as what it is mapped.
    pub wanted: &'a Wanted,
    /// The node's name, a hint for people.
    pub node_name: &'a str,
    /// How long the network may take.
    pub pace: Pace,
}

/// The flow's three ports, its randomness and its voice.
pub struct Ports<'a, K, A, M> {
    /// Gives connections to the key service.
    pub service: &'a mut K,
    /// Gives evidence.
    pub attester: &'a mut A,
    /// Finds and maps volumes.
    pub mapper: &'a mut M,
    /// Spreads the attempts of many nodes.
    pub jitter: Jitter<'a>,
    /// Takes the events.
    pub report: Sink<'a>,
}

/// Unlocks one volume. Whatever fails after it was mapped, it is closed again.
pub async fn run<K: KeyService, A: Attester, M: Mapper>(
    job: &Job<'_>,
    ports: &mut Ports<'_, K, A, M>,
) -> Result<Done, UnlockError> {
    let measured = Unlock::measure(job.wanted, job.node_name, ports.mapper, ports.report)?;
    let released = ask(job, ports, measured).await?;
    let mapped = released.map(ports.mapper, ports.report)?;
    let mut closed = mapped.close_boot(ports.attester, ports.mapper, ports.report)?;
    let mut budget = Budget::start(job.pace);
    loop {
        budget.attempt();
        let failed = match closed.confirm(ports.service, &budget).await {
            Ok(done) => {
                (ports.report)(&Event::Confirmed);
                return Ok(done);
            }
            Err(failed) => *failed,
        };
        if !wait(&mut budget, &failed.error, ports).await {
            return Err(UnlockError::Confirm {
                attempts: budget.attempts(),
                spent: budget.spent(),
                error: Box::new(failed.error),
                mapping: failed.back.give_up(ports.mapper, ports.report),
            });
        }
        closed = failed.back;
    }
}

/// Asks until there is a verdict or the budget ends; each attempt has its own connection and its own evidence.
async fn ask<K: KeyService, A: Attester, M: Mapper>(
    job: &Job<'_>,
    ports: &mut Ports<'_, K, A, M>,
    mut measured: Unlock<Measured>,
) -> Result<Unlock<Released<K::Session>>, UnlockError> {
    let mut budget = Budget::start(job.pace);
    loop {
        budget.attempt();
        let attested = measured
            .attest(ports.service, ports.attester, &budget, ports.report)
            .await;
        let failed = match attested {
            Ok(attested) => match attested.ask(ports.attester, &budget, ports.report).await {
                Ok(released) => return Ok(released),
                Err(failed) => *failed,
            },
            Err(failed) => *failed,
        };
        if !wait(&mut budget, &failed.error, ports).await {
            return Err(UnlockError::Ask {
                attempts: budget.attempts(),
                spent: budget.spent(),
                error: Box::new(failed.error),
                trace: Box::new(failed.back.trace().clone()),
            });
        }
        measured = failed.back;
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
