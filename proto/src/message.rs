//! Messages as types: every length checked, nothing half filled.

use crate::wire;
use crate::{PROTOCOL_VERSION, seal};
use dawnkey_secret::ConfirmToken;
use prost::Message;
use uuid::Uuid;

pub use wire::Reason;

/// Longest text, in bytes, that is kept of what a peer says; the rest is cut.
const MAX_TEXT: usize = 512;
/// Most items of evidence in one request.
const MAX_EVIDENCE: usize = 4;

/// A message of the peer is not one of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a protobuf message.
    #[error("decode {0}: not a protobuf message")]
    Encoding(&'static str),
    /// Another version of the protocol.
    #[error("protocol version {0} is not spoken here; version {PROTOCOL_VERSION} is")]
    Version(u32),
    /// A field is absent or has another length or range.
    #[error("field `{field}` of {message}: {problem}")]
    Field {
        /// The message's name.
        message: &'static str,
        /// The field's name.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

fn field(message: &'static str, field: &'static str, problem: impl Into<String>) -> MessageError {
    MessageError::Field {
        message,
        field,
        problem: problem.into(),
    }
}

fn bytes<const N: usize>(
    message: &'static str,
    name: &'static str,
    given: &[u8],
) -> Result<[u8; N], MessageError> {
    given.try_into().map_err(|_| {
        field(
            message,
            name,
            format!("{} bytes instead of {N}", given.len()),
        )
    })
}

fn uuid(message: &'static str, name: &'static str, given: &[u8]) -> Result<Uuid, MessageError> {
    let id = Uuid::from_bytes(bytes(message, name, given)?);
    if id.is_nil() {
        return Err(field(message, name, "the nil UUID names nothing"));
    }
    Ok(id)
}

/// Text of a peer made safe for a console and a log: printable, one line, at most 512 bytes.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(c);
    }
    out
}

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

fn at_least_one<T: Default + PartialEq>(
    message: &'static str,
    name: &'static str,
    value: T,
) -> Result<T, MessageError> {
    if value == T::default() {
        return Err(field(message, name, "0; a header's is 1 or more"));
    }
    Ok(value)
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

/// Who runs the volume, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows with every lease of the volume.
    pub fencing_token: u64,
    /// Seconds until it ends.
    pub seconds: u32,
}

/// A DEK released for one volume, epoch and generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The sealed DEK and confirm token.
    pub dek: seal::Sealed,
    /// The DEK's epoch.
    pub epoch: u32,
    /// Generation to be written to the header.
    pub generation: u64,
    /// The lease.
    pub lease: Lease,
    /// The key service that answered.
    pub service_id: Uuid,
}

impl Release {
    /// What the sealed DEK must open for.
    #[must_use]
    pub fn purpose(&self, volume: Uuid) -> seal::Purpose {
        seal::Purpose {
            volume,
            epoch: self.epoch,
            generation: self.generation,
        }
    }
}

/// The permission, used up by Confirm, to format one blank disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    /// The key and its circumstances; epoch and generation are 1.
    pub release: Release,
    /// Names the grant.
    pub grant_id: Uuid,
}

/// When a refused request may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before something has been changed.
    Never,
    /// After so many seconds.
    After(u32),
}

/// A refusal with its reason and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub reason: Reason,
    /// What was found and what was expected.
    pub detail: String,
    /// What would make it pass.
    pub remedy: String,
    /// Whether trying again can help.
    pub retry: Retry,
}

impl Refusal {
    /// The reason's stable name, `pcr-mismatch`.
    #[must_use]
    pub fn code(&self) -> String {
        reason_code(self.reason)
    }
}

/// A reason's stable name: `pcr-mismatch` for `REASON_PCR_MISMATCH`.
#[must_use]
pub fn reason_code(reason: Reason) -> String {
    let name = reason.as_str_name();
    name.strip_prefix("REASON_")
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace('_', "-")
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code(), self.detail)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// A credential that only the TPM of the endorsement certificate can open, for the key that quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Names the challenge.
    pub id: Uuid,
    /// `TPM2B_ID_OBJECT`.
    pub id_object: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Vec<u8>,
}

/// Longest part of a challenge: larger than any a TPM makes.
const MAX_CHALLENGE_PART: usize = 1024;

/// The service's answer to an unlock request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The DEK.
    Release(Release),
    /// The DEK of a new volume and the permission to format.
    Provision(Provision),
    /// No.
    Refuse(Refusal),
    /// First prove that the quoting key lives in the endorsed TPM.
    Challenge(Challenge),
}

fn sealed(
    message: &'static str,
    given: Option<wire::SealedDek>,
) -> Result<seal::Sealed, MessageError> {
    let given = given.ok_or_else(|| field(message, "dek", "absent"))?;
    bytes::<{ seal::PUBLIC_KEY_BYTES }>(message, "dek.encapsulated_key", &given.encapsulated_key)?;
    bytes::<{ seal::RELEASE_CIPHERTEXT_BYTES }>(message, "dek.ciphertext", &given.ciphertext)?;
    Ok(seal::Sealed {
        encapsulated_key: given.encapsulated_key,
        ciphertext: given.ciphertext,
    })
}

fn lease(message: &'static str, given: Option<wire::Lease>) -> Result<Lease, MessageError> {
    let given = given.ok_or_else(|| field(message, "lease", "absent"))?;
    Ok(Lease {
        fencing_token: given.fencing_token,
        seconds: given.seconds,
    })
}

impl TryFrom<wire::Release> for Release {
    type Error = MessageError;

    fn try_from(given: wire::Release) -> Result<Self, MessageError> {
        const NAME: &str = "Release";
        Ok(Self {
            dek: sealed(NAME, given.dek)?,
            epoch: at_least_one(NAME, "epoch", given.epoch)?,
            generation: at_least_one(NAME, "generation", given.generation)?,
            lease: lease(NAME, given.lease)?,
            service_id: uuid(NAME, "service_id", &given.service_id)?,
        })
    }
}

impl TryFrom<wire::Provision> for Provision {
    type Error = MessageError;

    fn try_from(given: wire::Provision) -> Result<Self, MessageError> {
        const NAME: &str = "Provision";
        if given.epoch != 1 || given.generation != 1 {
            let problem = format!(
                "epoch {}, generation {}; both start at 1",
                given.epoch, given.generation
            );
            return Err(field(NAME, "generation", problem));
        }
        let grant_id = uuid(NAME, "grant_id", &given.grant_id)?;
        let release = Release {
            dek: sealed(NAME, given.dek)?,
            epoch: given.epoch,
            generation: given.generation,
            lease: lease(NAME, given.lease)?,
            service_id: uuid(NAME, "service_id", &given.service_id)?,
        };
        Ok(Self { release, grant_id })
    }
}

impl TryFrom<wire::Challenge> for Challenge {
    type Error = MessageError;

    fn try_from(given: wire::Challenge) -> Result<Self, MessageError> {
        const NAME: &str = "Challenge";
        for (name, part) in [
            ("id_object", &given.id_object),
            ("encrypted_secret", &given.encrypted_secret),
        ] {
            if part.is_empty() || part.len() > MAX_CHALLENGE_PART {
                let problem = format!("{} bytes instead of 1 to {MAX_CHALLENGE_PART}", part.len());
                return Err(field(NAME, name, problem));
            }
        }
        Ok(Self {
            id: uuid(NAME, "challenge_id", &given.challenge_id)?,
            id_object: given.id_object,
            encrypted_secret: given.encrypted_secret,
        })
    }
}

impl TryFrom<wire::Refuse> for Refusal {
    type Error = MessageError;

    fn try_from(given: wire::Refuse) -> Result<Self, MessageError> {
        let reason = Reason::try_from(given.reason).unwrap_or(Reason::Unspecified);
        if reason == Reason::Unspecified {
            return Err(field(
                "Refuse",
                "reason",
                format!("unknown code {}", given.reason),
            ));
        }
        Ok(Self {
            reason,
            detail: printable(&given.detail),
            remedy: printable(&given.remedy),
            retry: match given.retry_after_seconds {
                0 => Retry::Never,
                seconds => Retry::After(seconds),
            },
        })
    }
}

impl TryFrom<wire::UnlockAnswer> for Answer {
    type Error = MessageError;

    fn try_from(given: wire::UnlockAnswer) -> Result<Self, MessageError> {
        use wire::unlock_answer::Answer as A;
        Ok(
            match given
                .answer
                .ok_or_else(|| field("UnlockAnswer", "answer", "absent"))?
            {
                A::Release(release) => Self::Release(release.try_into()?),
                A::Provision(provision) => Self::Provision(provision.try_into()?),
                A::Refuse(refuse) => Self::Refuse(refuse.try_into()?),
                A::Challenge(challenge) => Self::Challenge(challenge.try_into()?),
            },
        )
    }
}

impl From<seal::Sealed> for wire::SealedDek {
    fn from(sealed: seal::Sealed) -> Self {
        Self {
            encapsulated_key: sealed.encapsulated_key,
            ciphertext: sealed.ciphertext,
        }
    }
}

impl From<Lease> for wire::Lease {
    fn from(lease: Lease) -> Self {
        Self {
            fencing_token: lease.fencing_token,
            seconds: lease.seconds,
        }
    }
}

impl From<Release> for wire::Release {
    fn from(release: Release) -> Self {
        Self {
            dek: Some(release.dek.into()),
            epoch: release.epoch,
            generation: release.generation,
            lease: Some(release.lease.into()),
            service_id: release.service_id.as_bytes().to_vec(),
        }
    }
}

impl From<Provision> for wire::Provision {
    fn from(provision: Provision) -> Self {
        let release = provision.release;
        Self {
            dek: Some(release.dek.into()),
            epoch: release.epoch,
            generation: release.generation,
            lease: Some(release.lease.into()),
            service_id: release.service_id.as_bytes().to_vec(),
            grant_id: provision.grant_id.as_bytes().to_vec(),
        }
    }
}

impl From<Challenge> for wire::Challenge {
    fn from(challenge: Challenge) -> Self {
        Self {
            challenge_id: challenge.id.as_bytes().to_vec(),
            id_object: challenge.id_object,
            encrypted_secret: challenge.encrypted_secret,
        }
    }
}

impl From<Refusal> for wire::Refuse {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason.into(),
            detail: refusal.detail,
            remedy: refusal.remedy,
            retry_after_seconds: match refusal.retry {
                Retry::Never => 0,
                Retry::After(seconds) => seconds.max(1),
            },
        }
    }
}

impl From<Answer> for wire::UnlockAnswer {
    fn from(answer: Answer) -> Self {
        use wire::unlock_answer::Answer as A;
        Self {
            answer: Some(match answer {
                Answer::Release(release) => A::Release(release.into()),
                Answer::Provision(provision) => A::Provision(provision.into()),
                Answer::Refuse(refusal) => A::Refuse(refusal.into()),
                Answer::Challenge(challenge) => A::Challenge(challenge.into()),
            }),
        }
    }
}

/// Tells the service that the header is written and the volume is mapped.
#[derive(Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The volume.
    pub volume: Uuid,
    /// The header as now written.
    pub header: SeenHeader,
    /// The token that came with the DEK.
    pub token: ConfirmToken,
}

impl From<Confirm> for wire::ConfirmRequest {
    fn from(confirm: Confirm) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            volume_id: confirm.volume.as_bytes().to_vec(),
            generation: confirm.header.generation,
            epoch: confirm.header.epoch,
            header_digest: confirm.header.digest.to_vec(),
            confirm_token: confirm.token.expose().to_vec(),
        }
    }
}

impl TryFrom<wire::ConfirmRequest> for Confirm {
    type Error = MessageError;

    fn try_from(mut given: wire::ConfirmRequest) -> Result<Self, MessageError> {
        const NAME: &str = "ConfirmRequest";
        let token = ConfirmToken::take(&mut given.confirm_token)
            .map_err(|e| field(NAME, "confirm_token", e.to_string()))?;
        if given.version != PROTOCOL_VERSION {
            return Err(MessageError::Version(given.version));
        }
        Ok(Self {
            volume: uuid(NAME, "volume_id", &given.volume_id)?,
            header: SeenHeader {
                generation: at_least_one(NAME, "generation", given.generation)?,
                epoch: at_least_one(NAME, "epoch", given.epoch)?,
                digest: bytes(NAME, "header_digest", &given.header_digest)?,
            },
            token,
        })
    }
}

/// The service's answer to a Confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfirmAnswer {
    /// Recorded.
    Confirmed,
    /// No.
    Refuse(Refusal),
}

impl TryFrom<wire::ConfirmAnswer> for ConfirmAnswer {
    type Error = MessageError;

    fn try_from(given: wire::ConfirmAnswer) -> Result<Self, MessageError> {
        use wire::confirm_answer::Answer as A;
        Ok(
            match given
                .answer
                .ok_or_else(|| field("ConfirmAnswer", "answer", "absent"))?
            {
                A::Confirmed(wire::Confirmed {}) => Self::Confirmed,
                A::Refuse(refuse) => Self::Refuse(refuse.try_into()?),
            },
        )
    }
}

impl From<ConfirmAnswer> for wire::ConfirmAnswer {
    fn from(answer: ConfirmAnswer) -> Self {
        use wire::confirm_answer::Answer as A;
        Self {
            answer: Some(match answer {
                ConfirmAnswer::Confirmed => A::Confirmed(wire::Confirmed {}),
                ConfirmAnswer::Refuse(refusal) => A::Refuse(refusal.into()),
            }),
        }
    }
}
