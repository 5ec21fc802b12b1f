//! The store's fake: a map, for tests of what stands above it.

use super::{Deferred, Rows, Store, StoreError, Stored, Table, check, exists, fits, missing};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Map = BTreeMap<(Table, Vec<u8>), Stored>;

/// Records in memory, with a switch that makes every call fail.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<Map>,
    /// Last versions of records that were removed.
    removed: Mutex<BTreeMap<(Table, Vec<u8>), u64>>,
    broken: Mutex<bool>,
    rival: Mutex<Option<Vec<u8>>>,
}

impl MemoryStore {
    fn rows(&self) -> Result<MutexGuard<'_, Map>, StoreError> {
        if *self.broken.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(StoreError::Unavailable("switched off by the test".into()));
        }
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on every call fails with [`StoreError::Unavailable`] (or works again).
    pub fn break_down(&self, broken: bool) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
    }

    /// Just before the next swap a rival rewrites the record with the same value, so that the swap conflicts once.
    pub fn let_a_rival_write_first(&self, key: &[u8]) {
        *self.rival.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.to_vec());
    }

    /// Everything in the store, to compare before and after.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<(Table, Vec<u8>), Stored> {
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn create<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        value: Vec<u8>,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(async move {
            fits(table, key, &value)?;
            let mut rows = self.rows()?;
            if rows.contains_key(&(table, key.to_vec())) {
                return Err(exists(table, key));
            }
            let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
            let last = removed.get(&(table, key.to_vec())).copied().unwrap_or(0);
            let version = last + 1;
            rows.insert((table, key.to_vec()), Stored { version, value });
            Ok(())
        })
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            self.rows()?
                .get(&(table, key.to_vec()))
                .cloned()
                .ok_or_else(|| missing(table, key))
        })
    }

    fn swap<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
        value: Vec<u8>,
    ) -> Deferred<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            fits(table, key, &value)?;
            let mut rows = self.rows()?;
            let row = rows
                .get_mut(&(table, key.to_vec()))
                .ok_or_else(|| missing(table, key))?;
            let mut rival = self.rival.lock().unwrap_or_else(PoisonError::into_inner);
            if rival.as_deref() == Some(key) {
                *rival = None;
                row.version += 1;
            }
            check(table, key, expected, row.version)?;
            row.version += 1;
            row.value = value;
            Ok(row.version)
        })
    }

    fn remove<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut rows = self.rows()?;
            let row = rows
                .get(&(table, key.to_vec()))
                .ok_or_else(|| missing(table, key))?;
            check(table, key, expected, row.version)?;
            rows.remove(&(table, key.to_vec()));
            let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
            removed.insert((table, key.to_vec()), expected + 1);
            Ok(())
        })
    }

    fn list(&self, table: Table) -> Deferred<'_, Result<Rows, StoreError>> {
        Box::pin(async move {
            Ok(self
                .rows()?
                .iter()
                .filter(|((t, _), _)| *t == table)
                .map(|((_, key), stored)| (key.clone(), stored.clone()))
                .collect())
        })
    }
}
