//! `[store]` of the service's configuration, and opening what it names.
//!
//! Every build reads every kind; one that was built without it says so when it is to be opened.

mod buckets;
mod postgres;

#[cfg(feature = "object")]
pub(crate) use buckets::Bucket;
pub use buckets::{AzureConfig, GcsConfig, S3Config};
pub use postgres::{PostgresConfig, Tls};

use crate::{OpenError, Store};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which store keeps the records, by its `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StoreConfig {
    /// One file of this host, for one service.
    Redb(RedbConfig),
    /// A bucket of S3, for any number of services.
    S3(S3Config),
    /// A bucket of Google Cloud Storage, for any number of services.
    Gcs(GcsConfig),
    /// A container of Azure Blob Storage, for any number of services.
    AzureBlob(AzureConfig),
    /// A database of PostgreSQL, for any number of services.
    Postgres(PostgresConfig),
}

/// `kind = "redb"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedbConfig {
    /// The file; it is made when it is not there.
    pub path: PathBuf,
}

/// What a look at a store came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    /// It is as it must be.
    Usable,
    /// There is none; the first start makes it.
    New,
    /// Another process has it open.
    InUse,
}

impl StoreConfig {
    /// The same with absolute paths: relative ones are relative to `base`.
    #[must_use]
    pub fn at(mut self, base: &Path) -> Self {
        let place = |path: &mut PathBuf| *path = base.join(&*path);
        match &mut self {
            Self::Redb(redb) => place(&mut redb.path),
            Self::S3(s3) => s3.ca.iter_mut().for_each(place),
            Self::Gcs(gcs) => gcs.ca.iter_mut().for_each(place),
            Self::AzureBlob(azure) => azure.ca.iter_mut().for_each(place),
            Self::Postgres(postgres) => postgres.paths().for_each(place),
        }
        self
    }

    /// As the configuration names it, `redb`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Redb(_) => "redb",
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::AzureBlob(_) => "azure-blob",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Whether several services may use the store at the same time.
    #[must_use]
    pub const fn shared(&self) -> bool {
        !matches!(self, Self::Redb(_))
    }

    /// Looks at the store without changing a record, a schema or a file; only of a bucket's promises there is no proof
    /// without a scratch object, which is made and removed.
    ///
    /// # Errors
    /// [`OpenError`] when it could not be opened either.
    pub async fn inspect(&self) -> Result<Inspected, OpenError> {
        match self {
            #[cfg(feature = "redb")]
            Self::Redb(redb) => crate::RedbStore::inspect(&redb.path),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => crate::PostgresStore::inspect(config).await,
            bucket => bucket.open().await.map(|_| Inspected::Usable),
        }
    }

    /// Opens the store, and proves that it keeps its promises.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be used, or this build has no such store.
    pub async fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        match self {
            #[cfg(feature = "redb")]
            Self::Redb(redb) => Ok(Arc::new(crate::RedbStore::open(&redb.path)?)),
            #[cfg(feature = "s3")]
            Self::S3(s3) => Ok(Arc::new(crate::object::backends::s3(s3).await?)),
            #[cfg(feature = "gcs")]
            Self::Gcs(gcs) => Ok(Arc::new(crate::object::backends::gcs(gcs).await?)),
            #[cfg(feature = "azure")]
            Self::AzureBlob(azure) => Ok(Arc::new(crate::object::backends::azure(azure).await?)),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => Ok(Arc::new(crate::PostgresStore::open(config).await?)),
            #[allow(unreachable_patterns)] // where every store is built
            _ => Err(OpenError::NotBuilt(self.kind())),
        }
    }
}

#[cfg(test)]
mod tests;
