//! The embedded store: one redb file, one process, every commit on disk before the call returns.
//!
//! A value is its version (64-bit big-endian) followed by the record's bytes.

use super::{Deferred, OpenError, Rows, Store, StoreError, Stored, Table, check, exists, missing};
use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const VOLUMES: Definition = TableDefinition::new("volumes-v1");
const INSTANCES: Definition = TableDefinition::new("instances-v1");
const KEYS: Definition = TableDefinition::new("keys-v1");
const NODES: Definition = TableDefinition::new("nodes-v1");

const fn definition(table: Table) -> Definition {
    match table {
        Table::Volumes => VOLUMES,
        Table::Instances => INSTANCES,
        Table::Keys => KEYS,
        Table::Nodes => NODES,
    }
}

/// A redb file.
pub struct RedbStore {
    database: Arc<Database>,
}

impl RedbStore {
    /// Opens the file, or makes it readable by its owner only.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|source| OpenError::File {
                path: path.to_owned(),
                source,
            })?;
        let damaged = |problem: String| OpenError::Damaged {
            path: path.to_owned(),
            problem,
        };
        let opened = |e: redb::DatabaseError| match e {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
            other => damaged(other.to_string()),
        };
        let backend = FileBackend::new(file).map_err(opened)?;
        let database = Database::builder()
            .create_with_backend(backend)
            .map_err(opened)?;
        let made = (|| -> Result<(), redb::Error> {
            let write = database.begin_write()?;
            for table in Table::ALL {
                write.open_table(definition(table))?;
            }
            write.commit()?;
            Ok(())
        })();
        made.map_err(|e| damaged(e.to_string()))?;
        Ok(Self {
            database: Arc::new(database),
        })
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || work(&database))
            .await
            .map_err(|e| StoreError::Unavailable(e.to_string()))?
    }
}

fn down(e: impl Into<redb::Error>) -> StoreError {
    StoreError::Unavailable(e.into().to_string())
}

fn decode(table: Table, key: &[u8], bytes: &[u8]) -> Result<Stored, StoreError> {
    let (version, value) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| StoreError::Damaged {
            table,
            key: hex::encode(key),
            problem: format!("{} bytes; a version alone has 8", bytes.len()),
        })?;
    Ok(Stored {
        version: u64::from_be_bytes(*version),
        value: value.to_vec(),
    })
}

fn encode(version: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = version.to_be_bytes().to_vec();
    bytes.extend_from_slice(value);
    bytes
}

/// One write transaction: `change` sees the record and says what becomes of it.
fn change<T>(
    database: &Database,
    table: Table,
    key: &[u8],
    change: impl FnOnce(Option<Stored>) -> Result<(Option<Vec<u8>>, T), StoreError>,
) -> Result<T, StoreError> {
    let mut write = database.begin_write().map_err(down)?;
    write.set_durability(Durability::Immediate).map_err(down)?;
    let outcome = {
        let mut rows = write.open_table(definition(table)).map_err(down)?;
        let found = match rows.get(key).map_err(down)? {
            Some(bytes) => Some(decode(table, key, bytes.value())?),
            None => None,
        };
        let (value, outcome) = change(found)?;
        match value {
            Some(value) => rows.insert(key, value.as_slice()).map_err(down)?.is_some(),
            None => rows.remove(key).map_err(down)?.is_some(),
        };
        outcome
    };
    write.commit().map_err(down)?;
    Ok(outcome)
}

impl Store for RedbStore {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn create<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        value: Vec<u8>,
    ) -> Deferred<'a, Result<(), StoreError>> {
        let key = key.to_vec();
        Box::pin(self.blocking(move |database| {
            change(database, table, &key, |found| match found {
                Some(_) => Err(exists(table, &key)),
                None => Ok((Some(encode(1, &value)), ())),
            })
        }))
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>> {
        let key = key.to_vec();
        Box::pin(self.blocking(move |database| {
            let read = database.begin_read().map_err(down)?;
            let rows = read.open_table(definition(table)).map_err(down)?;
            let bytes = rows.get(key.as_slice()).map_err(down)?;
            decode(
                table,
                &key,
                bytes.ok_or_else(|| missing(table, &key))?.value(),
            )
        }))
    }

    fn swap<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
        value: Vec<u8>,
    ) -> Deferred<'a, Result<u64, StoreError>> {
        let key = key.to_vec();
        Box::pin(self.blocking(move |database| {
            change(database, table, &key, |found| {
                let found = found.ok_or_else(|| missing(table, &key))?;
                check(table, &key, expected, found.version)?;
                let version = found.version + 1;
                Ok((Some(encode(version, &value)), version))
            })
        }))
    }

    fn remove<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
    ) -> Deferred<'a, Result<(), StoreError>> {
        let key = key.to_vec();
        Box::pin(self.blocking(move |database| {
            change(database, table, &key, |found| {
                let found = found.ok_or_else(|| missing(table, &key))?;
                check(table, &key, expected, found.version)?;
                Ok((None, ()))
            })
        }))
    }

    fn list(&self, table: Table) -> Deferred<'_, Result<Rows, StoreError>> {
        Box::pin(self.blocking(move |database| {
            let read = database.begin_read().map_err(down)?;
            let rows = read.open_table(definition(table)).map_err(down)?;
            let mut all = Vec::new();
            for row in rows.iter().map_err(down)? {
                let (key, bytes) = row.map_err(down)?;
                let key = key.value().to_vec();
                let stored = decode(table, &key, bytes.value())?;
                all.push((key, stored));
            }
            Ok(all)
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn records_survive_a_process_that_dies_without_closing() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s.redb");
        let store = RedbStore::open(&path).unwrap();
        store
            .create(Table::Volumes, b"k", b"v".to_vec())
            .await
            .unwrap();
        // The file as a power cut would leave it: copied while the database is open.
        let torn = scratch.path().join("torn.redb");
        std::fs::copy(&path, &torn).unwrap();
        let reopened = RedbStore::open(&torn).unwrap();
        let found = reopened.get(Table::Volumes, b"k").await.unwrap();
        assert_eq!(found.value, b"v");
    }

    #[test]
    fn refuses_a_store_that_another_process_has_open() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s.redb");
        let _first = RedbStore::open(&path).unwrap();
        assert!(matches!(RedbStore::open(&path), Err(OpenError::InUse(_))));
    }

    #[test]
    fn refuses_a_file_that_is_no_store() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s.redb");
        std::fs::write(&path, vec![7; 8192]).unwrap();
        assert!(matches!(
            RedbStore::open(&path),
            Err(OpenError::Damaged { .. })
        ));
    }

    #[test]
    fn new_store_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s.redb");
        let _store = RedbStore::open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }

    #[tokio::test]
    async fn one_of_many_concurrent_swaps_wins() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(&scratch.path().join("s.redb")).unwrap());
        store.create(Table::Volumes, b"k", vec![0]).await.unwrap();
        let rivals: Vec<_> = (1..9_u8)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.swap(Table::Volumes, b"k", 1, vec![n]).await })
            })
            .collect();
        let mut won = 0;
        for rival in rivals {
            match rival.await.unwrap() {
                Ok(version) => {
                    assert_eq!(version, 2);
                    won += 1;
                }
                Err(e) => assert!(matches!(e, StoreError::Conflict { .. })),
            }
        }
        assert_eq!(won, 1);
    }
}
