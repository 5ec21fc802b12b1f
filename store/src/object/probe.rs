//! Does the storage keep its promises? Proved at every start with a scratch object, because several servers that speak
//! these protocols take a conditional write and ignore the condition.

use super::BucketStore;
use crate::said;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use uuid::Uuid;

/// The storage cannot keep records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A call that must work failed.
    #[error(
        "{call} of the scratch object {object}: {said}; the service needs to read, write, list and delete below its prefix"
    )]
    Call {
        /// What was tried.
        call: &'static str,
        /// The object.
        object: String,
        /// What the storage said.
        said: String,
    },
    /// An object was created over another one.
    #[error(
        "it ignores preconditions: a create-only write replaced an object that was there, so that two writers could both believe to be first"
    )]
    CreateReplaces,
    /// An object was replaced by somebody who had read an older one.
    #[error(
        "it ignores preconditions: a write that named an older version of the object was taken, so that changes would be lost"
    )]
    StaleReplaces,
    /// A write that named the right version was refused.
    #[error(
        "it refuses a conditional write that names the right version ({0}), so that nothing could ever be changed"
    )]
    RightRefused(String),
    /// A read right after a write does not show it.
    #[error("it does not show what was just written ({0}): it is not consistent")]
    NotConsistent(&'static str),
}

impl BucketStore {
    /// Proves create-only, compare-and-swap, and that a read or listing shows what was just written.
    ///
    /// # Errors
    /// [`Broken`] says what the storage did instead.
    pub async fn probe(&self) -> Result<(), Broken> {
        let place = self
            .prefix
            .clone()
            .join("probe")
            .join(Uuid::new_v4().to_string());
        let outcome = self.examine(&place).await;
        let cleared = self.bucket.delete(&place).await;
        outcome?;
        cleared.map_err(|e| failed("delete", &place, &e))
    }

    async fn examine(&self, place: &Path) -> Result<(), Broken> {
        let put = |text: &'static str, mode: PutMode| {
            self.bucket
                .put_opts(place, text.into(), PutOptions::from(mode))
        };
        put("first", PutMode::Create)
            .await
            .map_err(|e| failed("create", place, &e))?;
        match put("second", PutMode::Create).await {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            Ok(_) => return Err(Broken::CreateReplaces),
            Err(error) => return Err(failed("create again", place, &error)),
        }
        let first = self.shows(place, b"first", Broken::CreateReplaces).await?;
        put("third", PutMode::Update(first.clone()))
            .await
            .map_err(|e| Broken::RightRefused(said(&e)))?;
        let changed = Broken::NotConsistent("a read after a change");
        self.shows(place, b"third", changed).await?;
        match put("fourth", PutMode::Update(first)).await {
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => {}
            Ok(_) => return Err(Broken::StaleReplaces),
            Err(error) => return Err(failed("change an older version", place, &error)),
        }
        self.shows(place, b"third", Broken::StaleReplaces).await?;
        let near = self.prefix.clone().join("probe");
        let listed = self.bucket.list_with_delimiter(Some(&near)).await;
        let listed = listed.map_err(|e| failed("list", place, &e))?;
        match listed
            .objects
            .iter()
            .any(|object| &object.location == place)
        {
            true => Ok(()),
            false => Err(Broken::NotConsistent("a listing after a write")),
        }
    }

    /// Reads the scratch object, which must hold this.
    async fn shows(
        &self,
        place: &Path,
        text: &[u8],
        otherwise: Broken,
    ) -> Result<UpdateVersion, Broken> {
        let got = match self.bucket.get(place).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => {
                return Err(Broken::NotConsistent("a read after a write"));
            }
            Err(error) => return Err(failed("read", place, &error)),
        };
        let at = UpdateVersion {
            e_tag: got.meta.e_tag.clone(),
            version: got.meta.version.clone(),
        };
        let bytes = got.bytes().await.map_err(|e| failed("read", place, &e))?;
        if bytes == text {
            Ok(at)
        } else {
            Err(otherwise)
        }
    }
}

fn failed(call: &'static str, place: &Path, error: &Error) -> Broken {
    Broken::Call {
        call,
        object: place.to_string(),
        said: said(error),
    }
}
