//! The end of an unlock: the header is written and the volume is mapped.

use super::{MessageError, Refusal, SeenHeader, at_least_one, bytes, field, uuid};
use crate::{PROTOCOL_VERSION, wire};
use dawnkey_secret::ConfirmToken;
use uuid::Uuid;

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
