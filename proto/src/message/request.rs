//! What a node asks.

use super::{MessageError, at_least_one, bytes, field, printable, uuid};
use crate::closing::Opened;
use crate::{PROTOCOL_VERSION, seal, wire};
use prost::Message;
use uuid::Uuid;

/// Most items of evidence in one request.
const MAX_EVIDENCE: usize = 4;
/// Most volumes that a request can name as those of its boot.
const MAX_OPENED: usize = 64;
/// Generation of every adopted volume: its header is never written.
const ADOPTED_GENERATION: u64 = 1;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The DEK of a volume whose header is on the disk.
    Unlock(SeenHeader),
    /// The DEK of a volume with a header of another maker, which is never written: its generation is 1.
    Adopted(SeenHeader),
    /// A DEK and the permission to format a blank disk.
    Provision,
    /// The DEK of a volume in a boot that is closed already.
    Reopen(Reopen),
}

impl Ask {
    /// The header on the disk; `None` for a blank one.
    #[must_use]
    pub const fn seen(&self) -> Option<&SeenHeader> {
        match self {
            Self::Unlock(seen) | Self::Adopted(seen) => Some(seen),
            Self::Reopen(reopen) => Some(&reopen.seen),
            Self::Provision => None,
        }
    }

    /// Whether the header is another maker's.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        match self {
            Self::Adopted(_) => true,
            Self::Reopen(reopen) => reopen.adopted,
            Self::Unlock(_) | Self::Provision => false,
        }
    }

    /// Its name, `unlock`; an adopted volume's is that too.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unlock(_) | Self::Adopted(_) => "unlock",
            Self::Provision => "provision",
            Self::Reopen(_) => "reopen",
        }
    }
}

/// A volume to be opened again in a running system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reopen {
    /// The header on the disk.
    pub seen: SeenHeader,
    /// Whether it is another maker's.
    pub adopted: bool,
    /// What this boot was closed with, in that order; 1 to 64.
    pub closed_with: Vec<Opened>,
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
        let operation = match &self.ask {
            Ask::Unlock(_) | Ask::Adopted(_) => wire::Operation::Unlock,
            Ask::Provision => wire::Operation::Provision,
            Ask::Reopen(_) => wire::Operation::Reopen,
        };
        let seen = self.ask.seen();
        let closed_with: &[Opened] = match &self.ask {
            Ask::Reopen(reopen) => &reopen.closed_with,
            _ => &[],
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
            adopted: self.ask.adopted(),
            closed_with: closed_with.iter().map(Into::into).collect(),
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
        Ok(Self {
            ask: ask(&body)?,
            volume: uuid(NAME, "volume_id", &body.volume_id)?,
            node_name: printable(&body.node_name),
            agent_version: printable(&body.agent_version),
            hpke_public_key: bytes(NAME, "hpke_public_key", &body.hpke_public_key)?,
        })
    }
}

fn ask(body: &wire::RequestBody) -> Result<Ask, MessageError> {
    const NAME: &str = "RequestBody";
    let operation = body.operation();
    if operation != wire::Operation::Reopen && !body.closed_with.is_empty() {
        let problem = "only a boot that is closed was closed with volumes";
        return Err(field(NAME, "closed_with", problem));
    }
    match operation {
        wire::Operation::Unlock if body.adopted => Ok(Ask::Adopted(seen(body)?)),
        wire::Operation::Unlock => Ok(Ask::Unlock(seen(body)?)),
        wire::Operation::Reopen => Ok(Ask::Reopen(Reopen {
            seen: seen(body)?,
            adopted: body.adopted,
            closed_with: closed_with(body)?,
        })),
        wire::Operation::Provision => {
            let described =
                body.generation != 0 || body.epoch != 0 || !body.header_digest.is_empty();
            if described || body.adopted {
                let problem = "a blank disk has no header to describe";
                return Err(field(NAME, "operation", problem));
            }
            Ok(Ask::Provision)
        }
        wire::Operation::Unspecified => {
            let problem = "neither unlock nor provision nor reopen";
            Err(field(NAME, "operation", problem))
        }
    }
}

fn seen(body: &wire::RequestBody) -> Result<SeenHeader, MessageError> {
    const NAME: &str = "RequestBody";
    if body.adopted && body.generation != ADOPTED_GENERATION {
        let problem = format!(
            "{}; an adopted volume's is {ADOPTED_GENERATION}",
            body.generation
        );
        return Err(field(NAME, "generation", problem));
    }
    Ok(SeenHeader {
        generation: at_least_one(NAME, "generation", body.generation)?,
        epoch: at_least_one(NAME, "epoch", body.epoch)?,
        digest: bytes(NAME, "header_digest", &body.header_digest)?,
    })
}

fn closed_with(body: &wire::RequestBody) -> Result<Vec<Opened>, MessageError> {
    const NAME: &str = "RequestBody";
    let named = body.closed_with.len();
    if named == 0 || named > MAX_OPENED {
        let problem = format!("{named} volumes instead of 1 to {MAX_OPENED}");
        return Err(field(NAME, "closed_with", problem));
    }
    let opened = body.closed_with.iter().map(|one| {
        Ok(Opened {
            volume: uuid(NAME, "closed_with.volume_id", &one.volume_id)?,
            generation: at_least_one(NAME, "closed_with.generation", one.generation)?,
        })
    });
    opened.collect()
}

impl From<&Opened> for wire::OpenedVolume {
    fn from(opened: &Opened) -> Self {
        Self {
            volume_id: opened.volume.as_bytes().to_vec(),
            generation: opened.generation,
        }
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
        let evidence = evidence(NAME, message.evidence)?;
        Ok(Self {
            request,
            body: message.body,
            evidence,
        })
    }
}

/// The evidence of a message, one to four items.
pub(crate) fn evidence(
    message: &'static str,
    items: Vec<wire::Evidence>,
) -> Result<Vec<EvidenceItem>, MessageError> {
    if items.is_empty() || items.len() > MAX_EVIDENCE {
        let problem = format!("{} items instead of 1 to {MAX_EVIDENCE}", items.len());
        return Err(field(message, "evidence", problem));
    }
    let items = items.into_iter().map(|item| EvidenceItem {
        kind: printable(&item.kind),
        payload: item.payload,
    });
    Ok(items.collect())
}
