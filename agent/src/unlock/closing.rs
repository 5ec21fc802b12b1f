//! From mappings to volumes that may be used: the boot is closed, the service knows.

use super::{Closed, Done, Made, Mapped, Unlock, wire_header};
use crate::error::AskError;
use crate::lease::{Held, Leases};
use crate::report::Stage;
use crate::retry::Budget;
use crate::service::{KeyService, Session};
use dawnkey_attest::collect::{Attester, Closing, CollectError};
use dawnkey_proto::closing::{self, Opened};
use dawnkey_proto::lease;
use dawnkey_proto::message::{Confirm, ConfirmAnswer, Progress};
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
        .map(|(unlock, opened)| closing::event(unlock.state.made.service_id, opened))
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
                service_id: self.state.made.service_id,
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
        let mut session = match self.state.session.take() {
            Some(session) => session,
            None => {
                let session = service.connect(budget.deadline()).await?;
                self.trace.round_trips += 2;
                session
            }
        };
        let confirm = self.state.made.confirmation()?;
        if let Some(held) = self.state.made.held(leases.now()) {
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
    fn confirmation(&self) -> Result<Confirm, AskError> {
        let token = ConfirmToken::fill(|copy| {
            copy.copy_from_slice(self.token.expose());
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
            hold: self.lease.hold,
        })
    }

    /// The lease for its holder, if it is to have one.
    fn held(&self, now: Duration) -> Option<Held> {
        self.lease.hold.then(|| Held {
            volume: self.volume,
            fencing_token: self.lease.fencing_token,
            token: lease::token(&self.token),
            on_loss: self.lease.on_loss,
            seconds: self.lease.seconds,
            sent: now,
        })
    }
}
