//! Unlock: from a request to its answer.

use super::case::{Case, Session, names};
use super::commit::{audit_refusal, store_refusal};
use super::{Desk, fresh};
use crate::evidence::{Appraised, Presented, appraise};
use crate::nodes::Introduction;
use crate::policy::{Denial, Identity, Moment, Policy, key_name};
use crate::records::Versioned;
use crate::release::{ClosedBoot, Decision, Rules, closed_boot, decide};
use crate::report::{self, Event};
use crate::volume::VolumeRecord;
use dawnkey_proto::binding::{self, Binder, Bound, Role};
use dawnkey_proto::message::{
    Answer, Ask, EvidenceItem, MessageError, Reason, ReceivedRequest, Refusal, Request, Retry,
    printable,
};
use dawnkey_proto::wire;
use dawnkey_store::StoreError;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// How often a decision is taken anew because somebody else changed the record.
const ATTEMPTS: usize = 16;

pub(super) fn refusal(
    reason: Reason,
    detail: impl Into<String>,
    remedy: &str,
    retry: Retry,
) -> Refusal {
    Refusal {
        reason,
        detail: detail.into(),
        remedy: remedy.to_owned(),
        retry,
    }
}

/// Why there is no key, and whether that is a verdict that belongs into the audit log.
pub(super) enum No {
    /// A verdict.
    Verdict(Refusal),
    /// The service is too busy to come to one, or cannot write it down.
    Busy(Refusal),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Verdict(refusal)
    }
}

/// A refusal for a message that is none.
pub(super) fn malformed(error: &MessageError) -> Refusal {
    let reason = match error {
        MessageError::Version(_) => Reason::UnsupportedVersion,
        _ => Reason::MalformedRequest,
    };
    refusal(
        reason,
        error.to_string(),
        "use a dawnkey-agent of this service's version",
        Retry::Never,
    )
}

/// A refusal for a connection that asks too often.
pub(super) fn too_often() -> No {
    let detail = "too many requests over one connection";
    No::Busy(refusal(
        Reason::RateLimited,
        detail,
        "connect again",
        Retry::After(5),
    ))
}

/// A refusal because others were faster each time.
pub(super) fn changing() -> Refusal {
    let detail = "the volume's record keeps changing";
    refusal(
        Reason::Overloaded,
        detail,
        "try again later",
        Retry::After(1),
    )
}

/// A request whose evidence has passed, with what is needed to decide on it.
pub(super) struct Ready<'a> {
    pub request: &'a Request,
    pub appraised: &'a Appraised,
    /// The TPM has proven that the attestation key lives in it.
    pub proven: bool,
}

/// What an operator will see of a node that waits.
fn introduction(ready: &Ready<'_>, identity: &Identity, case: &Case) -> Introduction {
    Introduction {
        kind: ready.appraised.claims().kind.clone(),
        endorsement: printable(identity.endorser().unwrap_or_default()),
        image: case.image().to_owned(),
        node_name: printable(&ready.request.node_name),
        peer: case.peer().to_string(),
        volume: Some(ready.request.volume),
    }
}

pub(super) enum Step {
    Answer(Answer),
    Challenge,
}

impl Desk {
    /// Answers an Unlock call.
    pub async fn unlock(
        self: Arc<Self>,
        session: Arc<Session>,
        message: wire::UnlockRequest,
    ) -> Answer {
        let started = Instant::now();
        let mut case = Case::new(session.peer, "unlock");
        let outcome = self.try_unlock(&session, message, &mut case).await;
        self.close(&case, outcome, started).await
    }

    /// Writes a refusal down, counts and logs the answer. What was granted is written down already.
    pub(super) async fn close(
        &self,
        case: &Case,
        outcome: Result<Answer, No>,
        started: Instant,
    ) -> Answer {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(No::Busy(refusal)) => Answer::Refuse(refusal),
            Err(No::Verdict(refusal)) => {
                Answer::Refuse(match self.audit.append(case.refused(&refusal)).await {
                    Ok(()) => refusal,
                    Err(error) => audit_refusal(&error),
                })
            }
        };
        let (name, reason) = names(&answer);
        self.metrics.answered(name, &reason, started.elapsed());
        report::emit(&Event::Answered {
            answer: name,
            reason: &reason,
            volume: &case.volume_text(),
            peer: case.peer(),
        });
        answer
    }

    async fn try_unlock(
        self: &Arc<Self>,
        session: &Session,
        message: wire::UnlockRequest,
        case: &mut Case,
    ) -> Result<Answer, No> {
        if !session.count() {
            return Err(too_often());
        }
        let received = ReceivedRequest::try_from(message).map_err(|e| malformed(&e))?;
        case.received(&received);
        // A stranger learns here at most that a volume id is unknown; nothing else is told before the evidence.
        self.volume(received.request.volume).await?;
        let binder = Self::binder(session, &received);
        let request = received.request.clone();
        let appraised = self.appraise(&received.evidence, binder).await?;
        case.appraised(&appraised);
        let ready = Ready {
            request: &request,
            appraised: &appraised,
            proven: false,
        };
        match self.verdict(session, &ready, case).await? {
            Step::Answer(answer) => Ok(answer),
            Step::Challenge => {
                self.challenge(session, request, appraised, binder, case)
                    .await
            }
        }
    }

    fn binder(session: &Session, received: &ReceivedRequest) -> Binder {
        binding::binder(&Bound {
            role: Role::Node,
            exporter: &session.exporter,
            service_spki: &session.own_spki,
            hpke_public_key: &received.request.hpke_public_key,
            request: &received.body,
        })
    }

    async fn volume(&self, id: Uuid) -> Result<Versioned<VolumeRecord>, No> {
        match self.records.volume(id).await {
            Ok(found) => Ok(found),
            Err(StoreError::Missing { .. }) => Err(refusal(
                Reason::UnknownVolume,
                format!("the key service knows no volume {id}"),
                "create it with `dawnkey volume create`, or correct the node's configuration",
                Retry::Never,
            )
            .into()),
            Err(other) => Err(store_refusal(&other).into()),
        }
    }

    /// Verifies evidence and its binding, when there is a place for it.
    pub(super) async fn appraise(
        &self,
        evidence: &[EvidenceItem],
        binder: Binder,
    ) -> Result<Appraised, No> {
        let presented = Presented::read(evidence)?;
        // Before the gate: who waits for a vendor holds no place.
        let collateral = self.collateral(&presented).await;
        let permit = self.gate.enter().await.map_err(|full| {
            let detail = "the key service is busy";
            let retry = Retry::After(full.retry_after);
            No::Busy(refusal(
                Reason::Overloaded,
                detail,
                "try again later",
                retry,
            ))
        })?;
        let (policy, now, started) = (self.policy(), self.now(), Instant::now());
        let work = tokio::task::spawn_blocking(move || {
            let appraised = appraise(&presented, &binder, &policy.roots, &collateral, now);
            drop(permit);
            appraised
        });
        let appraised = work.await;
        self.metrics.verified(started.elapsed());
        let failed = |_| {
            refusal(
                Reason::Internal,
                "verification broke off",
                "",
                Retry::After(5),
            )
        };
        Ok(appraised.map_err(failed)??)
    }

    /// Decides and, if it is a yes, changes the record, writes it down and seals the key.
    pub(super) async fn verdict(
        self: &Arc<Self>,
        session: &Session,
        ready: &Ready<'_>,
        case: &mut Case,
    ) -> Result<Step, No> {
        let key = key_name(ready.appraised.claims());
        for _ in 0..ATTEMPTS {
            let before = self.volume(ready.request.volume).await?;
            let known = match key {
                Some(key) => self.records.enrolment(key).await,
                None => Ok(None),
            };
            let known = known.map_err(|e| store_refusal(&e))?;
            let policy = self.policy();
            let identity = policy
                .identify(&before.record, ready.appraised.claims(), known.as_ref())
                .map_err(|denial| case.denied(denial))?;
            case.identified(&identity);
            let standing = self.standing(identity.instance()).await?;
            let mut denied = |denial: Denial| case.denied(denial);
            if matches!(ready.request.ask, Ask::Reopen(_)) {
                policy.may_reopen(&before.record).map_err(&mut denied)?;
            }
            let boot = self.boot(ready.request, &identity).await?;
            let moment = boot.as_ref().map_or(Moment::Open, Moment::Closed);
            let admitted = policy
                .admit(
                    &before.record,
                    ready.appraised,
                    &identity,
                    moment,
                    self.now(),
                )
                .map_err(&mut denied)?;
            let rules = self.rules(&policy, &before.record).map_err(&mut denied)?;
            case.admitted(&admitted);
            let (ask, now) = (&ready.request.ask, self.now());
            let decision = decide(
                admitted.approval,
                ask,
                &before.record,
                &rules,
                fresh()?,
                now,
            );
            let granted = match decision {
                Decision::Refuse(refusal) => return Err(refusal.into()),
                Decision::Grant(granted) => *granted,
            };
            if identity.needs_proof() && !ready.proven {
                return Ok(Step::Challenge);
            }
            if policy.needs_approval(&before.record) {
                let introduction = introduction(ready, &identity, case);
                self.approved(identity.instance(), standing, introduction, case)
                    .await?;
            }
            case.granted(&granted);
            let given = self
                .give(ready, &identity, &before, granted, &rules, case)
                .await?;
            if let Some(answer) = given {
                session.key_given();
                return Ok(Step::Answer(answer));
            }
        }
        Err(changing().into())
    }

    /// The rules for a volume, of policy and service.
    fn rules(&self, policy: &Policy, volume: &VolumeRecord) -> Result<Rules, Denial> {
        let rules = policy.rules(volume)?;
        Ok(Rules {
            rollback: rules.rollback,
            lease_seconds: self.lease_seconds,
            skew_seconds: self.skew_seconds,
            hold: rules.hold,
            on_loss: rules.on_loss.unwrap_or_default(),
            adopted: rules.adopted,
        })
    }

    /// The closed boot that a request to reopen names; `None` for requests of a boot that is open.
    async fn boot(
        &self,
        request: &Request,
        identity: &Identity,
    ) -> Result<Option<ClosedBoot>, Refusal> {
        let Ask::Reopen(reopen) = &request.ask else {
            return Ok(None);
        };
        let mut records = Vec::new();
        for opened in &reopen.closed_with {
            match self.records.volume(opened.volume).await {
                Ok(found) => records.push(found.record),
                // The comparison names it, as it names those of other instances.
                Err(StoreError::Missing { .. }) => {}
                Err(other) => return Err(store_refusal(&other)),
            }
        }
        let (volume, instance) = (request.volume, identity.instance());
        closed_boot(reopen, volume, &records, instance, self.service_id).map(Some)
    }
}
