//! The plugin's key: made and rotated by operators, unwrapped on demand and kept for a while.

use super::{KeyId, LocalPeer};
use crate::approval::Approval;
use crate::audit::Entry;
use crate::desk::{AdminError, Desk, random_uuid};
use crate::kek::RingError;
use crate::keys::{KeyRecord, Purpose};
use crate::server::Operator;
use dawnkey_kek::Retry;
use dawnkey_secret::Dek;
use dawnkey_store::StoreError;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What operators see of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The key id that new ciphertexts get.
    pub key_id: String,
    /// Key ids that still decrypt.
    pub old_key_ids: Vec<String>,
    /// When the key was made.
    pub created: Timestamp,
    /// When it was last rotated.
    pub rotated: Option<Timestamp>,
}

impl From<KeyRecord> for Shown {
    fn from(record: KeyRecord) -> Self {
        let id = |epoch| {
            let key = record.id;
            KeyId { key, epoch }.to_string()
        };
        let old = record.deks.iter().map(|dek| dek.epoch);
        Self {
            key_id: id(record.epoch),
            old_key_ids: old.filter(|e| *e != record.epoch).map(id).collect(),
            created: record.created,
            rotated: record.rotated,
        }
    }
}

const NONE: &str =
    "there is no key for the Kubernetes plugin; make it with `dawnkey kubernetes-kms create`";

const EXISTS: &str =
    "the Kubernetes plugin has its key already; `dawnkey kubernetes-kms rotate` gives it another";

fn found(error: StoreError) -> AdminError {
    match error {
        StoreError::Missing { .. } => AdminError::NotFound(NONE.into()),
        StoreError::Exists { .. } => AdminError::State(EXISTS.into()),
        StoreError::Conflict { .. } => {
            AdminError::State("somebody else has just rotated the key".into())
        }
        other => AdminError::Store(other),
    }
}

impl Desk {
    /// Makes the key of the Kubernetes plugin.
    pub async fn create_kubernetes_key(&self, operator: &Operator) -> Result<Shown, AdminError> {
        match self.records.key(&Purpose::KubernetesKms).await {
            Err(StoreError::Missing { .. }) => {}
            Err(other) => return Err(found(other)),
            Ok(_) => return Err(AdminError::State(EXISTS.into())),
        }
        let id = random_uuid().map_err(|r| AdminError::Invalid(r.detail))?;
        let dek = self.ring.create(id, 1).await?;
        let record = KeyRecord::new(id, Purpose::KubernetesKms, dek, self.now());
        self.audit
            .append(noted("create-kubernetes-key", operator, &record))
            .await?;
        self.records.create_key(&record).await.map_err(found)?;
        Ok(record.into())
    }

    /// Gives the key another epoch: new ciphertexts get a new key id, those of the old ones still decrypt.
    pub async fn rotate_kubernetes_key(&self, operator: &Operator) -> Result<Shown, AdminError> {
        let before = self.records.key(&Purpose::KubernetesKms).await;
        let before = before.map_err(found)?;
        let epoch = before.record.epoch.saturating_add(1);
        let dek = self.ring.create(before.record.id, epoch).await?;
        let record = before.record.rotated(dek, self.now());
        self.audit
            .append(noted("rotate-kubernetes-key", operator, &record))
            .await?;
        let swapped = self.records.swap_key(before.version, &record).await;
        swapped.map_err(found)?;
        Ok(record.into())
    }

    /// The key as it is.
    pub async fn show_kubernetes_key(&self) -> Result<Shown, AdminError> {
        let read = self.records.key(&Purpose::KubernetesKms).await;
        Ok(read.map_err(found)?.record.into())
    }
}

fn noted(event: &'static str, operator: &Operator, record: &KeyRecord) -> Entry {
    let id = KeyId {
        key: record.id,
        epoch: record.epoch,
    };
    Entry::new(event)
        .with("operator", operator.certificate().to_owned())
        .with("peer", operator.peer().to_string())
        .with("key_id", id.to_string())
}

/// No key to encrypt or decrypt with.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKey {
    /// Nobody has made one.
    #[error("{NONE}")]
    None,
    /// It is not one of this service's.
    #[error("there is no key {0}")]
    Unknown(String),
    /// The store does not work.
    #[error("read the plugin's key: {0}")]
    Store(StoreError),
    /// The KEK does not give it.
    #[error("unwrap the plugin's key: {0}")]
    Ring(#[from] RingError),
}

impl NoKey {
    /// Whether trying again may help without anybody doing anything.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::None | Self::Unknown(_) => false,
            Self::Store(_) => true,
            Self::Ring(RingError::Provider(error)) => error.cause.retry() == Retry::Later,
            Self::Ring(_) => false,
        }
    }
}

/// Unwrapped DEKs by key and epoch, with the time of their last unwrapping.
type Cached = BTreeMap<(Uuid, u32), (Arc<Dek>, Instant)>;

/// The plugin's keys in use.
pub(super) struct Keys {
    desk: Arc<Desk>,
    keep: Duration,
    cached: Mutex<Cached>,
}

impl Keys {
    /// Keys of this desk; an unwrapped one is used for `keep`.
    pub(super) fn new(desk: Arc<Desk>, keep: Duration) -> Self {
        Self {
            desk,
            keep,
            cached: Mutex::default(),
        }
    }

    /// Where acts are written down.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    async fn record(&self) -> Result<KeyRecord, NoKey> {
        match self.desk.records.key(&Purpose::KubernetesKms).await {
            Ok(read) => Ok(read.record),
            Err(StoreError::Missing { .. }) => Err(NoKey::None),
            Err(other) => Err(NoKey::Store(other)),
        }
    }

    /// The id of the key in use, and what is wrong with it: asks the KEK each time.
    pub(super) async fn health(&self, peer: &LocalPeer) -> (Option<KeyId>, Result<(), NoKey>) {
        let record = match self.record().await {
            Ok(record) => record,
            Err(error) => return (None, Err(error)),
        };
        let id = KeyId {
            key: record.id,
            epoch: record.epoch,
        };
        let healthy = self.unwrap(&record, id, peer).await;
        if healthy.as_ref().is_err_and(|error| !error.passes()) {
            // The KEK was taken away from us: what is in memory is not used on.
            self.cached().clear();
        }
        (Some(id), healthy.map(|_| ()))
    }

    /// The key in use.
    pub(super) async fn current(&self, peer: &LocalPeer) -> Result<(KeyId, Arc<Dek>), NoKey> {
        let record = self.record().await?;
        let id = KeyId {
            key: record.id,
            epoch: record.epoch,
        };
        Ok((id, self.dek(&record, id, peer).await?))
    }

    /// The key of an id.
    pub(super) async fn of(&self, id: KeyId, peer: &LocalPeer) -> Result<Arc<Dek>, NoKey> {
        let record = self.record().await?;
        let known = |record: &KeyRecord| record.deks.iter().any(|dek| dek.epoch == id.epoch);
        if record.id != id.key || !known(&record) {
            return Err(NoKey::Unknown(id.to_string()));
        }
        self.dek(&record, id, peer).await
    }

    async fn dek(
        &self,
        record: &KeyRecord,
        id: KeyId,
        peer: &LocalPeer,
    ) -> Result<Arc<Dek>, NoKey> {
        let cached = match self.cached().get(&(id.key, id.epoch)) {
            Some((dek, at)) if at.elapsed() < self.keep => Some(Arc::clone(dek)),
            _ => None,
        };
        match cached {
            Some(dek) => Ok(dek),
            None => self.unwrap(record, id, peer).await,
        }
    }

    async fn unwrap(
        &self,
        record: &KeyRecord,
        id: KeyId,
        peer: &LocalPeer,
    ) -> Result<Arc<Dek>, NoKey> {
        let approval = Approval::for_plugin(record, id.epoch, peer);
        let dek = Arc::new(self.desk.ring.dek(approval, &record.deks).await?);
        let mut cached = self.cached();
        cached.retain(|_, (_, at)| at.elapsed() < self.keep);
        cached.insert((id.key, id.epoch), (Arc::clone(&dek), Instant::now()));
        Ok(dek)
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
