//! What a node says to a grant.

use crate::message::{MessageError, bytes, field, printable};
use crate::wire::{self, recovery_answer::Answer as Wire};
use prost::Message;
use uuid::Uuid;

const NAME: &str = "RecoveryAnswer";

/// What a node says to a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The header of this volume opens with the granted DEK.
    Opened(Uuid),
    /// Nothing has changed, and the node goes on listening.
    Refused {
        /// Stable code.
        code: String,
        /// What was found and what would be right.
        detail: String,
    },
}

impl Answer {
    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let answer = match self {
            Self::Opened(volume) => Wire::Opened(wire::RecoveryOpened {
                volume_id: volume.as_bytes().to_vec(),
            }),
            Self::Refused { code, detail } => Wire::Refuse(wire::RecoveryRefuse {
                code: code.clone(),
                detail: detail.clone(),
            }),
        };
        let answer = Some(answer);
        wire::RecoveryAnswer { answer }.encode_to_vec()
    }

    /// Reads an answer.
    pub fn decode(message: &[u8]) -> Result<Self, MessageError> {
        let message =
            wire::RecoveryAnswer::decode(message).map_err(|_| MessageError::Encoding(NAME))?;
        match message.answer {
            Some(Wire::Opened(opened)) => {
                let id = bytes(NAME, "opened.volume_id", &opened.volume_id)?;
                Ok(Self::Opened(Uuid::from_bytes(id)))
            }
            Some(Wire::Refuse(refuse)) => Ok(Self::Refused {
                code: printable(&refuse.code),
                detail: printable(&refuse.detail),
            }),
            None => Err(field(NAME, "answer", "neither opened nor refuse")),
        }
    }
}
