//! Renew: the holder of a lease keeps it, or ends it.

use super::Desk;
use super::case::{Case, Session};
use super::commit::{CommitError, audit_refusal, store_refusal};
use super::unlock::{No, changing, malformed, too_often};
use crate::release::{self, Renewal};
use crate::report::{self, Event};
use dawnkey_proto::message::{Renew, RenewAnswer, reason_code};
use dawnkey_proto::wire;
use dawnkey_store::StoreError;
use std::sync::Arc;
use std::time::Instant;

/// How often it is tried anew because somebody else changed the record.
const ATTEMPTS: usize = 16;

impl Desk {
    /// Answers a Renew call. A lease that ends or is lost gets an audit record; one that goes on is only counted.
    pub async fn renew(
        self: Arc<Self>,
        session: Arc<Session>,
        message: wire::RenewRequest,
    ) -> RenewAnswer {
        let started = Instant::now();
        let mut case = Case::new(session.peer, "renew");
        let answer = match self.try_renew(&session, message, &mut case).await {
            Ok(seconds) => RenewAnswer::Renewed { seconds },
            Err(No::Busy(refusal)) => RenewAnswer::Refuse(refusal),
            Err(No::Verdict(refusal)) => {
                RenewAnswer::Refuse(match self.audit.append(case.refused(&refusal)).await {
                    Ok(()) => refusal,
                    Err(error) => audit_refusal(&error),
                })
            }
        };
        let (name, reason) = match &answer {
            RenewAnswer::Renewed { seconds: 0 } => ("end", String::new()),
            RenewAnswer::Renewed { .. } => ("renew", String::new()),
            RenewAnswer::Refuse(refusal) => ("refuse", reason_code(refusal.reason)),
        };
        self.metrics.answered(name, &reason, started.elapsed());
        if name != "renew" {
            report::emit(&Event::Answered {
                answer: name,
                reason: &reason,
                volume: &case.volume_text(),
                peer: case.peer(),
            });
        }
        answer
    }

    /// Seconds that the lease lives on.
    async fn try_renew(
        &self,
        session: &Session,
        message: wire::RenewRequest,
        case: &mut Case,
    ) -> Result<u32, No> {
        if !session.count() {
            return Err(too_often());
        }
        let renew = Renew::try_from(message).map_err(|e| malformed(&e))?;
        case.volume(renew.volume);
        for _ in 0..ATTEMPTS {
            let before = match self.records.volume(renew.volume).await {
                Ok(before) => before,
                // As for a volume whose lease is another's.
                Err(StoreError::Missing { .. }) => return Err(release::unknown(&renew).into()),
                Err(other) => return Err(No::Busy(store_refusal(&other))),
            };
            // Only who holds the token learns how the node stands.
            let holder = before.record.lease.as_ref().map(|lease| lease.holder);
            let holder = holder.or(before.record.instance);
            let lease_seconds = self.lease_seconds;
            let swapped = match release::renew(&renew, &before.record, lease_seconds, self.now()) {
                Renewal::Refuse(refusal) => return Err(refusal.into()),
                Renewal::Renewed(after) => {
                    if let Some(holder) = holder {
                        self.standing(holder).await?;
                    }
                    let swapped = self.records.swap_volume(before.version, &after).await;
                    swapped.map(|_| lease_seconds).map_err(CommitError::from)
                }
                Renewal::Ended(after) => {
                    case.confirmed(&before.record);
                    let entry = case.entry("lease-end");
                    let done = self.commit(&before, &after, entry).await;
                    done.map(|()| 0)
                }
            };
            match swapped {
                Ok(seconds) => return Ok(seconds),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Store(e)) => return Err(No::Busy(store_refusal(&e))),
                Err(CommitError::Audit(e)) => return Err(No::Busy(audit_refusal(&e))),
            }
        }
        Err(No::Busy(changing()))
    }
}
