//! Who judges the node and has its volume's DEK: the key service, or exported records and the offline recovery key.

use super::node::Channel;
use super::offline::Offline;
use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use dawnkey_keyservice::recovery::Findings;
use dawnkey_proto::message::{Refusal, printable};
use dawnkey_proto::recovery::{KeyId, ReceivedRecovery};
use dawnkey_proto::seal::Sealed;
use dawnkey_proto::wire;
use std::sync::Arc;
use uuid::Uuid;

/// One request for one volume.
pub(super) struct Subject<'a> {
    pub(super) received: &'a ReceivedRecovery,
    pub(super) channel: &'a Channel,
    pub(super) volume: Uuid,
}

/// The grant that is about to be signed.
#[derive(Clone, Copy)]
pub(super) struct Signing {
    pub(super) grant: Uuid,
    pub(super) key: KeyId,
}

/// Where a DEK comes from.
pub(super) enum Keeper {
    /// The key service's admin interface; the DEK stays sealed to the node.
    Service(Box<Admin>),
    /// Files.
    Offline(Arc<Offline>),
}

/// The end of a refusal.
pub(super) fn refused(refusal: &Refusal, volume: Uuid) -> Failure {
    let right = match refusal.remedy.as_str() {
        "" => "a node whose evidence, identity and header pass the policy",
        remedy => remedy,
    };
    let what = format!("judge the node: {}: {}", refusal.code(), refusal.detail);
    Failure::new(Exit::Refused, what, format!("volume {volume}"), right)
}

impl Keeper {
    /// Judges the node; nothing is given.
    pub(super) fn look(&mut self, subject: &Subject<'_>) -> Result<Findings, Failure> {
        match self {
            Self::Service(admin) => Ok(call(admin, subject, None)?.0),
            Self::Offline(offline) => offline.look(subject),
        }
    }

    /// Judges the node again and seals the DEK to it, with a record in the log of whoever gives it.
    pub(super) fn seal(
        &mut self,
        subject: &Subject<'_>,
        signing: Signing,
    ) -> Result<Sealed, Failure> {
        match self {
            Self::Service(admin) => call(admin, subject, Some(signing))?
                .1
                .ok_or_else(|| broken("no DEK in its answer")),
            Self::Offline(offline) => offline.seal(subject, signing),
        }
    }
}

fn broken(problem: &str) -> Failure {
    let what = format!("ask the key service about the node: {problem}");
    Failure::new(
        Exit::Unreachable,
        what,
        "the key service",
        "a key service of this version",
    )
}

fn call(
    admin: &mut Admin,
    subject: &Subject<'_>,
    signing: Option<Signing>,
) -> Result<(Findings, Option<Sealed>), Failure> {
    let (exporter, node_key) = match subject.channel {
        Channel::Connection(exporter, key) => (exporter.0.to_vec(), key.0.to_vec()),
        Channel::Text => (Vec::new(), Vec::new()),
    };
    let items = subject.received.evidence.iter().map(|item| wire::Evidence {
        kind: item.kind.clone(),
        payload: item.payload.clone(),
    });
    let request = wire::RecoverRequest {
        body: subject.received.body.clone(),
        evidence: items.collect(),
        exporter,
        node_key,
        volume_id: subject.volume.as_bytes().to_vec(),
        grant_id: signing.map_or_else(Vec::new, |s| s.grant.as_bytes().to_vec()),
        grant_key: signing.map_or_else(Vec::new, |s| s.key.0.to_vec()),
    };
    let name = format!("volume {}", subject.volume);
    let answer = admin.call("judge the node", &name, async |client| {
        client.recover(request).await
    })?;
    if let Some(refuse) = answer.refuse {
        let refusal = Refusal::try_from(refuse).map_err(|e| broken(&e.to_string()))?;
        return Err(refused(&refusal, subject.volume));
    }
    let found = answer
        .findings
        .ok_or_else(|| broken("nothing in its answer"))?;
    let given = |text: &str| (!text.is_empty()).then(|| printable(text));
    let findings = Findings {
        kind: printable(&found.kind),
        trust_class: printable(&found.trust_class),
        instance: printable(&found.instance),
        image: printable(&found.image),
        platform: given(&found.platform),
        rule: printable(&found.rule),
        label: printable(&found.label),
        generation: found.generation,
        epoch: found.epoch,
        warning: given(&found.warning),
    };
    let sealed = answer.dek.map(|dek| Sealed {
        encapsulated_key: dek.encapsulated_key,
        ciphertext: dek.ciphertext,
    });
    Ok((findings, sealed))
}
