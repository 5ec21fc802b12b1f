//! What a waiting node says: who it is in this boot, and which headers it would like to open.

use crate::binding::{Binder, Bound, Exporter, Role, SpkiDigest, binder};
use crate::message::{
    EvidenceItem, MessageError, SeenHeader, at_least_one, bytes, evidence, field, printable, uuid,
};
use crate::{PROTOCOL_VERSION, seal, wire};
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const NAME: &str = "RecoveryRequestBody";
/// Most volumes that a node can wait for.
const MAX_VOLUMES: usize = 64;
/// What a boot's id is the SHA-256 of, with nonce and key behind it.
const BOOT_LABEL: &[u8] = b"dawnkey/v1/recovery-boot";

/// One boot of one node that waits: `SHA-256("dawnkey/v1/recovery-boot" ‖ LP(boot nonce) ‖ LP(hpke_pk))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId(pub [u8; 32]);

/// A volume that a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingVolume {
    /// Which.
    pub volume: Uuid,
    /// Its header as read.
    pub seen: SeenHeader,
}

/// The part of a recovery request that the binder covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryRequest {
    /// Drawn when the node began to wait.
    pub boot_nonce: [u8; 32],
    /// X25519 key to which a DEK is to be sealed.
    pub hpke_public_key: [u8; seal::PUBLIC_KEY_BYTES],
    /// Seconds since the boot nonce was drawn, by the node's monotonic clock.
    pub clock_seconds: u32,
    /// The node's own name, a hint for people.
    pub node_name: String,
    /// Version of the agent, a hint for people.
    pub agent_version: String,
    /// What it waits for, 1 to 64.
    pub volumes: Vec<WaitingVolume>,
}

impl RecoveryRequest {
    /// The boot that waits.
    #[must_use]
    pub fn boot(&self) -> BootId {
        let mut hash = Sha256::new();
        hash.update(BOOT_LABEL);
        for field in [&self.boot_nonce, &self.hpke_public_key] {
            hash.update(32_u32.to_be_bytes());
            hash.update(field);
        }
        BootId(hash.finalize().into())
    }

    /// What it says of one volume, if it waits for it.
    #[must_use]
    pub fn volume(&self, id: Uuid) -> Option<&WaitingVolume> {
        self.volumes.iter().find(|waiting| waiting.volume == id)
    }

    /// The bytes that travel and that the binder covers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let volumes = self.volumes.iter().map(|waiting| wire::RecoveryVolume {
            volume_id: waiting.volume.as_bytes().to_vec(),
            generation: waiting.seen.generation,
            epoch: waiting.seen.epoch,
            header_digest: waiting.seen.digest.to_vec(),
        });
        wire::RecoveryRequestBody {
            version: PROTOCOL_VERSION,
            boot_nonce: self.boot_nonce.to_vec(),
            hpke_public_key: self.hpke_public_key.to_vec(),
            clock_seconds: self.clock_seconds,
            node_name: self.node_name.clone(),
            agent_version: self.agent_version.clone(),
            volumes: volumes.collect(),
        }
        .encode_to_vec()
    }

    /// Reads a request's body.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let body =
            wire::RecoveryRequestBody::decode(body).map_err(|_| MessageError::Encoding(NAME))?;
        if body.version != PROTOCOL_VERSION {
            return Err(MessageError::Version(body.version));
        }
        let named = body.volumes.len();
        if named == 0 || named > MAX_VOLUMES {
            let problem = format!("{named} volumes instead of 1 to {MAX_VOLUMES}");
            return Err(field(NAME, "volumes", problem));
        }
        let volumes = body.volumes.iter().map(|waiting| {
            Ok(WaitingVolume {
                volume: uuid(NAME, "volumes.volume_id", &waiting.volume_id)?,
                seen: SeenHeader {
                    generation: at_least_one(NAME, "volumes.generation", waiting.generation)?,
                    epoch: at_least_one(NAME, "volumes.epoch", waiting.epoch)?,
                    digest: bytes(NAME, "volumes.header_digest", &waiting.header_digest)?,
                },
            })
        });
        Ok(Self {
            boot_nonce: bytes(NAME, "boot_nonce", &body.boot_nonce)?,
            hpke_public_key: bytes(NAME, "hpke_public_key", &body.hpke_public_key)?,
            clock_seconds: body.clock_seconds,
            node_name: printable(&body.node_name),
            agent_version: printable(&body.agent_version),
            volumes: volumes.collect::<Result<_, _>>()?,
        })
    }
}

/// A recovery request as received: the typed body, its exact bytes and the evidence.
#[derive(Debug, Clone)]
pub struct ReceivedRecovery {
    /// The body.
    pub request: RecoveryRequest,
    /// The body's bytes, which the binder covers.
    pub body: Vec<u8>,
    /// The evidence, one to four items.
    pub evidence: Vec<EvidenceItem>,
}

impl ReceivedRecovery {
    /// The bytes of a request with its evidence, as they travel.
    #[must_use]
    pub fn encode(body: Vec<u8>, items: Vec<EvidenceItem>) -> Vec<u8> {
        let evidence = items.into_iter().map(|item| wire::Evidence {
            kind: item.kind,
            payload: item.payload,
        });
        let evidence = evidence.collect();
        wire::RecoveryRequest { body, evidence }.encode_to_vec()
    }

    /// Reads a request with its evidence.
    pub fn decode(message: &[u8]) -> Result<Self, MessageError> {
        let message = wire::RecoveryRequest::decode(message)
            .map_err(|_| MessageError::Encoding("RecoveryRequest"))?;
        Self::of(message.body, message.evidence)
    }

    /// The same out of its parts.
    pub fn of(body: Vec<u8>, items: Vec<wire::Evidence>) -> Result<Self, MessageError> {
        Ok(Self {
            request: RecoveryRequest::decode(&body)?,
            evidence: evidence("RecoveryRequest", items)?,
            body,
        })
    }

    /// What the evidence must be bound to, if the request came over a connection to the node's key `spki`.
    #[must_use]
    pub fn binder(&self, exporter: &Exporter, spki: &SpkiDigest) -> Binder {
        bind(&self.request, &self.body, exporter, spki)
    }

    /// What the evidence must be bound to, if the request came as text.
    #[must_use]
    pub fn text_binder(&self) -> Binder {
        text_binder(&self.request, &self.body)
    }
}

/// The binder of a request over a connection to the node's key `spki`.
#[must_use]
pub fn bind(
    request: &RecoveryRequest,
    body: &[u8],
    exporter: &Exporter,
    spki: &SpkiDigest,
) -> Binder {
    binder(&Bound {
        role: Role::Recovery,
        exporter,
        service_spki: spki,
        hpke_public_key: &request.hpke_public_key,
        request: body,
    })
}

/// The binder of a request as text: the boot nonce in place of the exporter, zeros in place of the key.
#[must_use]
pub fn text_binder(request: &RecoveryRequest, body: &[u8]) -> Binder {
    binder(&Bound {
        role: Role::RecoveryText,
        exporter: &Exporter(request.boot_nonce),
        service_spki: &SpkiDigest([0; 32]),
        hpke_public_key: &request.hpke_public_key,
        request: body,
    })
}
