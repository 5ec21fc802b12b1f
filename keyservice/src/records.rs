//! The typed side of the store: its records in JSON, each change by compare-and-swap.

use crate::kek::ring::Ring;
use crate::keys::{KeyRecord, Purpose};
use crate::nodes::NodeRecord;
use crate::volume::{InstanceId, InstanceRecord, VolumeRecord};
use dawnkey_store::{Store, StoreError, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use uuid::Uuid;

/// Key of the one record of [`Table::Ring`].
const RING: &[u8] = b"ring";

/// A record with the version that a change of it must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The version.
    pub version: u64,
    /// The record.
    pub record: T,
}

/// Volumes, instances and keys in a store.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
}

impl Records {
    /// Records kept in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Name of the store's backend.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.store.name()
    }

    /// Makes a volume; [`StoreError::Exists`] when the id was ever used.
    pub async fn create_volume(&self, volume: &VolumeRecord) -> Result<(), StoreError> {
        let (key, value) = (volume.id.as_bytes(), encode(volume)?);
        self.store.create(Table::Volumes, key, value).await
    }

    /// Reads a volume; [`StoreError::Missing`] when there is none.
    pub async fn volume(&self, id: Uuid) -> Result<Versioned<VolumeRecord>, StoreError> {
        self.read(Table::Volumes, id.as_bytes()).await
    }

    /// Replaces a volume that still has that version, and returns the new version.
    pub async fn swap_volume(
        &self,
        version: u64,
        volume: &VolumeRecord,
    ) -> Result<u64, StoreError> {
        let (key, value) = (volume.id.as_bytes(), encode(volume)?);
        self.store.swap(Table::Volumes, key, version, value).await
    }

    /// All volumes, by id.
    pub async fn volumes(&self) -> Result<Vec<VolumeRecord>, StoreError> {
        self.read_all(Table::Volumes).await
    }

    /// Makes a key that belongs to no volume; [`StoreError::Exists`] when its purpose has one.
    pub async fn create_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        let (row, value) = (key.purpose.row(), encode(key)?);
        self.store.create(Table::Keys, &row, value).await
    }

    /// The key of a purpose; [`StoreError::Missing`] when there is none.
    pub async fn key(&self, purpose: &Purpose) -> Result<Versioned<KeyRecord>, StoreError> {
        self.read(Table::Keys, &purpose.row()).await
    }

    /// Replaces a key that still has that version, and returns the new version.
    pub async fn swap_key(&self, version: u64, key: &KeyRecord) -> Result<u64, StoreError> {
        let (row, value) = (key.purpose.row(), encode(key)?);
        self.store.swap(Table::Keys, &row, version, value).await
    }

    /// All keys that belong to no volume.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.read_all(Table::Keys).await
    }

    /// Records a node; [`StoreError::Exists`] when it is recorded already.
    pub async fn create_node(&self, node: &NodeRecord) -> Result<(), StoreError> {
        let value = encode(node)?;
        self.store
            .create(Table::Nodes, &node.instance.0, value)
            .await
    }

    /// What is recorded of a node; [`StoreError::Missing`] when nothing is.
    pub async fn node(&self, instance: InstanceId) -> Result<Versioned<NodeRecord>, StoreError> {
        self.read(Table::Nodes, &instance.0).await
    }

    /// Replaces the record of a node that still has that version.
    pub async fn swap_node(&self, version: u64, node: &NodeRecord) -> Result<(), StoreError> {
        let (row, value) = (&node.instance.0, encode(node)?);
        let swapped = self.store.swap(Table::Nodes, row, version, value).await;
        swapped.map(|_| ())
    }

    /// All recorded nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        self.read_all(Table::Nodes).await
    }

    /// Keeps the ring of KEK providers for the first time; [`StoreError::Exists`] when there is one.
    pub async fn create_ring(&self, ring: &Ring) -> Result<(), StoreError> {
        self.store.create(Table::Ring, RING, encode(ring)?).await
    }

    /// The ring of KEK providers; [`StoreError::Missing`] when there is none.
    pub async fn ring(&self) -> Result<Versioned<Ring>, StoreError> {
        self.read(Table::Ring, RING).await
    }

    /// Replaces the ring that still has that version, and returns the new version.
    pub async fn swap_ring(&self, version: u64, ring: &Ring) -> Result<u64, StoreError> {
        let value = encode(ring)?;
        self.store.swap(Table::Ring, RING, version, value).await
    }

    /// Enrols an attestation key; [`StoreError::Exists`] when it is enrolled already.
    pub async fn enrol(&self, instance: &InstanceRecord) -> Result<(), StoreError> {
        let (key, value) = (instance.key_name.as_bytes(), encode(instance)?);
        self.store.create(Table::Instances, key, value).await
    }

    /// The enrolment of an attestation key, by its name in hex; `None` when it is not enrolled.
    pub async fn enrolment(&self, key_name: &str) -> Result<Option<InstanceRecord>, StoreError> {
        match self.read(Table::Instances, key_name.as_bytes()).await {
            Ok(found) => Ok(Some(found.record)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// All enrolled attestation keys, by name.
    pub async fn instances(&self) -> Result<Vec<InstanceRecord>, StoreError> {
        self.read_all(Table::Instances).await
    }

    /// Forgets every attestation key of an instance; returns what was forgotten.
    pub async fn forget(&self, instance: InstanceId) -> Result<Vec<InstanceRecord>, StoreError> {
        let mut forgotten = Vec::new();
        for known in self.instances().await? {
            if known.instance != instance {
                continue;
            }
            let key = known.key_name.as_bytes();
            let stored = self.store.get(Table::Instances, key).await?;
            self.store
                .remove(Table::Instances, key, stored.version)
                .await?;
            forgotten.push(known);
        }
        Ok(forgotten)
    }

    /// Keys of a table, in their order.
    pub async fn keys_of(&self, table: Table) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = self.store.list(table).await?;
        Ok(rows.into_iter().map(|(key, _)| key).collect())
    }

    /// A record of any table, as its JSON.
    pub async fn raw(&self, table: Table, key: &[u8]) -> Result<serde_json::Value, StoreError> {
        Ok(self.read(table, key).await?.record)
    }

    /// Makes a record of any table from its JSON; [`StoreError::Exists`] when the key is taken.
    pub async fn create_raw(
        &self,
        table: Table,
        key: &[u8],
        record: &serde_json::Value,
    ) -> Result<(), StoreError> {
        self.store.create(table, key, encode(record)?).await
    }

    /// Removes a volume as if it had never been.
    #[cfg(test)]
    pub(crate) async fn remove_volume(&self, id: Uuid) {
        let (table, key) = (Table::Volumes, id.as_bytes());
        if let Ok(stored) = self.store.get(table, key).await {
            let _ = self.store.remove(table, key, stored.version).await;
        }
    }

    /// Reads something, to learn whether the store works.
    pub async fn probe(&self) -> Result<(), StoreError> {
        match self.volume(Uuid::nil()).await {
            Ok(_) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Versioned<T>, StoreError> {
        let stored = self.store.get(table, key).await?;
        Ok(Versioned {
            version: stored.version,
            record: decode(table, key, &stored.value)?,
        })
    }

    async fn read_all<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>, StoreError> {
        let rows = self.store.list(table).await?;
        rows.iter()
            .map(|(key, stored)| decode(table, key, &stored.value))
            .collect()
    }
}

fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|e| StoreError::Unavailable(e.to_string()))
}

fn decode<T: DeserializeOwned>(table: Table, key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|e| StoreError::Damaged {
        table,
        key: hex::encode(key),
        problem: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kek::WrappedDek;
    use crate::volume::Digest32;
    use dawnkey_store::MemoryStore;
    use jiff::Timestamp;

    fn volume() -> VolumeRecord {
        let dek = WrappedDek::derived("cluster", 1);
        let (id, now) = (Uuid::from_u128(5), Timestamp::UNIX_EPOCH);
        VolumeRecord::new(id, "state".into(), "l".into(), dek, now)
    }

    #[tokio::test]
    async fn volume_round_trips_and_second_writer_conflicts() {
        let records = Records::new(Arc::new(MemoryStore::default()));
        records.create_volume(&volume()).await.unwrap();
        let read = records.volume(volume().id).await.unwrap();
        assert_eq!(read.record, volume());
        let retired = read.record.clone().retired();
        records.swap_volume(read.version, &retired).await.unwrap();
        let late = records.swap_volume(read.version, &volume()).await;
        assert!(matches!(late, Err(StoreError::Conflict { .. })));
        assert_eq!(records.volumes().await.unwrap(), vec![retired]);
    }

    #[tokio::test]
    async fn refuses_to_create_a_retired_volume_again() {
        let records = Records::new(Arc::new(MemoryStore::default()));
        records.create_volume(&volume().retired()).await.unwrap();
        let again = records.create_volume(&volume()).await;
        assert!(matches!(again, Err(StoreError::Exists { .. })));
    }

    #[tokio::test]
    async fn a_purpose_has_one_key_and_purposes_share_none() {
        let records = Records::new(Arc::new(MemoryStore::default()));
        let key = |purpose| {
            let dek = WrappedDek::derived("cluster", 1);
            KeyRecord::new(Uuid::from_u128(9), purpose, dek, Timestamp::UNIX_EPOCH)
        };
        let (plugin, data) = (Purpose::KubernetesKms, Purpose::DataKey("a".into()));
        records.create_key(&key(plugin.clone())).await.unwrap();
        records.create_key(&key(data.clone())).await.unwrap();
        let again = records.create_key(&key(data.clone())).await;
        assert!(matches!(again, Err(StoreError::Exists { .. })));
        let read = records.key(&data).await.unwrap();
        assert_eq!(read.record, key(data));
        let next = WrappedDek::derived("cluster", 2);
        let rotated = read.record.rotated(next, Timestamp::UNIX_EPOCH);
        records.swap_key(read.version, &rotated).await.unwrap();
        assert_eq!(records.keys().await.unwrap(), [rotated, key(plugin)]);
    }

    #[tokio::test]
    async fn refuses_a_record_with_unknown_fields() {
        let store = Arc::new(MemoryStore::default());
        let mut value = serde_json::to_value(volume()).unwrap();
        value["surprise"] = 1.into();
        let bytes = serde_json::to_vec(&value).unwrap();
        let key = volume().id;
        store
            .create(Table::Volumes, key.as_bytes(), bytes)
            .await
            .unwrap();
        let refused = Records::new(store).volume(key).await;
        assert!(matches!(refused, Err(StoreError::Damaged { .. })));
    }

    #[tokio::test]
    async fn forgetting_an_instance_removes_all_of_its_keys_and_no_other() {
        let records = Records::new(Arc::new(MemoryStore::default()));
        for (name, owner) in [("aa", 1), ("bb", 1), ("cc", 2)] {
            let enrolled = InstanceRecord {
                instance: Digest32([owner; 32]),
                key_name: name.into(),
                kind: "vtpm".into(),
                endorsement: "CN=x".into(),
                enrolled: Timestamp::UNIX_EPOCH,
            };
            records.enrol(&enrolled).await.unwrap();
        }
        let forgotten = records.forget(Digest32([1; 32])).await.unwrap();
        assert_eq!(forgotten.len(), 2);
        assert!(records.enrolment("aa").await.unwrap().is_none());
        assert!(records.enrolment("cc").await.unwrap().is_some());
    }
}
