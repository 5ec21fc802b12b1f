//! Confirm: the header is written, the generation becomes the only valid one, the lease ends or is held.

use super::Desk;
use super::case::{Case, Session};
use super::commit::{CommitError, audit_refusal, store_refusal};
use super::unlock::{No, changing, malformed, too_often};
use crate::release::{self, Confirmation};
use crate::report::{self, Event};
use dawnkey_proto::message::{Confirm, Reason, Refusal, Retry, reason_code};
use dawnkey_proto::wire;
use dawnkey_store::StoreError;
use std::sync::Arc;
use std::time::Instant;

/// How often it is tried anew because somebody else changed the record.
const ATTEMPTS: usize = 16;

impl Desk {
    /// Answers a Confirm call.
    pub async fn confirm(
        self: Arc<Self>,
        session: Arc<Session>,
        message: wire::ConfirmRequest,
    ) -> Result<(), Refusal> {
        let started = Instant::now();
        let mut case = Case::new(session.peer, "confirm");
        let outcome = match self.try_confirm(&session, message, &mut case).await {
            Ok(()) => Ok(()),
            Err(No::Busy(refusal)) => Err(refusal),
            Err(No::Verdict(refusal)) => {
                Err(match self.audit.append(case.refused(&refusal)).await {
                    Ok(()) => refusal,
                    Err(error) => audit_refusal(&error),
                })
            }
        };
        let (name, reason) = match &outcome {
            Ok(()) => ("confirm", String::new()),
            Err(refusal) => ("refuse", reason_code(refusal.reason)),
        };
        self.metrics.answered(name, &reason, started.elapsed());
        report::emit(&Event::Answered {
            answer: name,
            reason: &reason,
            volume: &case.volume_text(),
            peer: case.peer(),
        });
        outcome
    }

    async fn try_confirm(
        &self,
        session: &Session,
        message: wire::ConfirmRequest,
        case: &mut Case,
    ) -> Result<(), No> {
        if !session.count() {
            return Err(too_often());
        }
        let confirm = Confirm::try_from(message).map_err(|e| malformed(&e))?;
        case.volume(confirm.volume);
        for _ in 0..ATTEMPTS {
            let before = match self.records.volume(confirm.volume).await {
                Ok(before) => before,
                // Whoever does not hold a token learns nothing about volumes here.
                Err(StoreError::Missing { .. }) => return Err(not_waiting(&confirm).into()),
                Err(other) => return Err(store_refusal(&other).into()),
            };
            let after =
                match release::confirm(&confirm, &before.record, self.lease_seconds, self.now()) {
                    Confirmation::Confirmed(after) => *after,
                    Confirmation::Again => return Ok(()),
                    Confirmation::Refuse(refusal) => return Err(refusal.into()),
                };
            case.confirmed(&after);
            if let Some(node) = after.instance {
                self.standing(node).await?;
            }
            let entry = case
                .entry("confirm")
                .with("header", hex::encode(confirm.header.digest));
            match self.commit(&before, &after, entry).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict) => continue,
                Err(CommitError::Store(e)) => return Err(store_refusal(&e).into()),
                Err(CommitError::Audit(e)) => return Err(No::Busy(audit_refusal(&e))),
            }
        }
        Err(No::Busy(changing()))
    }
}

fn not_waiting(confirm: &Confirm) -> Refusal {
    Refusal {
        reason: Reason::GrantInvalid,
        detail: format!(
            "nothing waits for this confirmation of volume {}",
            confirm.volume
        ),
        remedy: "ask for the key again".into(),
        retry: Retry::Never,
    }
}
