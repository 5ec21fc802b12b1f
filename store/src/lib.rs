//! The port to whatever keeps volume and instance records: create-only, get, compare-and-swap by version.
//!
//! `create` and `get` are different calls on purpose: a record that is missing is an error, never the
//! beginning of a new key. A value is bytes to the store; its users give them their types.

mod config;
#[cfg(any(test, feature = "fake"))]
pub mod contract;
mod error;
#[cfg(any(test, feature = "fake"))]
mod memory;
#[cfg(feature = "object")]
mod object;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redb")]
mod redb;

#[cfg(feature = "redb")]
pub use self::redb::RedbStore;
pub use config::Inspected;
pub use config::{AzureConfig, GcsConfig, PostgresConfig, RedbConfig, S3Config, StoreConfig, Tls};
pub use error::OpenError;
#[cfg(any(test, feature = "fake"))]
pub use memory::MemoryStore;
#[cfg(feature = "object")]
pub use object::{Broken, BucketStore};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;

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
    /// Which KEK provider is active: one record, of this service's configuration rather than of any disk.
    Ring,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 5] = [
        Self::Volumes,
        Self::Instances,
        Self::Keys,
        Self::Nodes,
        Self::Ring,
    ];

    /// The table's name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Volumes => "volumes",
            Self::Instances => "instances",
            Self::Keys => "keys",
            Self::Nodes => "nodes",
            Self::Ring => "ring",
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

/// Largest value of a record.
pub const MAX_VALUE_BYTES: usize = 256 << 10;

/// A call on the store failed. Nothing has changed, but for [`StoreError::Unavailable`]: there a change may have been
/// made whose confirmation was lost; its author finds out by reading.
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
    /// The value is larger than any record.
    #[error("write record {key} in {}: {bytes} bytes; a record has at most {MAX_VALUE_BYTES}", table.name())]
    TooLarge {
        /// The table.
        table: Table,
        /// The key in hex.
        key: String,
        /// The value's bytes.
        bytes: usize,
    },
    /// The store does not work now.
    #[error("use the store: {0}")]
    Unavailable(String),
}

/// Keeps records. Every change is durable when the call returns, and happens wholly or not at all.
pub trait Store: Send + Sync {
    /// The backend's name, `redb`.
    fn name(&self) -> &'static str;

    /// Makes a record; [`StoreError::Exists`] when the key is taken. Its version is 1, or later than any of the removed
    /// record that had the key: who had read that one cannot change this one.
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

/// What a backend said, fit for a message: printable, at most 300 characters.
#[cfg(any(feature = "object", feature = "postgres"))]
fn said(text: &impl std::fmt::Display) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.to_string().chars().map(shown).take(300).collect()
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

fn fits(table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        table,
        key: hex::encode(key),
        bytes: value.len(),
    })
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
    use std::sync::Arc;

    #[tokio::test]
    async fn memory_store_keeps_the_contract() {
        contract::holds(Arc::new(MemoryStore::default())).await;
    }

    #[cfg(feature = "redb")]
    #[tokio::test(flavor = "multi_thread")]
    async fn redb_store_keeps_the_contract() {
        let scratch = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&scratch.path().join("s.redb")).unwrap();
        contract::holds(Arc::new(store)).await;
    }
}
