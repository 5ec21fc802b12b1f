//! The holder: renews the lease of a volume in use, and does what policy says when the lease is lost.
//!
//! A lease counts from the sending of what last renewed it, on a clock that goes on while the machine sleeps: whatever
//! the network did, nobody else can have been given the volume before this side knows that it may have been.

use crate::config::Pace;
use crate::error::AskError;
use crate::lease::{Held, Leases};
use crate::report::{Event, Sink};
use crate::retry::Jitter;
use crate::service::{KeyService, Session};
use dawnkey_proto::message::{OnLoss, Progress, Reason, Refusal, Renew, RenewAnswer};
use dawnkey_secret::LeaseToken;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// First wait after a renewal that failed; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait after a renewal that failed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the end of a lease is told before it is left to run out.
const END_ATTEMPTS: u32 = 3;

/// The volume that the lease is about.
pub trait Volume {
    /// Whether anything has it open; one that cannot be asked is in use.
    fn in_use(&mut self) -> bool;
    /// How much of it can be used.
    fn progress(&mut self) -> Option<Progress>;
    /// Stops all reading and writing.
    ///
    /// # Errors
    /// Why not.
    fn suspend(&mut self) -> Result<(), String>;
    /// Switches the machine off, at once.
    ///
    /// # Errors
    /// Why not.
    fn power_off(&mut self) -> Result<(), String>;
}

/// What the holder works with.
pub struct Ports<'a, K, V> {
    /// Gives connections to the key service.
    pub service: &'a mut K,
    /// Where the lease is, and the clock.
    pub leases: &'a mut dyn Leases,
    /// The volume.
    pub volume: &'a mut V,
    /// How long one renewal may take.
    pub pace: Pace,
    /// Spreads the renewals of many nodes.
    pub jitter: Jitter<'a>,
    /// Takes the events.
    pub report: Sink<'a>,
    /// Called all the time, at least once in [`Ports::tick`].
    pub alive: &'a mut dyn FnMut(),
    /// Longest time between two looks at the clock.
    pub tick: Duration,
}

/// How holding came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The service knows that the volume is closed.
    Orderly,
    /// The volume is still in use: the lease stays, for the next holder or until it runs out.
    Kept,
    /// The lease was lost; this was to be done about it.
    Lost(OnLoss),
}

/// Renews a lease until `stop` or until it is lost.
pub async fn hold<K: KeyService, V: Volume>(
    mut held: Held,
    ports: &mut Ports<'_, K, V>,
    stop: impl Future<Output = ()>,
) -> Ended {
    let mut stop = pin!(stop);
    let (mut next, mut wait) = (ports.leases.now(), FIRST_WAIT);
    let (mut first, mut said) = (true, false);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return end(&held, ports).await,
            () = reach(if first { next } else { next.min(held.end()) }, ports) => {}
        }
        let sent = ports.leases.now();
        // A lease that had run out before this holder began may still be nobody else's.
        if !first && sent >= held.end() {
            return lose(&held, "it was not renewed until its end", ports);
        }
        let left = held.end().saturating_sub(sent);
        let time = if first || left > ports.pace.attempt {
            ports.pace.attempt
        } else {
            left
        };
        let renewed = renew(&held, false, Instant::now() + time, ports).await;
        first = false;
        match renewed {
            Ok(seconds) if seconds > 0 => {
                held.sent = sent;
                held.seconds = seconds;
                // Without it a holder that is restarted knows an older end, and renews a little earlier.
                let _ = ports.leases.leave(&held);
                next = sent + third(seconds, ports.jitter);
                wait = FIRST_WAIT;
                if !std::mem::replace(&mut said, true) {
                    let fencing_token = held.fencing_token;
                    (ports.report)(&Event::LeaseHeld {
                        fencing_token,
                        seconds,
                    });
                }
            }
            Ok(_) => return lose(&held, "the service says that it has ended", ports),
            Err(AskError::Refused(refusal)) if is_final(&refusal) => {
                return lose(&held, &refusal.to_string(), ports);
            }
            Err(error) => {
                said = false;
                let half = wait / 2;
                let back_off = half + half * u32::from((ports.jitter)()) / u32::from(u16::MAX);
                wait = (wait * 2).min(LONGEST_WAIT);
                next = ports.leases.now() + back_off;
                (ports.report)(&Event::RenewalFailed {
                    left: held.end().saturating_sub(ports.leases.now()),
                    problem: error.to_string(),
                });
            }
        }
    }
}

/// When to renew again: after a third of the lease, less up to a tenth of that.
fn third(seconds: u32, jitter: Jitter<'_>) -> Duration {
    let third = Duration::from_secs(seconds.into()) / 3;
    third - third / 10 * u32::from(jitter()) / u32::from(u16::MAX)
}

/// Whether a refusal says that there is no lease any more.
fn is_final(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        Reason::LeaseLost | Reason::VolumeRetired | Reason::NodeRevoked
    )
}

/// Waits until the clock shows a time. The clock may jump, as after a sleep: it is looked at often.
async fn reach<K, V>(when: Duration, ports: &mut Ports<'_, K, V>) {
    loop {
        (ports.alive)();
        let left = when.saturating_sub(ports.leases.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(ports.tick)).await;
    }
}

/// One renewal over a connection of its own; gives the seconds that the lease lives.
async fn renew<K: KeyService, V: Volume>(
    held: &Held,
    end: bool,
    deadline: Instant,
    ports: &mut Ports<'_, K, V>,
) -> Result<u32, AskError> {
    let token = LeaseToken::fill(|copy| {
        copy.copy_from_slice(held.token.expose());
        Ok::<_, AskError>(())
    })?;
    let message = Renew {
        volume: held.volume,
        fencing_token: held.fencing_token,
        token,
        progress: ports.volume.progress(),
        end,
    };
    let mut session = ports.service.connect(deadline).await?;
    match session.renew(message, deadline).await? {
        RenewAnswer::Renewed { seconds } => Ok(seconds),
        RenewAnswer::Refuse(refusal) => Err(AskError::Refused(refusal)),
    }
}

/// The orderly end: the lease ends with the volume's use, not before it.
async fn end<K: KeyService, V: Volume>(held: &Held, ports: &mut Ports<'_, K, V>) -> Ended {
    if ports.volume.in_use() {
        (ports.report)(&Event::LeaseKept);
        return Ended::Kept;
    }
    let mut failed = None;
    for _ in 0..END_ATTEMPTS {
        let deadline = Instant::now() + ports.pace.attempt;
        failed = match renew(held, true, deadline, ports).await {
            Ok(_) => None,
            Err(AskError::Refused(refusal)) if is_final(&refusal) => None,
            Err(error) => Some(error.to_string()),
        };
        if failed.is_none() {
            break;
        }
    }
    // It ends by itself where the service could not be told, and the key is worth nothing to anybody else.
    let _ = ports.leases.forget(held.volume);
    (ports.report)(&Event::LeaseEnded { problem: failed });
    Ended::Orderly
}

/// The lease is lost: somebody else may run the volume from now on.
fn lose<K, V: Volume>(held: &Held, problem: &str, ports: &mut Ports<'_, K, V>) -> Ended {
    // Said first: what follows may stop the very disk that this program is on.
    (ports.report)(&Event::LeaseLost {
        action: held.on_loss.name(),
        problem: problem.to_owned(),
    });
    let _ = ports.leases.forget(held.volume);
    let acted = match held.on_loss {
        OnLoss::Nothing | OnLoss::Warn => Ok(()),
        OnLoss::Suspend => ports.volume.suspend(),
        OnLoss::PowerOff => ports
            .volume
            .power_off()
            .or_else(|problem| ports.volume.suspend().and(Err(problem))),
    };
    if let Err(problem) = acted {
        (ports.report)(&Event::LossNotActedOn { problem });
    }
    Ended::Lost(held.on_loss)
}
