//! What a node asks.

use super::{MessageError, at_least_one, bytes, field, printable, uuid};
use crate::{PROTOCOL_VERSION, seal, wire};
use prost::Message;
use uuid::Uuid;

/// Most items of evidence in one request.
const MAX_EVIDENCE: usize = 4;

/// What the node saw of a header on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenHeader {
    /// Generation that the header claims.
    pub generation: u64,
    /// Epoch of the DEK that sealed it.
    pub epoch: u32,
    /// SHA-256 of both copies as read.
    pub digest: [u8; 32],
}

/// What the node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The DEK of a volume whose header is on the disk.
    Unlock(SeenHeader),
    /// A DEK and the permission to format a blank disk.
    Provision,
}

/// The part of a request that the binder covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub ask: Ask,
    /// The volume.
    pub volume: Uuid,
    /// The node's own name, a hint for people.
    pub node_name: String,
    /// Version of the agent, a hint for people.
    pub agent_version: String,
    /// X25519 key to which the DEK is to be sealed.
    pub hpke_public_key: [u8; seal::PUBLIC_KEY_BYTES],
}

impl Request {
    /// The bytes that travel and that the binder covers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (operation, seen) = match self.ask {
            Ask::Unlock(seen) => (wire::Operation::Unlock, Some(seen)),
            Ask::Provision => (wire::Operation::Provision, None),
        };
        wire::RequestBody {
            version: PROTOCOL_VERSION,
            operation: operation.into(),
            volume_id: self.volume.as_bytes().to_vec(),
            generation: seen.map_or(0, |s| s.generation),
            epoch: seen.map_or(0, |s| s.epoch),
            header_digest: seen.map_or_else(Vec::new, |s| s.digest.to_vec()),
            node_name: self.node_name.clone(),
            agent_version: self.agent_version.clone(),
            hpke_public_key: self.hpke_public_key.to_vec(),
        }
        .encode_to_vec()
    }

    /// Reads a request's body.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        const NAME: &str = "RequestBody";
        let body = wire::RequestBody::decode(body).map_err(|_| MessageError::Encoding(NAME))?;
        if body.version != PROTOCOL_VERSION {
            return Err(MessageError::Version(body.version));
        }
        let ask = match body.operation() {
            wire::Operation::Unlock => Ask::Unlock(SeenHeader {
                generation: at_least_one(NAME, "generation", body.generation)?,
                epoch: at_least_one(NAME, "epoch", body.epoch)?,
                digest: bytes(NAME, "header_digest", &body.header_digest)?,
            }),
            wire::Operation::Provision => {
                if body.generation != 0 || body.epoch != 0 || !body.header_digest.is_empty() {
                    return Err(field(
                        NAME,
                        "operation",
                        "a blank disk has no header to describe",
                    ));
                }
                Ask::Provision
            }
            wire::Operation::Unspecified => {
                return Err(field(NAME, "operation", "neither unlock nor provision"));
            }
        };
        Ok(Self {
            ask,
            volume: uuid(NAME, "volume_id", &body.volume_id)?,
            node_name: printable(&body.node_name),
            agent_version: printable(&body.agent_version),
            hpke_public_key: bytes(NAME, "hpke_public_key", &body.hpke_public_key)?,
        })
    }
}
/// One item of evidence in the encoding of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceItem {
    /// The kind, `vtpm`.
    pub kind: String,
    /// The evidence.
    pub payload: Vec<u8>,
}

/// A request as received: the typed body, its exact bytes and the evidence.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The body.
    pub request: Request,
    /// The body's bytes, which the binder covers.
    pub body: Vec<u8>,
    /// The evidence, one to four items.
    pub evidence: Vec<EvidenceItem>,
}

impl TryFrom<wire::UnlockRequest> for ReceivedRequest {
    type Error = MessageError;

    fn try_from(message: wire::UnlockRequest) -> Result<Self, MessageError> {
        const NAME: &str = "UnlockRequest";
        let request = Request::decode(&message.body)?;
        if message.evidence.is_empty() || message.evidence.len() > MAX_EVIDENCE {
            let problem = format!(
                "{} items instead of 1 to {MAX_EVIDENCE}",
                message.evidence.len()
            );
            return Err(field(NAME, "evidence", problem));
        }
        let evidence = message
            .evidence
            .into_iter()
            .map(|e| EvidenceItem {
                kind: printable(&e.kind),
                payload: e.payload,
            })
            .collect();
        Ok(Self {
            request,
            body: message.body,
            evidence,
        })
    }
}
