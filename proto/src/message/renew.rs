//! The life of a lease in the running system.

use super::confirm::progress;
use super::{MessageError, Progress, Refusal, at_least_one, field, uuid};
use crate::{PROTOCOL_VERSION, wire};
use dawnkey_secret::LeaseToken;
use uuid::Uuid;

/// Tells the service that the volume is still run, or that it is closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Renew {
    /// The volume.
    pub volume: Uuid,
    /// The lease.
    pub fencing_token: u64,
    /// Proves that the holder speaks.
    pub token: LeaseToken,
    /// How much of the volume can be used, if the node says so.
    pub progress: Option<Progress>,
    /// The volume is closed: the lease ends now.
    pub end: bool,
}

impl From<Renew> for wire::RenewRequest {
    fn from(renew: Renew) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            volume_id: renew.volume.as_bytes().to_vec(),
            fencing_token: renew.fencing_token,
            lease_token: renew.token.expose().to_vec(),
            ready_bytes: renew.progress.map_or(0, |p| p.ready_bytes),
            total_bytes: renew.progress.map_or(0, |p| p.total_bytes),
            end: renew.end,
        }
    }
}

impl TryFrom<wire::RenewRequest> for Renew {
    type Error = MessageError;

    fn try_from(mut given: wire::RenewRequest) -> Result<Self, MessageError> {
        const NAME: &str = "RenewRequest";
        let token = LeaseToken::take(&mut given.lease_token)
            .map_err(|e| field(NAME, "lease_token", e.to_string()))?;
        if given.version != PROTOCOL_VERSION {
            return Err(MessageError::Version(given.version));
        }
        Ok(Self {
            volume: uuid(NAME, "volume_id", &given.volume_id)?,
            fencing_token: at_least_one(NAME, "fencing_token", given.fencing_token)?,
            token,
            progress: progress(NAME, given.ready_bytes, given.total_bytes)?,
            end: given.end,
        })
    }
}

/// The service's answer to a Renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewAnswer {
    /// The lease lives for so many seconds more; 0 when it has ended, as was asked.
    Renewed {
        /// Seconds.
        seconds: u32,
    },
    /// No. After `lease-lost` and `volume-retired` there is no lease any more.
    Refuse(Refusal),
}

impl TryFrom<wire::RenewAnswer> for RenewAnswer {
    type Error = MessageError;

    fn try_from(given: wire::RenewAnswer) -> Result<Self, MessageError> {
        use wire::renew_answer::Answer as A;
        let answer = given.answer;
        Ok(
            match answer.ok_or_else(|| field("RenewAnswer", "answer", "absent"))? {
                A::Renewed(wire::Renewed { seconds }) => Self::Renewed { seconds },
                A::Refuse(refuse) => Self::Refuse(refuse.try_into()?),
            },
        )
    }
}

impl From<RenewAnswer> for wire::RenewAnswer {
    fn from(answer: RenewAnswer) -> Self {
        use wire::renew_answer::Answer as A;
        Self {
            answer: Some(match answer {
                RenewAnswer::Renewed { seconds } => A::Renewed(wire::Renewed { seconds }),
                RenewAnswer::Refuse(refusal) => A::Refuse(refusal.into()),
            }),
        }
    }
}
