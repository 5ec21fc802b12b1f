//! The port to whatever holds the key-encryption key, and the ring that turns an [`Approval`] into a DEK.
//!
//! Nothing but [`KeyRing::dek`] yields a DEK, and it takes an [`Approval`], which only policy (for an
//! attested node) or a mutual-TLS connection of an operator can make.

mod cluster;

pub use cluster::ClusterKek;

use crate::approval::Approval;
use crate::store::Deferred;
use dawnkey_secret::Dek;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// A DEK as the store keeps it: wrapped by a provider, or derivable by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedDek {
    /// The epoch whose DEK this is.
    pub epoch: u32,
    /// The provider that can unwrap it.
    pub provider: String,
    /// The wrapped key in hex; empty when the provider derives it.
    pub blob: String,
}

/// A DEK could not be made or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KekError {
    /// The record has no DEK of that epoch. It is never made anew.
    #[error("unwrap the DEK of volume {volume}: the record has none of epoch {epoch}")]
    NoDek {
        /// The volume.
        volume: Uuid,
        /// The epoch asked for.
        epoch: u32,
    },
    /// The DEK was wrapped by a provider that is not configured.
    #[error(
        "unwrap the DEK of volume {volume}: it needs the provider `{provider}`, which is not configured"
    )]
    NoProvider {
        /// The volume.
        volume: Uuid,
        /// The provider named in the record.
        provider: String,
    },
    /// The provider failed.
    #[error("use the key-encryption key: {0}")]
    Provider(String),
}

/// Makes and unwraps DEKs. Volume id and epoch are authenticated with every one.
pub trait Kek: Send + Sync {
    /// The provider's name, `cluster`.
    fn name(&self) -> &'static str;

    /// Makes the DEK of a new epoch and returns it as the store shall keep it.
    fn create(&self, volume: Uuid, epoch: u32) -> Deferred<'_, Result<WrappedDek, KekError>>;

    /// Gives the DEK in clear.
    fn unwrap<'a>(
        &'a self,
        volume: Uuid,
        wrapped: &'a WrappedDek,
    ) -> Deferred<'a, Result<Dek, KekError>>;
}

/// The configured providers: one makes DEKs, all can unwrap.
pub struct KeyRing {
    active: Arc<dyn Kek>,
}

impl KeyRing {
    /// A ring with one provider.
    #[must_use]
    pub fn new(active: Arc<dyn Kek>) -> Self {
        Self { active }
    }

    /// Name of the active provider.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.active.name()
    }

    /// Makes the wrapped DEK of a new volume or epoch.
    pub async fn create(&self, volume: Uuid, epoch: u32) -> Result<WrappedDek, KekError> {
        self.active.create(volume, epoch).await
    }

    /// The DEK of the volume and epoch that the approval is for, out of the volume's `deks`. Uses the approval up.
    pub async fn dek(&self, approval: Approval, deks: &[WrappedDek]) -> Result<Dek, KekError> {
        let (volume, epoch) = (approval.volume(), approval.epoch());
        let wrapped = deks
            .iter()
            .find(|dek| dek.epoch == epoch)
            .ok_or(KekError::NoDek { volume, epoch })?;
        if wrapped.provider != self.active.name() {
            return Err(KekError::NoProvider {
                volume,
                provider: wrapped.provider.clone(),
            });
        }
        self.active.unwrap(volume, wrapped).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_secret::MasterSecret;

    fn ring() -> KeyRing {
        let master = MasterSecret::take(&mut [1; 32]).unwrap();
        KeyRing::new(Arc::new(ClusterKek::new(master, [2; 32])))
    }

    #[tokio::test]
    async fn refuses_to_make_a_missing_dek_anew() {
        let volume = Uuid::from_u128(1);
        let approval = Approval::for_test(volume, 1);
        assert_eq!(
            ring().dek(approval, &[]).await.unwrap_err(),
            KekError::NoDek { volume, epoch: 1 }
        );
    }

    #[tokio::test]
    async fn refuses_dek_of_a_provider_that_is_not_configured() {
        let volume = Uuid::from_u128(1);
        let foreign = WrappedDek {
            epoch: 1,
            provider: "aws".into(),
            blob: "00".into(),
        };
        let refused = ring()
            .dek(Approval::for_test(volume, 1), &[foreign])
            .await
            .unwrap_err();
        assert!(matches!(refused, KekError::NoProvider { provider, .. } if provider == "aws"));
    }

    #[tokio::test]
    async fn dek_is_the_one_of_the_approved_volume_and_epoch() {
        let (ring, volume) = (ring(), Uuid::from_u128(1));
        let deks = [
            ring.create(volume, 1).await.unwrap(),
            ring.create(volume, 2).await.unwrap(),
        ];
        let first = ring
            .dek(Approval::for_test(volume, 1), &deks)
            .await
            .unwrap();
        let again = ring
            .dek(Approval::for_test(volume, 1), &deks)
            .await
            .unwrap();
        let second = ring
            .dek(Approval::for_test(volume, 2), &deks)
            .await
            .unwrap();
        let other = Approval::for_test(Uuid::from_u128(2), 1);
        assert_eq!(first, again);
        assert_ne!(first, second);
        assert_ne!(first, ring.dek(other, &deks).await.unwrap());
    }
}
