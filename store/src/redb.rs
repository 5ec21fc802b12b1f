//! The embedded store: one redb file, one process, every commit on disk before the call returns.
//!
//! A value is its version (64-bit big-endian), a byte that is 1, and the record's bytes; of a record that was removed only
//! the version and a 0 are left, so that a record made anew has a later version.

use super::{
    Deferred, Inspected, OpenError, Rows, Store, StoreError, Stored, Table, check, exists, fits,
    missing,
};
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
const RING: Definition = TableDefinition::new("ring-v1");

const fn definition(table: Table) -> Definition {
    match table {
        Table::Volumes => VOLUMES,
        Table::Instances => INSTANCES,
        Table::Keys => KEYS,
        Table::Nodes => NODES,
        Table::Ring => RING,
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

    /// Looks at the file without changing it.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read or is no store.
    pub fn inspect(path: &Path) -> Result<Inspected, OpenError> {
        if let Err(source) = std::fs::File::open(path) {
            let path = path.to_owned();
            return match source.kind() {
                std::io::ErrorKind::NotFound => Ok(Inspected::New),
                _ => Err(OpenError::File { path, source }),
            };
        }
        match Database::builder().open_read_only(path) {
            Ok(_) => Ok(Inspected::Usable),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => Ok(Inspected::InUse),
            // After a crash the next start repairs it.
            Err(redb::DatabaseError::RepairAborted) => Ok(Inspected::Usable),
            Err(other) => Err(OpenError::Damaged {
                path: path.to_owned(),
                problem: other.to_string(),
            }),
        }
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

/// A record, or what is left of one.
struct Row {
    version: u64,
    value: Option<Vec<u8>>,
}

impl Row {
    fn decode(table: Table, key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |problem: &str| StoreError::Damaged {
            table,
            key: hex::encode(key),
            problem: format!("{} bytes; {problem}", bytes.len()),
        };
        let Some((version, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(damaged("a version alone has 8"));
        };
        let value = match rest {
            [1, value @ ..] => Some(value.to_vec()),
            [0] => None,
            _ => {
                return Err(damaged(
                    "behind the version stands neither a record nor a removed one",
                ));
            }
        };
        let version = u64::from_be_bytes(*version);
        Ok(Self { version, value })
    }

    /// The record, unless it was removed.
    fn live(self) -> Option<Stored> {
        let Self { version, value } = self;
        value.map(|value| Stored { version, value })
    }

    fn encode(version: u64, value: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.push(value.is_some().into());
        bytes.extend_from_slice(value.unwrap_or_default());
        bytes
    }
}

/// One write transaction: `change` sees the record and says what becomes of it.
fn change<T>(
    database: &Database,
    table: Table,
    key: &[u8],
    change: impl FnOnce(Option<Row>) -> Result<(Vec<u8>, T), StoreError>,
) -> Result<T, StoreError> {
    let mut write = database.begin_write().map_err(down)?;
    write.set_durability(Durability::Immediate).map_err(down)?;
    let outcome = {
        let mut rows = write.open_table(definition(table)).map_err(down)?;
        let found = match rows.get(key).map_err(down)? {
            Some(bytes) => Some(Row::decode(table, key, bytes.value())?),
            None => None,
        };
        let (value, outcome) = change(found)?;
        rows.insert(key, value.as_slice()).map_err(down)?;
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
            fits(table, &key, &value)?;
            change(database, table, &key, |found| match found {
                Some(Row { value: Some(_), .. }) => Err(exists(table, &key)),
                Some(Row { version, .. }) => Ok((Row::encode(version + 1, Some(&value)), ())),
                None => Ok((Row::encode(1, Some(&value)), ())),
            })
        }))
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>> {
        let key = key.to_vec();
        Box::pin(self.blocking(move |database| {
            let read = database.begin_read().map_err(down)?;
            let rows = read.open_table(definition(table)).map_err(down)?;
            let bytes = rows.get(key.as_slice()).map_err(down)?;
            let bytes = bytes.ok_or_else(|| missing(table, &key))?;
            let row = Row::decode(table, &key, bytes.value())?;
            row.live().ok_or_else(|| missing(table, &key))
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
            fits(table, &key, &value)?;
            change(database, table, &key, |found| {
                let found = found.and_then(Row::live);
                let found = found.ok_or_else(|| missing(table, &key))?;
                check(table, &key, expected, found.version)?;
                let version = found.version + 1;
                Ok((Row::encode(version, Some(&value)), version))
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
                let found = found.and_then(Row::live);
                let found = found.ok_or_else(|| missing(table, &key))?;
                check(table, &key, expected, found.version)?;
                Ok((Row::encode(found.version + 1, None), ()))
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
                if let Some(stored) = Row::decode(table, &key, bytes.value())?.live() {
                    all.push((key, stored));
                }
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
    async fn damaged_record_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&scratch.path().join("s.redb")).unwrap();
        for bytes in [
            &[][..],
            &[0; 7],
            &[0; 8],
            &[2; 9],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 9],
        ] {
            let write = store.database.begin_write().unwrap();
            {
                let mut rows = write.open_table(VOLUMES).unwrap();
                rows.insert(b"k".as_slice(), bytes).unwrap();
            }
            write.commit().unwrap();
            let named = |e: StoreError| matches!(e, StoreError::Damaged { key, .. } if key == "6b");
            assert!(named(store.get(Table::Volumes, b"k").await.unwrap_err()));
            assert!(named(store.list(Table::Volumes).await.unwrap_err()));
        }
    }
}
