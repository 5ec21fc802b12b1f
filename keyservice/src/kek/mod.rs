//! Wrapped DEKs as records keep them, and the ring of providers that turns an [`Approval`] into a DEK.
//!
//! Nothing but [`KeyRing::dek`] yields a DEK, and it takes an [`Approval`], which only policy (for an
//! attested node) or a mutual-TLS connection of an operator can make.

mod named;

use crate::approval::Approval;
use dawnkey_kek::{Aad, KekError, Provider};
use dawnkey_secret::Dek;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// The DEK of one epoch as the store keeps it: wrapped by one provider or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedDek {
    /// The epoch whose DEK this is.
    pub epoch: u32,
    /// The same DEK, wrapped; each alone is enough.
    pub wraps: Vec<Wrap>,
}

/// A DEK wrapped by one provider, or derivable by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrap {
    /// Name of the provider that can unwrap it.
    pub provider: String,
    /// The wrapped key; empty when the provider derives it.
    #[serde(with = "hex::serde")]
    pub blob: Vec<u8>,
    /// Version of the KEK, where the provider names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl WrappedDek {
    /// What `provider` derives by itself.
    #[must_use]
    pub fn derived(provider: &str, epoch: u32) -> Self {
        let wrap = Wrap {
            provider: provider.to_owned(),
            blob: Vec::new(),
            version: None,
        };
        Self {
            epoch,
            wraps: vec![wrap],
        }
    }
}

/// A DEK could not be made or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The record has no DEK of that epoch. It is never made anew.
    #[error("unwrap the DEK of volume {volume}: the record has none of epoch {epoch}")]
    NoDek {
        /// The volume.
        volume: Uuid,
        /// The epoch asked for.
        epoch: u32,
    },
    /// The DEK was wrapped by providers that are not configured.
    #[error(
        "unwrap the DEK of volume {volume}: it needs the provider `{provider}`, which is not configured"
    )]
    NoProvider {
        /// The volume.
        volume: Uuid,
        /// The providers named in the record.
        provider: String,
    },
    /// There are no random bytes.
    #[error("make a DEK: the random generator of this system does not work")]
    NoRandom,
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] KekError),
}

/// The configured providers: one makes DEKs, all can unwrap.
pub struct KeyRing {
    active: Arc<dyn Provider>,
}

impl KeyRing {
    /// A ring with one provider.
    #[must_use]
    pub fn new(active: Arc<dyn Provider>) -> Self {
        Self { active }
    }

    /// Name of the active provider.
    #[must_use]
    pub fn name(&self) -> &str {
        self.active.name()
    }

    /// Makes the DEK of a new volume or epoch and wraps it.
    pub async fn create(&self, volume: Uuid, epoch: u32) -> Result<WrappedDek, RingError> {
        let aad = Aad::new(volume, epoch);
        if let Some(derived) = self.active.derive(&aad) {
            derived?;
            return Ok(WrappedDek::derived(self.name(), epoch));
        }
        let dek =
            Dek::fill(|bytes| aws_lc_rs::rand::fill(bytes)).map_err(|_| RingError::NoRandom)?;
        let wrapped = self.active.wrap(&dek, &aad).await?;
        let wrap = Wrap {
            provider: self.name().to_owned(),
            blob: wrapped.blob,
            version: wrapped.version,
        };
        Ok(WrappedDek {
            epoch,
            wraps: vec![wrap],
        })
    }

    /// The DEK of the volume and epoch that the approval is for, out of the volume's `deks`. Uses the approval up.
    pub async fn dek(&self, approval: Approval, deks: &[WrappedDek]) -> Result<Dek, RingError> {
        let (volume, epoch) = (approval.volume(), approval.epoch());
        let wrapped = deks
            .iter()
            .find(|dek| dek.epoch == epoch)
            .ok_or(RingError::NoDek { volume, epoch })?;
        let ours = |wrap: &&Wrap| wrap.provider == self.active.name();
        let wrap = wrapped.wraps.iter().find(ours).ok_or_else(|| {
            let names: Vec<&str> = wrapped.wraps.iter().map(|w| w.provider.as_str()).collect();
            RingError::NoProvider {
                volume,
                provider: names.join("`, `"),
            }
        })?;
        let aad = Aad::new(volume, epoch);
        Ok(self.active.unwrap(&wrap.blob, &aad).await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_kek::cluster::Cluster;
    use dawnkey_secret::MasterSecret;

    fn ring() -> KeyRing {
        let master = MasterSecret::take(&mut [1; 32]).unwrap();
        KeyRing::new(Arc::new(Cluster::new("cluster", master, [2; 32])))
    }

    #[tokio::test]
    async fn refuses_to_make_a_missing_dek_anew() {
        let volume = Uuid::from_u128(1);
        let approval = Approval::for_test(volume, 1);
        assert_eq!(
            ring().dek(approval, &[]).await.unwrap_err(),
            RingError::NoDek { volume, epoch: 1 }
        );
    }

    #[tokio::test]
    async fn refuses_dek_of_a_provider_that_is_not_configured() {
        let volume = Uuid::from_u128(1);
        let foreign = WrappedDek::derived("aws", 1);
        let refused = ring()
            .dek(Approval::for_test(volume, 1), &[foreign])
            .await
            .unwrap_err();
        assert!(matches!(refused, RingError::NoProvider { provider, .. } if provider == "aws"));
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
