//! Recovery through the service: an operator brings the request of a node that cannot reach it, and takes the DEK back,
//! sealed to that node. The operator signs the grant; the service writes down for whom it unwrapped the key.

use super::Desk;
use super::operator::{AdminError, entry, found};
use super::unlock::No;
use crate::audit::Entry;
use crate::kek::RingError;
use crate::recovery::{Case, Failed, Findings, Passed, enrolled_key, judge};
use crate::server::Operator;
use dawnkey_proto::binding::{Binder, Exporter, SpkiDigest};
use dawnkey_proto::message::{Reason, Refusal, Retry};
use dawnkey_proto::recovery::{KeyId, ReceivedRecovery, WaitingVolume};
use dawnkey_proto::seal::{self, Purpose, Sealed};
use uuid::Uuid;

/// How a request came to the operator.
#[derive(Debug, Clone)]
pub enum Channel {
    /// Over a connection with this exporter to a node with this key.
    Connection(Exporter, SpkiDigest),
    /// As text.
    Text,
}

/// The grant that an operator is about to sign.
#[derive(Debug, Clone, Copy)]
pub struct Signing {
    /// The grant's id.
    pub grant: Uuid,
    /// The key that will sign it.
    pub key: KeyId,
}

/// What an operator brings.
#[derive(Debug)]
pub struct Recover {
    /// The node's request with its evidence.
    pub received: ReceivedRecovery,
    /// How it came.
    pub channel: Channel,
    /// The volume to be opened.
    pub volume: Uuid,
    /// The grant that the DEK is for; `None` only looks.
    pub signing: Option<Signing>,
}

impl Recover {
    fn binder(&self) -> Binder {
        match &self.channel {
            Channel::Connection(exporter, spki) => self.received.binder(exporter, spki),
            Channel::Text => self.received.text_binder(),
        }
    }

    fn entry(&self, event: &'static str, operator: &Operator) -> Entry {
        let request = &self.received.request;
        let waiting = request.volume(self.volume);
        entry(event, operator)
            .with("volume", self.volume.to_string())
            .with("node_name", request.node_name.clone())
            .with("boot", hex::encode(request.boot().0))
            .with_some("seen_generation", waiting.map(|w| w.seen.generation))
            .with_some("seen_epoch", waiting.map(|w| w.seen.epoch))
            .with_some("seen_header", waiting.map(|w| hex::encode(w.seen.digest)))
            .with_some("grant", self.signing.map(|s| s.grant.to_string()))
            .with_some("grant_key", self.signing.map(|s| s.key.to_string()))
    }
}

/// What the service says to it.
#[derive(Debug)]
pub enum Recovered {
    /// The node may have the key; with the DEK sealed to it if that was asked for.
    Passed(Findings, Option<Sealed>),
    /// It may not.
    Refused(Refusal),
}

impl Desk {
    /// Judges a node that waits for an operator and, for a grant, seals the DEK to it.
    pub async fn recover(
        &self,
        operator: &Operator,
        asked: &Recover,
    ) -> Result<Recovered, AdminError> {
        let record = self.records.volume(asked.volume).await;
        let record = record.map_err(found(asked.volume))?.record;
        let Some(waiting) = asked.received.request.volume(asked.volume) else {
            let text = format!("the node does not wait for volume {}", asked.volume);
            return Err(AdminError::Invalid(text));
        };
        match self.judged(asked, &record, waiting).await? {
            Ok(passed) => {
                self.seal_for(operator, asked, &record, waiting, passed)
                    .await
            }
            Err(failed) => self.refused(operator, asked, failed).await,
        }
    }

    /// A refusal, once it is written down.
    async fn refused(
        &self,
        operator: &Operator,
        asked: &Recover,
        Failed { refusal, rule }: Failed,
    ) -> Result<Recovered, AdminError> {
        let entry = asked
            .entry("recover-refused", operator)
            .with("reason", refusal.code())
            .with("detail", refusal.detail.clone())
            .with_some("rule", rule);
        self.audit.append(entry).await?;
        Ok(Recovered::Refused(refusal))
    }

    async fn judged(
        &self,
        asked: &Recover,
        record: &crate::volume::VolumeRecord,
        waiting: &WaitingVolume,
    ) -> Result<Result<Passed, Failed>, AdminError> {
        let appraised = self
            .appraise(&asked.received.evidence, asked.binder())
            .await;
        let appraised = match appraised {
            Ok(appraised) => appraised,
            Err(No::Verdict(refusal)) => return Ok(Err(refusal.into())),
            Err(No::Busy(refusal)) => return Err(AdminError::State(refusal.to_string())),
        };
        let enrolment = match enrolled_key(&appraised) {
            Some(key) => self.records.enrolment(key).await,
            None => Ok(None),
        };
        let enrolment = enrolment.map_err(AdminError::Store)?;
        let nodes = self.records.nodes().await.map_err(AdminError::Store)?;
        let policy = self.policy();
        let case = Case {
            policy: &policy,
            record,
            enrolment: enrolment.as_ref(),
            waiting,
            appraised: &appraised,
            skew_seconds: self.skew_seconds,
            copied: false,
            now: self.now(),
        };
        Ok(judge(&case, |id| {
            let known = nodes.iter().find(|node| node.instance == *id);
            known.map(|node| node.standing)
        }))
    }

    async fn seal_for(
        &self,
        operator: &Operator,
        asked: &Recover,
        record: &crate::volume::VolumeRecord,
        waiting: &WaitingVolume,
        passed: Passed,
    ) -> Result<Recovered, AdminError> {
        let Passed { findings, admitted } = passed;
        if asked.signing.is_none() {
            let entry = found_of("recover-looked", operator, asked, &findings);
            self.audit.append(entry).await?;
            return Ok(Recovered::Passed(findings, None));
        }
        let epochs = admitted.approval.for_epochs(waiting.seen.epoch, None);
        let Some((approval, _)) = epochs else {
            let refusal = Refusal {
                reason: Reason::StaleEpoch,
                detail: "the approval is for other epochs".into(),
                remedy: String::new(),
                retry: Retry::Never,
            };
            return self.refused(operator, asked, refusal.into()).await;
        };
        let dek = self.ring.dek(approval, &record.deks).await;
        let dek = dek.map_err(|e: RingError| AdminError::Kek(e))?;
        let purpose = Purpose {
            volume: record.id,
            epoch: waiting.seen.epoch,
            generation: waiting.seen.generation,
        };
        let request = &asked.received.request;
        let (key, nonce) = (&request.hpke_public_key, &request.boot_nonce);
        let sealed = seal::seal_recovery(key, &purpose, nonce, &dek)
            .map_err(|e| AdminError::Invalid(e.to_string()))?;
        let entry = found_of("recover", operator, asked, &findings);
        self.audit.append(entry).await?;
        Ok(Recovered::Passed(findings, Some(sealed)))
    }
}

/// What was found out about a node that passed.
fn found_of(
    event: &'static str,
    operator: &Operator,
    asked: &Recover,
    findings: &Findings,
) -> Entry {
    asked
        .entry(event, operator)
        .with("instance", findings.instance.clone())
        .with("trust_class", findings.trust_class.clone())
        .with("image", findings.image.clone())
        .with_some("platform", findings.platform.clone())
        .with("rule", findings.rule.clone())
        .with_some("warning", findings.warning.clone())
}
