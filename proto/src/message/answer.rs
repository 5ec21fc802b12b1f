//! What the service answers.

use super::{MessageError, Refusal, at_least_one, bytes, field, uuid};
use crate::{seal, wire};
use uuid::Uuid;

/// What the holder of a volume does when its lease is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// Nothing but to end.
    Nothing,
    /// It says so, and the volume stays.
    #[default]
    Warn,
    /// It suspends the mapping: nothing is read or written any more.
    Suspend,
    /// It switches the machine off.
    PowerOff,
}

impl OnLoss {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Warn, Self::Suspend, Self::PowerOff];

    /// Its name, `power-off`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Warn => "warn",
            Self::Suspend => "suspend",
            Self::PowerOff => "power-off",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Who runs the volume, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows with every lease of the volume.
    pub fencing_token: u64,
    /// Seconds until it ends.
    pub seconds: u32,
    /// It lives on after Confirm and a holder has to renew it; otherwise it ends with Confirm.
    pub hold: bool,
    /// What the holder does when it is lost.
    pub on_loss: OnLoss,
}

/// The DEK that the header is to be sealed with from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The sealed DEK, with the confirm token of the release.
    pub dek: seal::Sealed,
    /// Its epoch, one more than the release's.
    pub epoch: u32,
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
    /// The next epoch's DEK, if the header is to be sealed with that from now on.
    pub rotation: Option<Rotation>,
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

    /// What the rotation's sealed DEK must open for.
    #[must_use]
    pub fn rotation_purpose(&self, volume: Uuid) -> Option<seal::Purpose> {
        let rotation = self.rotation.as_ref()?;
        Some(seal::Purpose {
            epoch: rotation.epoch,
            ..self.purpose(volume)
        })
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
    let on_loss = match given.on_loss() {
        wire::OnLoss::Nothing => OnLoss::Nothing,
        wire::OnLoss::Warn => OnLoss::Warn,
        wire::OnLoss::Suspend => OnLoss::Suspend,
        wire::OnLoss::PowerOff => OnLoss::PowerOff,
        wire::OnLoss::Unspecified => {
            let problem = format!("unknown action {}", given.on_loss);
            return Err(field(message, "lease.on_loss", problem));
        }
    };
    Ok(Lease {
        fencing_token: given.fencing_token,
        seconds: given.seconds,
        hold: given.hold,
        on_loss,
    })
}

fn rotation(
    message: &'static str,
    given: Option<wire::Rotation>,
    epoch: u32,
) -> Result<Option<Rotation>, MessageError> {
    let Some(given) = given else {
        return Ok(None);
    };
    if epoch.checked_add(1) != Some(given.epoch) {
        let problem = format!("{} does not follow epoch {epoch}", given.epoch);
        return Err(field(message, "rotation.epoch", problem));
    }
    Ok(Some(Rotation {
        dek: sealed(message, given.dek)?,
        epoch: given.epoch,
    }))
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
            rotation: rotation(NAME, given.rotation, given.epoch)?,
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
            rotation: None,
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
            hold: lease.hold,
            on_loss: match lease.on_loss {
                OnLoss::Nothing => wire::OnLoss::Nothing,
                OnLoss::Warn => wire::OnLoss::Warn,
                OnLoss::Suspend => wire::OnLoss::Suspend,
                OnLoss::PowerOff => wire::OnLoss::PowerOff,
            }
            .into(),
        }
    }
}

impl From<Rotation> for wire::Rotation {
    fn from(rotation: Rotation) -> Self {
        Self {
            dek: Some(rotation.dek.into()),
            epoch: rotation.epoch,
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
            rotation: release.rotation.map(Into::into),
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
