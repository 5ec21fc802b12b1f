//! What operators ask for. Every call that changes or reveals something gets its audit record first or with it.

use super::Desk;
use super::commit::CommitError;
use super::transfer::moved_to;
use crate::approval::Approval;
use crate::audit::{Entry, LogError};
use crate::kek::RingError;
use crate::keys::Purpose;
use crate::records::Versioned;
use crate::server::Operator;
use crate::volume::{InstanceId, InstanceRecord, State, VolumeRecord};
use dawnkey_proto::message::printable;
use dawnkey_proto::seal::{self, Sealed};
use dawnkey_store::StoreError;
use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How often a change is tried anew because somebody else changed the record.
const ATTEMPTS: usize = 16;

/// An operator's call was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no such volume or instance.
    #[error("{0}")]
    NotFound(String),
    /// The id was used before.
    #[error("volume or data key {0} exists already; ids are never used twice")]
    Exists(Uuid),
    /// The request is not one.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done in the volume's state.
    #[error("{0}")]
    State(String),
    /// The store failed or is too busy.
    #[error("{0}")]
    Store(StoreError),
    /// The audit log failed.
    #[error("{0}")]
    Audit(#[from] LogError),
    /// The key-encryption key failed.
    #[error("{0}")]
    Kek(#[from] RingError),
}

pub(super) fn found(id: Uuid) -> impl Fn(StoreError) -> AdminError {
    move |error| match error {
        StoreError::Missing { .. } => AdminError::NotFound(format!("there is no volume {id}")),
        StoreError::Exists { .. } => AdminError::Exists(id),
        other => AdminError::Store(other),
    }
}

pub(super) fn entry(event: &'static str, operator: &Operator) -> Entry {
    Entry::new(event)
        .with("operator", operator.certificate().to_owned())
        .with("peer", operator.peer().to_string())
}

impl Desk {
    /// Makes a volume that waits for its first node; without `id` the service chooses one.
    pub async fn create_volume(
        &self,
        operator: &Operator,
        id: Option<Uuid>,
        policy: &str,
        label: &str,
    ) -> Result<VolumeRecord, AdminError> {
        let in_force = self.policy();
        if !in_force.volume_policies.contains_key(policy) {
            let known: Vec<_> = in_force.volume_policies.keys().cloned().collect();
            return Err(AdminError::Invalid(format!(
                "the policy file has no [volume-policy.{}]; it has: {}",
                printable(policy),
                known.join(", ")
            )));
        }
        let id = match id {
            Some(id) if id.is_nil() => {
                return Err(AdminError::Invalid("the nil UUID names nothing".into()));
            }
            Some(id) => id,
            None => super::random_uuid().map_err(|r| AdminError::Invalid(r.detail))?,
        };
        let data_key = Purpose::DataKey(id.to_string());
        match self.records.key(&data_key).await {
            Ok(_) => return Err(AdminError::Exists(id)),
            Err(StoreError::Missing { .. }) => {}
            Err(other) => return Err(AdminError::Store(other)),
        }
        let dek = self.ring.create(id, 1).await?;
        let volume = VolumeRecord::new(id, policy.to_owned(), printable(label), dek, self.now());
        match self.records.volume(id).await {
            Ok(_) => return Err(AdminError::Exists(id)),
            Err(StoreError::Missing { .. }) => {}
            Err(other) => return Err(AdminError::Store(other)),
        }
        let entry = entry("create-volume", operator)
            .with("volume", id.to_string())
            .with("policy", policy.to_owned())
            .with("label", volume.label.clone());
        self.audit.append(entry).await?;
        self.records
            .create_volume(&volume)
            .await
            .map_err(found(id))?;
        Ok(volume)
    }

    /// All volumes.
    pub async fn list_volumes(&self) -> Result<Vec<VolumeRecord>, AdminError> {
        self.records.volumes().await.map_err(AdminError::Store)
    }

    /// One volume.
    pub async fn show_volume(&self, id: Uuid) -> Result<VolumeRecord, AdminError> {
        let read = self.records.volume(id).await.map_err(found(id))?;
        Ok(read.record)
    }

    /// Forgets a volume's DEKs for ever.
    pub async fn retire_volume(
        &self,
        operator: &Operator,
        id: Uuid,
    ) -> Result<VolumeRecord, AdminError> {
        self.change(id, entry("retire-volume", operator), |record| {
            if record.state == State::Retired {
                return Err(AdminError::State(format!("volume {id} is retired already")));
            }
            Ok(record.clone().retired())
        })
        .await
    }

    /// Ends a lease whose holder will not end it; takes a provisioning grant back.
    pub async fn break_lease(
        &self,
        operator: &Operator,
        id: Uuid,
    ) -> Result<VolumeRecord, AdminError> {
        let now = self.now();
        self.change(id, entry("break-lease", operator), |record| {
            let granted = record.state == State::Provisioning && record.instance.is_some();
            // A held lease that has run out could still be renewed.
            let held = record.live_lease(now).is_some() || record.holding.is_some();
            if !held && !granted {
                return Err(AdminError::State(format!(
                    "nobody holds a lease of volume {id}"
                )));
            }
            Ok(record.clone().lease_broken())
        })
        .await
    }

    pub(super) async fn change(
        &self,
        id: Uuid,
        entry: Entry,
        make: impl Fn(&VolumeRecord) -> Result<VolumeRecord, AdminError>,
    ) -> Result<VolumeRecord, AdminError> {
        for _ in 0..ATTEMPTS {
            let before: Versioned<VolumeRecord> =
                self.records.volume(id).await.map_err(found(id))?;
            let after = make(&before.record)?;
            // Another service has it: here it can be forgotten, and nothing else.
            if let (Some(moved), false) = (&before.record.moved, after.state == State::Retired) {
                return Err(moved_to(id, moved.to));
            }
            let holder = before.record.instance.map(|i| i.to_string());
            let entry = entry
                .clone()
                .with("volume", id.to_string())
                .with_some("instance", holder);
            match self.commit(&before, &after, entry).await {
                Ok(()) => return Ok(after),
                Err(CommitError::Conflict) => continue,
                Err(CommitError::Store(e)) => return Err(AdminError::Store(e)),
                Err(CommitError::Audit(e)) => return Err(AdminError::Audit(e)),
            }
        }
        let busy = StoreError::Unavailable("the record keeps changing".into());
        Err(AdminError::Store(busy))
    }

    /// Seals one DEK to the operator's key. Epoch 0 is the current one. Returns the epoch with it.
    pub async fn export_dek(
        &self,
        operator: &Operator,
        id: Uuid,
        epoch: u32,
        recipient: &[u8],
    ) -> Result<(Sealed, u32), AdminError> {
        let record = self.show_volume(id).await?;
        if record.state == State::Retired {
            let text = format!("volume {id} is retired, its DEKs are forgotten");
            return Err(AdminError::State(text));
        }
        if let Some(moved) = &record.moved {
            return Err(moved_to(id, moved.to));
        }
        let epoch = if epoch == 0 { record.epoch } else { epoch };
        let approval = Approval::for_operator(&record, epoch, operator);
        let dek = self.ring.dek(approval, &record.deks).await?;
        let purpose = seal::Purpose {
            volume: id,
            epoch,
            generation: 0,
        };
        let sealed = seal::seal_export(recipient, &purpose, &dek)
            .map_err(|e| AdminError::Invalid(e.to_string()))?;
        let entry = entry("export-dek", operator)
            .with("volume", id.to_string())
            .with("epoch", epoch)
            .with("recipient", hex::encode(recipient));
        self.audit.append(entry).await?;
        Ok((sealed, epoch))
    }

    /// Every enrolled attestation key, with the time at which its instance last got a key.
    pub async fn list_instances(
        &self,
    ) -> Result<Vec<(InstanceRecord, Option<Timestamp>)>, AdminError> {
        let mut seen: BTreeMap<InstanceId, Timestamp> = BTreeMap::new();
        for volume in self.list_volumes().await? {
            if let (Some(instance), Some(at)) = (volume.instance, volume.last_unlock) {
                let last = seen.entry(instance).or_insert(at);
                *last = at.max(*last);
            }
        }
        let all = self.records.instances().await.map_err(AdminError::Store)?;
        Ok(all
            .into_iter()
            .map(|record| {
                let last = seen.get(&record.instance).copied();
                (record, last)
            })
            .collect())
    }

    /// Forgets an instance's attestation keys: it must be enrolled anew before its next unlock.
    pub async fn forget_instance(
        &self,
        operator: &Operator,
        instance: InstanceId,
    ) -> Result<InstanceRecord, AdminError> {
        let missing = || AdminError::NotFound(format!("instance {instance} is not enrolled"));
        let known = self.records.instances().await.map_err(AdminError::Store)?;
        if !known.iter().any(|record| record.instance == instance) {
            return Err(missing());
        }
        let entry = entry("forget-instance", operator).with("instance", instance.to_string());
        self.audit.append(entry).await?;
        let forgotten = self.records.forget(instance).await;
        let forgotten = forgotten.map_err(AdminError::Store)?;
        forgotten.into_iter().next().ok_or_else(missing)
    }
}
