//! The call of an operator who brings a waiting node's request: from the wire to the desk and back.

use super::admin::{Admins, Answer, operator, uuid};
use crate::desk::{Channel, Recover, Recovered, Signing};
use crate::recovery::Findings;
use dawnkey_proto::binding::{Exporter, SpkiDigest};
use dawnkey_proto::recovery::{KeyId, ReceivedRecovery};
use dawnkey_proto::wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

fn exactly<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], Status> {
    bytes.try_into().map_err(|_| {
        let found = bytes.len();
        Status::invalid_argument(format!("{field}: {found} bytes instead of {N}"))
    })
}

fn asked(message: wire::RecoverRequest) -> Result<Recover, Status> {
    let channel = match (message.exporter.as_slice(), message.node_key.as_slice()) {
        ([], []) => Channel::Text,
        (exporter, key) => Channel::Connection(
            Exporter(exactly("exporter", exporter)?),
            SpkiDigest(exactly("node_key", key)?),
        ),
    };
    let signing = match message.grant_id.as_slice() {
        [] => None,
        id => Some(Signing {
            grant: uuid("grant_id", id)?,
            key: KeyId(exactly("grant_key", &message.grant_key)?),
        }),
    };
    let received = ReceivedRecovery::of(message.body, message.evidence);
    Ok(Recover {
        received: received.map_err(|e| Status::invalid_argument(e.to_string()))?,
        channel,
        volume: uuid("volume_id", &message.volume_id)?,
        signing,
    })
}

fn findings(found: Findings) -> wire::RecoverFindings {
    wire::RecoverFindings {
        kind: found.kind,
        trust_class: found.trust_class,
        instance: found.instance,
        image: found.image,
        platform: found.platform.unwrap_or_default(),
        rule: found.rule,
        label: found.label,
        generation: found.generation,
        epoch: found.epoch,
        warning: found.warning.unwrap_or_default(),
    }
}

impl Admins {
    /// Answers the call.
    pub(super) async fn recovered(
        &self,
        request: Request<wire::RecoverRequest>,
    ) -> Answer<wire::RecoverAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = asked(request.into_inner())?;
        let work = async move { desk.recover(&operator, &asked).await };
        let answer = match self.done("recover", work).await? {
            Recovered::Passed(found, sealed) => wire::RecoverAnswer {
                refuse: None,
                findings: Some(findings(found)),
                dek: sealed.map(|sealed| wire::SealedDek {
                    encapsulated_key: sealed.encapsulated_key,
                    ciphertext: sealed.ciphertext,
                }),
            },
            Recovered::Refused(refusal) => wire::RecoverAnswer {
                refuse: Some(refusal.into()),
                findings: None,
                dek: None,
            },
        };
        Ok(Response::new(answer))
    }
}
