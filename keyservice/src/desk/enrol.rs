//! First enrolment: an unknown attestation key proves that it lives in the endorsed TPM.

use super::case::{Case, Challenged, Session};
use super::commit::{audit_refusal, store_refusal};
use super::unlock::{No, Ready, Step, refusal, too_often};
use super::{Desk, random, random_uuid};
use crate::evidence::Appraised;
use crate::policy::{Identity, key_name};
use crate::volume::InstanceRecord;
use dawnkey_attest::enrolment;
use dawnkey_proto::binding::Binder;
use dawnkey_proto::message::{self, Answer, Reason, Request, Retry};
use dawnkey_proto::wire;
use dawnkey_store::StoreError;
use std::sync::Arc;
use std::time::Instant;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

impl Desk {
    /// Answers an Activate call.
    pub async fn activate(
        self: Arc<Self>,
        session: Arc<Session>,
        message: wire::ActivateRequest,
    ) -> Answer {
        let started = Instant::now();
        let mut case = Case::new(session.peer, "activate");
        let outcome = self.try_activate(&session, &message, &mut case).await;
        self.close(&case, outcome, started).await
    }

    async fn try_activate(
        self: &Arc<Self>,
        session: &Session,
        message: &wire::ActivateRequest,
        case: &mut Case,
    ) -> Result<Answer, No> {
        if !session.count() {
            return Err(too_often());
        }
        let failed = |detail: &str| {
            let remedy = "ask for the key again and answer its challenge";
            refusal(Reason::ChallengeFailed, detail, remedy, Retry::After(1))
        };
        let challenged = session
            .take_challenge()
            .ok_or_else(|| failed("no challenge is open on this connection"))?;
        case.asked(&challenged.request);
        case.appraised(&challenged.appraised);
        let binder = dawnkey_attest::evidence::Exchange(challenged.binder.0);
        let expected = Zeroizing::new(enrolment::proof(challenged.secret.as_slice(), &binder));
        let right_id = message.challenge_id == challenged.id.as_bytes();
        let right_proof: bool = expected.as_slice().ct_eq(message.proof.as_slice()).into();
        if !(right_id && right_proof) {
            let detail =
                "the proof is wrong: the attestation key does not live in the endorsed TPM";
            return Err(failed(detail).into());
        }
        let ready = Ready {
            request: &challenged.request,
            appraised: &challenged.appraised,
            proven: true,
        };
        match self.verdict(session, &ready, case).await? {
            Step::Answer(answer) => Ok(answer),
            Step::Challenge => Err(failed("the challenge led to another one").into()),
        }
    }

    /// Remembers a new attestation key; keys that are known or that a TEE vouches for leave no record.
    pub(super) async fn enrol(
        &self,
        ready: &Ready<'_>,
        identity: &Identity,
        case: &Case,
    ) -> Result<(), No> {
        let claims = ready.appraised.claims();
        let (Some(vouched_by), Some(key)) = (identity.vouched_by(), key_name(claims)) else {
            return Ok(());
        };
        let enrolled = InstanceRecord {
            instance: identity.instance(),
            key_name: key.to_owned(),
            kind: claims.kind.clone(),
            endorsement: message::printable(vouched_by),
            enrolled: self.now(),
        };
        let entry = case
            .entry("enrol")
            .with("endorsement", enrolled.endorsement.clone());
        // Written down first: an enrolment that is not in the log must not exist.
        self.audit
            .append(entry)
            .await
            .map_err(|e| No::Busy(audit_refusal(&e)))?;
        match self.records.enrol(&enrolled).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(other) => Err(store_refusal(&other).into()),
        }
    }

    pub(super) async fn challenge(
        &self,
        session: &Session,
        request: Request,
        appraised: Appraised,
        binder: Binder,
        case: &Case,
    ) -> Result<Answer, No> {
        let mut secret = Zeroizing::new([0; 32]);
        random(secret.as_mut_slice())?;
        let credential = appraised.challenge(&secret)?;
        let id = random_uuid()?;
        self.audit
            .append(case.entry("challenge"))
            .await
            .map_err(|e| No::Busy(audit_refusal(&e)))?;
        session.challenge(Challenged {
            id,
            secret,
            made: Instant::now(),
            binder,
            request,
            appraised,
        });
        Ok(Answer::Challenge(message::Challenge {
            id,
            id_object: credential.id_object,
            encrypted_secret: credential.encrypted_secret,
        }))
    }
}
