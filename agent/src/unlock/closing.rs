//! From mappings to volumes that may be used: the boot is closed, the service knows.

use super::{By, Closed, Done, Made, Mapped, Unlock, wire_header};
use crate::error::AskError;
use crate::lease::{Held, Leases};
use crate::report::Stage;
use crate::retry::Budget;
use crate::service::{KeyService, Session};
use dawnkey_attest::collect::{Attester, Closing, CollectError};
use dawnkey_proto::closing::{self, Opened};
use dawnkey_proto::lease;
use dawnkey_proto::message::{Confirm, ConfirmAnswer, Lease, Progress};
use dawnkey_secret::ConfirmToken;
use std::time::Duration;
use tokio::time::Instant;

/// A boot that can ask for nothing more.
pub struct ClosedBoot<S> {
    /// Its volumes, of which the service does not know yet.
    pub volumes: Vec<Unlock<Closed<S>>>,
    /// What its last register was extended with, in that order.
    pub closed_with: Vec<Opened>,
    /// How it was closed.
    pub closing: Closing,
}

/// Extends the boot's last register once for each volume, in order, and caps it, so that nothing that runs later can
/// ask for a key again. No volume is closed off without that; where the hardware has no such register, the answer says
/// so.
pub fn close_boot<S>(
    mapped: &mut Vec<Unlock<Mapped<S>>>,
    attester: &mut impl Attester,
) -> Result<ClosedBoot<S>, CollectError> {
    let began = Instant::now();
    let closed_with: Vec<_> = mapped.iter().map(Unlock::opened).collect();
    let recorded = mapped.iter().zip(&closed_with);
    let events: Vec<_> = recorded
        .map(|(unlock, opened)| match &unlock.state.made.by {
            By::Service { id, .. } => closing::event(*id, opened),
            By::Operator(key) => closing::recovered_event(*key, opened),
            By::Broker => closing::brokered_event(opened),
        })
        .collect();
    let closing = attester.close_boot(&events)?;
    let volumes = mapped.drain(..).map(|unlock| {
        let mut closed = unlock.in_closed_boot();
        closed.trace.stages.add(Stage::CloseBoot, began.elapsed());
        closed
    });
    Ok(ClosedBoot {
        volumes: volumes.collect(),
        closed_with,
        closing,
    })
}

/// A confirmation that failed, and the state from which the next can begin.
pub struct Unconfirmed<S> {
    /// To begin again from, over a fresh connection.
    pub back: Unlock<Closed<S>>,
    /// What failed.
    pub error: AskError,
}

impl<S: Session> Unlock<Closed<S>> {
    /// Tells the service, over the connection that released the key or, if that is gone, over a new one. A lease that is
    /// to be held is left for its holder before that: it counts from now.
    pub async fn confirm(
        mut self,
        service: &mut impl KeyService<Session = S>,
        leases: &mut dyn Leases,
        budget: &Budget,
    ) -> Result<Done, Box<Unconfirmed<S>>> {
        let began = Instant::now();
        let confirmed = self.try_confirm(service, leases, budget).await;
        self.trace.stages.add(Stage::Confirm, began.elapsed());
        match confirmed {
            Ok(()) => Ok(Done {
                volume: self.state.made.volume,
                outcome: self.state.made.outcome,
                mapping: self.state.made.mapping,
                giver: self.state.made.by.giver(),
                trace: self.trace,
            }),
            Err(error) => Err(Box::new(Unconfirmed { back: self, error })),
        }
    }

    async fn try_confirm(
        &mut self,
        service: &mut impl KeyService<Session = S>,
        leases: &mut dyn Leases,
        budget: &Budget,
    ) -> Result<(), AskError> {
        let made = &self.state.made;
        let By::Service { token, lease, .. } = &made.by else {
            // No service has issued anything that it could want to hear of.
            return Ok(());
        };
        let mut session = match self.state.session.take() {
            Some(session) => session,
            None => {
                let session = service.connect(budget.deadline()).await?;
                self.trace.round_trips += 2;
                session
            }
        };
        let confirm = made.confirmation(token, lease)?;
        if let Some(held) = made.held(token, lease, leases.now()) {
            leases.leave(&held)?;
        }
        let answer = session.confirm(confirm, budget.deadline()).await?;
        self.trace.round_trips += 1;
        match answer {
            ConfirmAnswer::Confirmed => Ok(()),
            ConfirmAnswer::Refuse(refusal) => Err(AskError::Refused(refusal)),
        }
    }
}

impl Made {
    /// A message to confirm with; its token is a copy, since the message may have to be sent again.
    fn confirmation(&self, token: &ConfirmToken, lease: &Lease) -> Result<Confirm, AskError> {
        let token = ConfirmToken::fill(|copy| {
            copy.copy_from_slice(token.expose());
            Ok::<_, AskError>(())
        })?;
        Ok(Confirm {
            volume: self.volume,
            header: wire_header(&self.mapping.seen),
            token,
            progress: Some(Progress {
                ready_bytes: self.mapping.ready.ready_bytes,
                total_bytes: self.mapping.ready.total_bytes,
            }),
            hold: lease.hold,
        })
    }

    /// The lease for its holder, if it is to have one.
    fn held(&self, token: &ConfirmToken, lease: &Lease, now: Duration) -> Option<Held> {
        lease.hold.then(|| Held {
            volume: self.volume,
            fencing_token: lease.fencing_token,
            token: lease::token(token),
            on_loss: lease.on_loss,
            seconds: lease.seconds,
            sent: now,
        })
    }
}
