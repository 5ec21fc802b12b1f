//! Records in object storage (S3, GCS, Azure Blob): one object per record, every change a conditional write.
//!
//! A record is created with "only if it is not there" and changed with "only if it is still the object that I read"
//! (`If-None-Match`, `If-Match`, `x-goog-if-generation-match`). Object storage has no conditional removal that all three
//! share, so a removed record leaves an object without a value whose version goes on: who read the record before
//! finds another object and cannot bring it back, and a record created anew is a later version of the same object.
//!
//! Every write carries a random id. When the answer to a write is lost, or a repeated request meets its own first try,
//! the object is read: if it bears the id, the write was done.
//!
//! Nothing is encrypted here: records hold DEKs only as the KEK wrapped them. A storage that does not keep its promises
//! is found by the `probe` at start.

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) mod backends;
mod envelope;
mod probe;
#[cfg(test)]
mod tests;

pub use probe::Broken;

use crate::{Deferred, Rows, Store, StoreError, Stored, Table, check, exists, fits, missing, said};
use envelope::{Envelope, Found, MAX_OBJECT_BYTES, directory, key as key_of, location};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Objects that a listing reads at the same time.
const READS: usize = 16;

/// Records in one bucket or container.
pub struct BucketStore {
    name: &'static str,
    bucket: Arc<dyn object_store::ObjectStore>,
    prefix: Path,
    deadline: Duration,
}

impl BucketStore {
    /// Records below `prefix`; `name` is the backend's. Each call ends within `deadline`.
    #[must_use]
    pub fn new(
        name: &'static str,
        bucket: Arc<dyn object_store::ObjectStore>,
        prefix: &str,
        deadline: Duration,
    ) -> Self {
        Self {
            name,
            bucket,
            prefix: Path::from(prefix),
            deadline,
        }
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = |_| {
            let waited = self.deadline.as_millis();
            StoreError::Unavailable(format!("{}: no answer within {waited} ms", self.name))
        };
        tokio::time::timeout(self.deadline, work)
            .await
            .map_err(late)?
    }

    async fn read(&self, table: Table, key: &[u8]) -> Result<Option<Found>, StoreError> {
        let got = match self.bucket.get(&location(&self.prefix, table, key)).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.down(&error)),
        };
        if got.meta.size > MAX_OBJECT_BYTES {
            return Err(StoreError::Damaged {
                table,
                key: hex::encode(key),
                problem: format!(
                    "{} bytes; a record has no more than {MAX_OBJECT_BYTES}",
                    got.meta.size
                ),
            });
        }
        let at = UpdateVersion {
            e_tag: got.meta.e_tag.clone(),
            version: got.meta.version.clone(),
        };
        let bytes = got.bytes().await.map_err(|e| self.down(&e))?;
        let envelope = Envelope::decode(table, key, &bytes)?;
        Ok(Some(Found { envelope, at }))
    }

    /// The record with its place, or that there is none (any more).
    async fn live(&self, table: Table, key: &[u8]) -> Result<(Stored, UpdateVersion), StoreError> {
        let found = self.read(table, key).await?;
        let found = found.ok_or_else(|| missing(table, key))?;
        let Envelope { version, value, .. } = found.envelope;
        let value = value.ok_or_else(|| missing(table, key))?;
        Ok((Stored { version, value }, found.at))
    }

    /// Writes under a condition; false when something else is there.
    async fn put(
        &self,
        table: Table,
        key: &[u8],
        envelope: &Envelope,
        mode: PutMode,
    ) -> Result<bool, StoreError> {
        let place = location(&self.prefix, table, key);
        let payload = envelope.encode()?.into();
        let put = self
            .bucket
            .put_opts(&place, payload, PutOptions::from(mode))
            .await;
        let Err(error) = put else { return Ok(true) };
        let found = self.read(table, key).await;
        let arrived = matches!(&found, Ok(Some(found)) if found.envelope.write == envelope.write);
        match error {
            _ if arrived => Ok(true),
            Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. } => {
                found.map(|_| false)
            }
            other => Err(self.down(&other)),
        }
    }

    async fn create_now(&self, table: Table, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        fits(table, key, &value)?;
        let first = Envelope::new(table, key, 1, Some(value));
        if self.put(table, key, &first, PutMode::Create).await? {
            return Ok(());
        }
        let Some(Found { envelope, at }) = self.read(table, key).await? else {
            let gone = format!(
                "{}: an object vanished; nothing of ours removes one",
                self.name
            );
            return Err(StoreError::Unavailable(gone));
        };
        if envelope.value.is_some() {
            return Err(exists(table, key));
        }
        let anew = Envelope::new(table, key, envelope.version + 1, first.value);
        match self.put(table, key, &anew, PutMode::Update(at)).await? {
            true => Ok(()),
            false => Err(exists(table, key)),
        }
    }

    async fn change(
        &self,
        table: Table,
        key: &[u8],
        expected: u64,
        value: Option<Vec<u8>>,
    ) -> Result<u64, StoreError> {
        let (found, at) = self.live(table, key).await?;
        check(table, key, expected, found.version)?;
        let next = Envelope::new(table, key, expected + 1, value);
        if self.put(table, key, &next, PutMode::Update(at)).await? {
            return Ok(next.version);
        }
        let (now, _) = self.live(table, key).await?;
        check(table, key, expected, now.version)?;
        let refused = format!("{}: a write was refused, but nobody else wrote", self.name);
        Err(StoreError::Unavailable(refused))
    }

    async fn rows(&self, table: Table) -> Result<Rows, StoreError> {
        let place = directory(&self.prefix, table);
        let objects = self.bucket.list(Some(&place));
        let read = |location: Path| async move {
            let key = key_of(&location).map_err(|name| StoreError::Damaged {
                table,
                key: name,
                problem: "its name is not a key in hex with `.json`".into(),
            })?;
            match self.live(table, &key).await {
                Ok((stored, _)) => Ok(Some((key, stored))),
                Err(StoreError::Missing { .. }) => Ok(None),
                Err(other) => Err(other),
            }
        };
        let rows = objects
            .map_err(|e| self.down(&e))
            .map_ok(|meta| read(meta.location))
            .try_buffer_unordered(READS);
        let mut rows: Rows = rows
            .try_filter_map(|row| async { Ok(row) })
            .try_collect()
            .await?;
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(rows)
    }

    fn down(&self, error: &Error) -> StoreError {
        StoreError::Unavailable(format!("{}: {}", self.name, said(error)))
    }
}

impl Store for BucketStore {
    fn name(&self) -> &'static str {
        self.name
    }

    fn create<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        value: Vec<u8>,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(self.in_time(self.create_now(table, key, value)))
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>> {
        Box::pin(self.in_time(async move { Ok(self.live(table, key).await?.0) }))
    }

    fn swap<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
        value: Vec<u8>,
    ) -> Deferred<'a, Result<u64, StoreError>> {
        Box::pin(self.in_time(async move {
            fits(table, key, &value)?;
            self.change(table, key, expected, Some(value)).await
        }))
    }

    fn remove<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(
            self.in_time(async move { self.change(table, key, expected, None).await.map(drop) }),
        )
    }

    fn list(&self, table: Table) -> Deferred<'_, Result<Rows, StoreError>> {
        Box::pin(self.in_time(self.rows(table)))
    }
}
