//! Keys that are determined by a name, and wrapping keys that were not made here.

use super::{KeyRing, RingError, WrappedDek};
use dawnkey_kek::Aad;
use dawnkey_secret::{DataKey, Dek};
use uuid::Uuid;

impl KeyRing {
    /// The key of a name and length, where the active KEK determines it.
    pub fn derive_named(&self, name: &str, length: usize) -> Option<Result<DataKey, RingError>> {
        let active = self.seat(&self.name())?.provider();
        let derived = active.derive_named(name, length)?;
        Some(derived.map_err(RingError::from))
    }

    /// Wraps a given key for an owner and epoch, like [`KeyRing::create`].
    ///
    /// # Errors
    /// Like [`KeyRing::create`].
    pub async fn wrap(&self, dek: &Dek, owner: Uuid, epoch: u32) -> Result<WrappedDek, RingError> {
        let wrappers = self.wrappers().await?;
        self.wrapped_by(&wrappers, dek, Aad::new(owner, epoch))
            .await
    }
}
