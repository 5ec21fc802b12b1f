//! A store under watch: each call is counted with its outcome and its time.

use crate::metrics::Metrics;
use dawnkey_store::{Deferred, Rows, Store, StoreError, Stored, Table};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// A store whose calls are counted.
pub struct WatchedStore {
    inner: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

impl WatchedStore {
    /// Counts the calls at `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let result = call.await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(StoreError::Missing { .. }) => "missing",
            Err(StoreError::Exists { .. }) => "exists",
            Err(StoreError::Conflict { .. }) => "conflict",
            Err(StoreError::Damaged { .. }) => "damaged",
            Err(StoreError::TooLarge { .. }) => "too-large",
            Err(StoreError::Unavailable(_)) => "unavailable",
        };
        self.metrics
            .store_called(operation, outcome, began.elapsed());
        result
    }
}

impl Store for WatchedStore {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn create<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        value: Vec<u8>,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(self.call("create", self.inner.create(table, key, value)))
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>> {
        Box::pin(self.call("get", self.inner.get(table, key)))
    }

    fn swap<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
        value: Vec<u8>,
    ) -> Deferred<'a, Result<u64, StoreError>> {
        Box::pin(self.call("swap", self.inner.swap(table, key, expected, value)))
    }

    fn remove<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(self.call("remove", self.inner.remove(table, key, expected)))
    }

    fn list(&self, table: Table) -> Deferred<'_, Result<Rows, StoreError>> {
        Box::pin(self.call("list", self.inner.list(table)))
    }
}
