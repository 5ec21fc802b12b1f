//! Drives the flow for a secret: asked for like a volume, handed on instead of mapped, and confirmed.

use crate::error::{Stopped, Undone, UnlockError};
use crate::report::Event;
use crate::run::{Finished, Job, Ports, ask, confirm};
use crate::service::KeyService;
use crate::unlock::{Boot, ClosedBoot, Done, Unlock, close_boot};
use dawnkey_attest::collect::{Attester, Closing};
use dawnkey_proto::closing::Opened;
use dawnkey_secret::Dek;
use std::io;
use uuid::Uuid;

/// Gets the secret in a boot that is open still, and closes the boot: it is got once.
///
/// `hand` must keep the key from whoever it is for until this has returned.
///
/// # Errors
/// As an unlock; the key could not be handed on.
pub async fn take<K: KeyService, A: Attester>(
    job: &Job<'_>,
    secret: Uuid,
    ports: &mut Ports<'_, K, A, ()>,
    hand: impl FnOnce(&Dek) -> io::Result<()>,
) -> Result<Finished, Box<Stopped>> {
    let stop = |error| stopped(secret, error);
    let measured = Unlock::secret(secret, Boot::Open, job.node_name).map_err(stop)?;
    let released = ask(job.pace, ports, measured).await;
    let released = released.map_err(|unanswered| stop(unanswered.error))?;
    let released = released.with_holder(job.holder).map_err(stop)?;
    let mut handed = vec![released.hand(hand).map_err(stop)?];
    let ClosedBoot {
        volumes,
        closed_with,
        closing,
    } = close_boot(&mut handed, ports.attester)
        .map_err(|error| stop(UnlockError::CloseBoot(error)))?;
    (ports.report)(&match closing {
        Closing::Register(register) => Event::BootClosed { register },
        Closing::Absent { why } => Event::BootNotClosed { why },
    });
    let mut done = Vec::new();
    for closed in volumes {
        done.push(confirm(job, closed, ports).await.map_err(stop)?);
    }
    Ok(Finished {
        done,
        missing: Vec::new(),
        evidence: ports.attester.kind(),
        closed_with,
        closing,
    })
}

/// Gets the secret in a boot that was closed with `closed_with`: policy has to allow that.
///
/// # Errors
/// As [`take`].
pub async fn take_again<K: KeyService, A: Attester>(
    job: &Job<'_>,
    secret: Uuid,
    closed_with: &[Opened],
    ports: &mut Ports<'_, K, A, ()>,
    hand: impl FnOnce(&Dek) -> io::Result<()>,
) -> Result<Done, Box<Stopped>> {
    let stop = |error| stopped(secret, error);
    let boot = Boot::Closed(closed_with);
    let measured = Unlock::secret(secret, boot, job.node_name).map_err(stop)?;
    let released = ask(job.pace, ports, measured).await;
    let released = released.map_err(|unanswered| stop(unanswered.error))?;
    let released = released.with_holder(job.holder).map_err(stop)?;
    let handed = released.hand(hand).map_err(stop)?;
    confirm(job, handed.in_closed_boot(), ports)
        .await
        .map_err(stop)
}

fn stopped(secret: Uuid, error: UnlockError) -> Box<Stopped> {
    Box::new(Stopped {
        volume: Some(secret),
        error,
        undone: Undone::default(),
    })
}
