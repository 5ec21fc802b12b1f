//! Giving a key: what was granted is sealed, stored and written down.

use super::Desk;
use super::case::Case;
use super::commit::{CommitError, audit_refusal, store_refusal};
use super::unlock::{No, Ready, refusal};
use crate::approval::Approval;
use crate::kek::RingError;
use crate::policy::Identity;
use crate::records::Versioned;
use crate::release::{Granted, Rules};
use crate::volume::VolumeRecord;
use dawnkey_proto::message::{self, Answer, Provision, Reason, Refusal, Release, Retry, Rotation};
use dawnkey_proto::seal;
use dawnkey_secret::ConfirmToken;

/// To whom and for what DEKs are sealed.
struct Envelope<'a> {
    recipient: &'a [u8],
    record: &'a VolumeRecord,
    generation: u64,
    token: &'a ConfirmToken,
}

/// Longest time for which a node is sent away because of the KMS.
const LONGEST_SECONDS: u32 = 60;

/// When a node shall ask again after its DEK could not be unwrapped. What somebody must mend first takes longer than what
/// passes by itself; only a wrapped DEK that is damaged for every provider is not worth another try.
fn later(error: &RingError) -> Retry {
    match error.retry() {
        dawnkey_kek::Retry::Later => {
            let asked = error.after().unwrap_or(5);
            Retry::After(asked.clamp(1, LONGEST_SECONDS))
        }
        dawnkey_kek::Retry::Operator => Retry::After(30),
        dawnkey_kek::Retry::Never => Retry::Never,
    }
}

impl Desk {
    /// Gives the key: seals it, enrols a new instance, swaps the record. `None` when somebody was faster.
    pub(super) async fn give(
        &self,
        ready: &Ready<'_>,
        identity: &Identity,
        before: &Versioned<VolumeRecord>,
        granted: Granted,
        rules: &Rules,
        case: &Case,
    ) -> Result<Option<Answer>, No> {
        let Granted {
            approval,
            rotation,
            record,
            grant,
            generation,
            token,
            ..
        } = granted;
        let envelope = Envelope {
            recipient: &ready.request.hpke_public_key,
            record: &record,
            generation,
            token: &token,
        };
        let (epoch, dek) = self.seal(approval, &envelope).await?;
        let rotation = match rotation {
            Some(next) => {
                let (epoch, dek) = self.seal(next, &envelope).await?;
                Some(Rotation { dek, epoch })
            }
            None => None,
        };
        let release = Release {
            dek,
            epoch,
            generation,
            lease: message::Lease {
                fencing_token: record.fencing,
                seconds: rules.lease_seconds,
                hold: rules.hold,
                on_loss: rules.on_loss,
            },
            service_id: self.service_id,
            rotation,
        };
        self.enrol(ready, identity, case).await?;
        let (event, answer) = match grant {
            Some(grant_id) => {
                let provision = Provision { release, grant_id };
                ("provision", Answer::Provision(provision))
            }
            None => ("release", Answer::Release(release)),
        };
        match self.commit(before, &record, case.entry(event)).await {
            Ok(()) => Ok(Some(answer)),
            Err(CommitError::Conflict) => Ok(None),
            Err(CommitError::Store(e)) => Err(store_refusal(&e).into()),
            Err(CommitError::Audit(e)) => Err(No::Busy(audit_refusal(&e))),
        }
    }

    /// The DEK of the approval's epoch, sealed.
    async fn seal(
        &self,
        approval: Approval,
        envelope: &Envelope<'_>,
    ) -> Result<(u32, seal::Sealed), Refusal> {
        let record = envelope.record;
        let purpose = seal::Purpose {
            volume: record.id,
            epoch: approval.epoch(),
            generation: envelope.generation,
        };
        let dek = self.ring.dek(approval, &record.deks).await.map_err(|e| {
            let remedy = "see the key service's log";
            refusal(Reason::KekUnavailable, e.to_string(), remedy, later(&e))
        })?;
        seal::seal_release(envelope.recipient, &purpose, &dek, envelope.token)
            .map(|sealed| (purpose.epoch, sealed))
            .map_err(|e| refusal(Reason::MalformedRequest, e.to_string(), "", Retry::Never))
    }
}
