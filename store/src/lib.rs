//! The port to whatever keeps volume and instance records: create-only, get, compare-and-swap by version.
//!
//! `create` and `get` are different calls on purpose: a record that is missing is an error, never the
//! beginning of a new key. A value is bytes to the store; its users give them their types.

mod config;
mod error;
#[cfg(any(test, feature = "fake"))]
mod memory;
#[cfg(feature = "redb")]
mod redb;

#[cfg(feature = "redb")]
pub use self::redb::RedbStore;
pub use config::{RedbConfig, StoreConfig};
pub use error::OpenError;
#[cfg(any(test, feature = "fake"))]
pub use memory::MemoryStore;

use std::future::Future;
use std::pin::Pin;

/// What a port's call returns: a future that may cross threads.
pub type Deferred<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Volumes, by the 16 bytes of their id.
    Volumes,
    /// Enrolled attestation keys, by their TPM name.
    Instances,
    /// Keys that belong to no volume, by purpose and name.
    Keys,
    /// What operators decided about nodes, by the 32 bytes of the instance.
    Nodes,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 4] = [Self::Volumes, Self::Instances, Self::Keys, Self::Nodes];

    /// The table's name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Volumes => "volumes",
            Self::Instances => "instances",
            Self::Keys => "keys",
            Self::Nodes => "nodes",
        }
    }
}

/// A value with the version that a swap must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Starts at 1, grows by one with every change.
    pub version: u64,
    /// The record's bytes.
    pub value: Vec<u8>,
}

/// Records with their keys.
pub type Rows = Vec<(Vec<u8>, Stored)>;

/// A call on the store failed; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such record.
    #[error("{}: no record {key}", table.name())]
    Missing {
        /// The table.
        table: Table,
        /// The key in hex.
        key: String,
    },
    /// A record of that key exists already.
    #[error("create in {}: record {key} exists already", table.name())]
    Exists {
        /// The table.
        table: Table,
        /// The key in hex.
        key: String,
    },
    /// Somebody else changed the record in between.
    #[error("change record {key} in {}: version {expected} was expected, {found} is there", table.name())]
    Conflict {
        /// The table.
        table: Table,
        /// The key in hex.
        key: String,
        /// The version that the caller had read.
        expected: u64,
        /// The version in the store.
        found: u64,
    },
    /// What the store holds is not a record.
    #[error("read record {key} in {}: {problem}", table.name())]
    Damaged {
        /// The table.
        table: Table,
        /// The key in hex.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The store does not work now.
    #[error("use the store: {0}")]
    Unavailable(String),
}

/// Keeps records. Every change is durable when the call returns, and happens wholly or not at all.
pub trait Store: Send + Sync {
    /// The backend's name, `redb`.
    fn name(&self) -> &'static str;

    /// Makes a record of version 1; [`StoreError::Exists`] when the key is taken.
    fn create<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        value: Vec<u8>,
    ) -> Deferred<'a, Result<(), StoreError>>;

    /// Reads a record; [`StoreError::Missing`] when there is none.
    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>>;

    /// Replaces a record that still has version `expected` and returns its new version.
    fn swap<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
        value: Vec<u8>,
    ) -> Deferred<'a, Result<u64, StoreError>>;

    /// Removes a record that still has version `expected`.
    fn remove<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
    ) -> Deferred<'a, Result<(), StoreError>>;

    /// All records of a table, in the order of their keys.
    fn list(&self, table: Table) -> Deferred<'_, Result<Rows, StoreError>>;
}

fn missing(table: Table, key: &[u8]) -> StoreError {
    StoreError::Missing {
        table,
        key: hex::encode(key),
    }
}

fn exists(table: Table, key: &[u8]) -> StoreError {
    StoreError::Exists {
        table,
        key: hex::encode(key),
    }
}

fn check(table: Table, key: &[u8], expected: u64, found: u64) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::Conflict {
        table,
        key: hex::encode(key),
        expected,
        found,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn contract(store: &dyn Store) {
        let key = b"k".as_slice();
        let table = Table::Volumes;
        assert!(matches!(
            store.get(table, key).await,
            Err(StoreError::Missing { .. })
        ));
        assert!(matches!(
            store.swap(table, key, 1, vec![1]).await,
            Err(StoreError::Missing { .. })
        ));
        store.create(table, key, vec![1]).await.unwrap();
        assert!(matches!(
            store.create(table, key, vec![2]).await,
            Err(StoreError::Exists { .. })
        ));
        assert_eq!(store.swap(table, key, 1, vec![3]).await.unwrap(), 2);
        assert!(matches!(
            store.swap(table, key, 1, vec![4]).await,
            Err(StoreError::Conflict {
                expected: 1,
                found: 2,
                ..
            })
        ));
        let stored = store.get(table, key).await.unwrap();
        assert_eq!((stored.version, stored.value), (2, vec![3]));
        assert!(store.list(Table::Instances).await.unwrap().is_empty());
        assert_eq!(store.list(table).await.unwrap().len(), 1);
        assert!(matches!(
            store.remove(table, key, 1).await,
            Err(StoreError::Conflict { .. })
        ));
        store.remove(table, key, 2).await.unwrap();
        assert!(matches!(
            store.remove(table, key, 2).await,
            Err(StoreError::Missing { .. })
        ));
    }

    #[tokio::test]
    async fn memory_store_keeps_the_contract() {
        contract(&MemoryStore::default()).await;
    }

    #[tokio::test]
    async fn redb_store_keeps_the_contract() {
        let scratch = tempfile::tempdir().unwrap();
        contract(&RedbStore::open(&scratch.path().join("s.redb")).unwrap()).await;
    }
}
