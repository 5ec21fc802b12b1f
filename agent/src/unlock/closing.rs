//! From a mapping to a volume that may be used: the boot is closed, the service knows. Or there is no mapping.

use super::{Closed, Done, Made, Mapped, Mapping, Unlock, close_event, wire_header};
use crate::error::{AskError, Undone, UnlockError};
use crate::report::{Event, Sink, Stage};
use crate::retry::Budget;
use crate::service::{KeyService, Session};
use dawnkey_attest::collect::{Attester, Closing};
use dawnkey_dm::Mapper;
use dawnkey_proto::message::{Confirm, ConfirmAnswer};
use dawnkey_secret::ConfirmToken;
use tokio::time::Instant;

impl<S> Unlock<Mapped<S>> {
    /// Extends and caps the boot's last register, so that nothing that runs later can ask for the key again. On failure
    /// the mapping is closed. Where the hardware has no such register, that is said.
    pub fn close_boot(
        self,
        attester: &mut impl Attester,
        mapper: &mut impl Mapper,
        report: Sink<'_>,
    ) -> Result<Unlock<Closed<S>>, UnlockError> {
        let Mapped { made, session } = self.state;
        let mut trace = self.trace;
        let generation = made.mapping.seen.generation;
        let event = close_event(made.service_id, made.volume, generation);
        let closed = trace
            .stages
            .time(Stage::CloseBoot, || attester.close_boot(&event));
        let closing = match closed {
            Ok(closing) => closing,
            Err(source) => {
                let mapping = undo(mapper, &made.mapping, report);
                return Err(UnlockError::CloseBoot { source, mapping });
            }
        };
        report(&match closing {
            Closing::Register(register) => Event::BootClosed { register },
            Closing::Absent { why } => Event::BootNotClosed { why },
        });
        let closed = Closed {
            made,
            evidence: attester.kind(),
            closing,
            session: Some(session),
        };
        Ok(Self::next(trace, closed))
    }
}

/// A confirmation that failed, and the state from which the next can begin.
pub struct Unconfirmed<S> {
    /// To begin again from, over a fresh connection.
    pub back: Unlock<Closed<S>>,
    /// What failed.
    pub error: AskError,
}

impl<S: Session> Unlock<Closed<S>> {
    /// Tells the service, over the connection that released the key or, if that is gone, over a new one.
    pub async fn confirm(
        mut self,
        service: &mut impl KeyService<Session = S>,
        budget: &Budget,
    ) -> Result<Done, Box<Unconfirmed<S>>> {
        let began = Instant::now();
        let confirmed = self.try_confirm(service, budget).await;
        self.trace.stages.add(Stage::Confirm, began.elapsed());
        match confirmed {
            Ok(()) => Ok(Done {
                outcome: self.state.made.outcome,
                mapping: self.state.made.mapping,
                service_id: self.state.made.service_id,
                evidence: self.state.evidence,
                closing: self.state.closing,
                trace: self.trace,
            }),
            Err(error) => Err(Box::new(Unconfirmed { back: self, error })),
        }
    }

    async fn try_confirm(
        &mut self,
        service: &mut impl KeyService<Session = S>,
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
        let answer = session.confirm(confirm, budget.deadline()).await?;
        self.trace.round_trips += 1;
        match answer {
            ConfirmAnswer::Confirmed => Ok(()),
            ConfirmAnswer::Refuse(refusal) => Err(AskError::Refused(refusal)),
        }
    }

    /// Closes the mapping: it must not be used without a confirmation.
    pub fn give_up(self, mapper: &mut impl Mapper, report: Sink<'_>) -> Undone {
        undo(mapper, &self.state.made.mapping, report)
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
        })
    }
}

/// Closes a mapping that must not be used.
fn undo(mapper: &mut impl Mapper, mapping: &Mapping, report: Sink<'_>) -> Undone {
    match mapper.close(mapping) {
        Ok(()) => {
            report(&Event::MappingClosed);
            Undone::Closed
        }
        Err(error) => {
            report(&Event::MappingLeft {
                problem: error.to_string(),
            });
            Undone::Left(Box::new(error))
        }
    }
}
