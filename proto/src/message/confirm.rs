//! The end of an unlock: the header is written and the volume is mapped.

use super::{MessageError, Refusal, SeenHeader, at_least_one, bytes, field, uuid};
use crate::{PROTOCOL_VERSION, wire};
use dawnkey_secret::ConfirmToken;
use uuid::Uuid;

/// How much of a volume can be used by now: what people want to know while the rest is still being wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that can be used.
    pub ready_bytes: u64,
    /// Bytes of the whole volume, at least as many and at least one.
    pub total_bytes: u64,
}

/// Reads what a node says of a volume's progress; nothing when both are 0.
pub(super) fn progress(
    message: &'static str,
    ready_bytes: u64,
    total_bytes: u64,
) -> Result<Option<Progress>, MessageError> {
    if ready_bytes > total_bytes {
        let problem = format!("{ready_bytes} of {total_bytes} bytes");
        return Err(field(message, "ready_bytes", problem));
    }
    Ok((total_bytes > 0).then_some(Progress {
        ready_bytes,
        total_bytes,
    }))
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
    /// How much of the volume can be used, if the node says so.
    pub progress: Option<Progress>,
    /// The node runs a holder that renews the lease.
    pub hold: bool,
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
            ready_bytes: confirm.progress.map_or(0, |p| p.ready_bytes),
            total_bytes: confirm.progress.map_or(0, |p| p.total_bytes),
            hold: confirm.hold,
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
            progress: progress(NAME, given.ready_bytes, given.total_bytes)?,
            hold: given.hold,
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
