//! What operators do to a volume's DEK and header: rotation, and taking over a disk that exists already.

use super::Desk;
use super::operator::{AdminError, entry, found};
use crate::server::Operator;
use crate::volume::{ConfirmedHeader, Digest32, Kind, State, VolumeRecord};
use dawnkey_proto::message::printable;
use uuid::Uuid;

/// A disk that exists already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Its volume.
    pub volume: Uuid,
    /// Another volume policy than the one it was created under.
    pub policy: Option<String>,
    /// Another label.
    pub label: Option<String>,
    /// Whose header it has.
    pub kind: Kind,
    /// Epoch of the DEK that opens it.
    pub epoch: u32,
    /// Generation of its header.
    pub generation: u64,
    /// SHA-256 of its header.
    pub digest: Digest32,
}

impl Desk {
    /// Gives a volume its next epoch. The node takes it up at its next unlock; until that is confirmed both DEKs are kept.
    pub async fn rotate_volume(
        &self,
        operator: &Operator,
        id: Uuid,
    ) -> Result<VolumeRecord, AdminError> {
        let record = self.show_volume(id).await?;
        let next = next_epoch(&record)?;
        let dek = self.ring.create(id, next).await?;
        let entry = entry("rotate-volume", operator)
            .with("epoch", record.epoch)
            .with("next_epoch", next);
        self.change(id, entry, |now| {
            // Whoever rotated in between has made this epoch already.
            match next_epoch(now)? {
                found if found == next => Ok(now.clone().rotating(dek.clone())),
                found => Err(AdminError::State(format!(
                    "volume {id} has gone on to epoch {}; epoch {found} would be next",
                    now.epoch
                ))),
            }
        })
        .await
    }

    /// Takes a disk that exists already as the volume's, or records the changed header of one that was adopted.
    pub async fn adopt_volume(
        &self,
        operator: &Operator,
        adoption: &Adoption,
    ) -> Result<VolumeRecord, AdminError> {
        let id = adoption.volume;
        let record = self.records.volume(id).await.map_err(found(id))?.record;
        let policy = adoption.policy.as_ref().unwrap_or(&record.policy);
        self.may_adopt(policy, adoption.kind)?;
        let event = match adoption.kind {
            Kind::Own => "migrate-volume",
            Kind::Adopted => "adopt-volume",
        };
        let entry = entry(event, operator)
            .with("policy", policy.clone())
            .with("epoch", adoption.epoch)
            .with("generation", adoption.generation)
            .with("header", adoption.digest.to_string());
        self.change(id, entry, |record| adopted(record, adoption))
            .await
    }

    fn may_adopt(&self, policy: &str, kind: Kind) -> Result<(), AdminError> {
        let in_force = self.policy();
        let Some(rules) = in_force.volume_policies.get(policy) else {
            return Err(AdminError::Invalid(format!(
                "the policy file has no [volume-policy.{}]",
                printable(policy)
            )));
        };
        if kind == Kind::Adopted && !rules.adopted {
            return Err(AdminError::Invalid(format!(
                "[volume-policy.{policy}] does not allow headers of other makers; set adopted = true there, or migrate the disk"
            )));
        }
        Ok(())
    }
}

fn next_epoch(record: &VolumeRecord) -> Result<u32, AdminError> {
    let id = record.id;
    let problem = match (record.state, record.kind, record.next_epoch) {
        (State::Retired, ..) => format!("volume {id} is retired"),
        (State::Provisioning, ..) => {
            format!("volume {id} has no header yet whose epoch could be rotated")
        }
        (State::Active, Kind::Adopted, _) => format!(
            "volume {id} is an adopted one: its DEK is in a keyslot of its header; migrate it first"
        ),
        (State::Active, Kind::Own, Some(next)) => {
            format!("epoch {next} of volume {id} waits for the node's next unlock already")
        }
        (State::Active, Kind::Own, None) => match record.epoch.checked_add(1) {
            Some(next) => return Ok(next),
            None => format!("volume {id} has no epoch left"),
        },
    };
    Err(AdminError::State(problem))
}

fn adopted(record: &VolumeRecord, adoption: &Adoption) -> Result<VolumeRecord, AdminError> {
    let id = record.id;
    let again = record.state == State::Active
        && record.kind == Kind::Adopted
        && adoption.kind == Kind::Adopted;
    if !again && (record.state != State::Provisioning || record.pending.is_some()) {
        return Err(AdminError::State(format!(
            "volume {id} is {} already; create a new volume for the disk",
            match record.state {
                State::Provisioning => "being provisioned by a node",
                other => other.name(),
            }
        )));
    }
    if adoption.epoch != record.epoch {
        return Err(AdminError::Invalid(format!(
            "the header is sealed with the DEK of epoch {}, volume {id} is at epoch {}",
            adoption.epoch, record.epoch
        )));
    }
    if adoption.kind == Kind::Adopted && adoption.generation != 1 {
        return Err(AdminError::Invalid(format!(
            "generation {}; an adopted volume's is 1",
            adoption.generation
        )));
    }
    Ok(VolumeRecord {
        policy: adoption
            .policy
            .clone()
            .unwrap_or_else(|| record.policy.clone()),
        label: adoption
            .label
            .clone()
            .unwrap_or_else(|| record.label.clone()),
        state: State::Active,
        kind: adoption.kind,
        confirmed: adoption.generation,
        issued: record.issued.max(adoption.generation),
        header: Some(ConfirmedHeader {
            digest: adoption.digest,
            token: None,
        }),
        ..record.clone()
    })
}
