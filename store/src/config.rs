//! `[store]` of the service's configuration, and opening what it names.

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
}

/// `kind = "redb"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedbConfig {
    /// The file; it is made when it is not there.
    pub path: PathBuf,
}

impl StoreConfig {
    /// The same with absolute paths: relative ones are relative to `base`.
    #[must_use]
    pub fn at(self, base: &Path) -> Self {
        match self {
            Self::Redb(redb) => Self::Redb(RedbConfig {
                path: base.join(redb.path),
            }),
        }
    }

    /// As the configuration names it, `redb`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Redb(_) => "redb",
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be used, or this build has no such store.
    pub async fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        match self {
            #[cfg(feature = "redb")]
            Self::Redb(redb) => Ok(Arc::new(crate::RedbStore::open(&redb.path)?)),
            #[cfg(not(feature = "redb"))]
            Self::Redb(_) => Err(OpenError::NotBuilt(self.kind())),
        }
    }
}
