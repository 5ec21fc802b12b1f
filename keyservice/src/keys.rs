//! What the service remembers of keys that belong to no volume: those of the Kubernetes plugin, and data keys.

use crate::kek::WrappedDek;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a key is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Encrypts what the Kubernetes API server sends to its KMS plugin.
    KubernetesKms,
    /// Gives an in-cluster caller the data key of this id.
    DataKey(String),
}

impl Purpose {
    /// Key of the record in the store: every purpose has one record.
    #[must_use]
    pub fn row(&self) -> Vec<u8> {
        match self {
            Self::KubernetesKms => b"kubernetes-kms".to_vec(),
            Self::DataKey(id) => [b"data/", id.as_bytes()].concat(),
        }
    }
}

/// How the key that is given comes from the record's DEKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Each epoch has a DEK of its own; the record's epoch is the one in use.
    Epochs,
    /// The DEKs are 32-byte pieces of one key, in the order of their epochs: a key that was determined elsewhere.
    Pieces,
}

/// A key that belongs to no volume. Its DEKs are wrapped for the record's id and their epoch, like those of volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// What its DEKs are bound to; random.
    pub id: Uuid,
    /// What it is for.
    pub purpose: Purpose,
    /// How the key comes from the DEKs.
    pub form: Form,
    /// The epoch in use.
    pub epoch: u32,
    /// Its DEKs, wrapped.
    pub deks: Vec<WrappedDek>,
    /// When it was made.
    pub created: Timestamp,
    /// When its epoch was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Timestamp>,
}

impl KeyRecord {
    /// A key with its first DEK.
    #[must_use]
    pub fn new(id: Uuid, purpose: Purpose, dek: WrappedDek, now: Timestamp) -> Self {
        Self {
            id,
            purpose,
            form: Form::Epochs,
            epoch: dek.epoch,
            deks: vec![dek],
            created: now,
            rotated: None,
        }
    }

    /// The record with a further epoch, which is the one in use from now on. Older ones stay.
    #[must_use]
    pub fn rotated(mut self, dek: WrappedDek, now: Timestamp) -> Self {
        self.epoch = dek.epoch;
        self.deks.push(dek);
        self.rotated = Some(now);
        self
    }
}
