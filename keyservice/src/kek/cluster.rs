//! The `cluster` provider: every DEK is derived from one master secret that the operator gives at start.
//!
//! HKDF-SHA256 (RFC 5869) with the master secret as input keying material, a 32-byte salt, and
//! `key-` ‖ lowercase volume UUID as info, 32 bytes. Epochs after the first append `/epoch-N` to the info. Epoch 1 is
//! what Constellation derives for the same volume, so its volumes keep their keys.

use super::{Kek, KekError, WrappedDek};
use crate::store::Deferred;
use dawnkey_secret::{Dek, MasterSecret};
use hkdf::Hkdf;
use sha2::Sha256;
use uuid::Uuid;

/// Derives DEKs from a master secret.
pub struct ClusterKek {
    master: MasterSecret,
    salt: [u8; 32],
}

impl ClusterKek {
    /// The provider's name.
    pub const NAME: &'static str = "cluster";

    /// Derives from this secret and salt.
    #[must_use]
    pub fn new(master: MasterSecret, salt: [u8; 32]) -> Self {
        Self { master, salt }
    }

    /// The DEK of a volume and epoch.
    ///
    /// # Errors
    /// [`KekError::Provider`] if HKDF refuses, which it has no cause for.
    pub fn derive(&self, volume: Uuid, epoch: u32) -> Result<Dek, KekError> {
        let info = info(volume, epoch);
        Dek::fill(|dek| {
            Hkdf::<Sha256>::new(Some(&self.salt), self.master.expose())
                .expand(info.as_bytes(), dek)
                .map_err(|_| KekError::Provider("derive a DEK: HKDF refused its length".into()))
        })
    }
}

fn info(volume: Uuid, epoch: u32) -> String {
    let base = format!("key-{}", volume.hyphenated());
    if epoch > 1 {
        format!("{base}/epoch-{epoch}")
    } else {
        base
    }
}

impl Kek for ClusterKek {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn create(&self, _volume: Uuid, epoch: u32) -> Deferred<'_, Result<WrappedDek, KekError>> {
        Box::pin(async move {
            Ok(WrappedDek {
                epoch,
                provider: Self::NAME.to_owned(),
                blob: String::new(),
            })
        })
    }

    fn unwrap<'a>(
        &'a self,
        volume: Uuid,
        wrapped: &'a WrappedDek,
    ) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move { self.derive(volume, wrapped.epoch) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn derived(byte: u8, volume: &str, epoch: u32) -> String {
        let master = MasterSecret::take(&mut [byte; 32]).unwrap();
        let kek = ClusterKek::new(master, [byte; 32]);
        let volume = volume.parse().unwrap();
        hex::encode(kek.derive(volume, epoch).unwrap().expose())
    }

    #[test]
    fn derives_the_published_vector_of_ones() {
        assert_eq!(
            derived(0xff, "ffffffff-ffff-ffff-ffff-ffffffffffff", 1),
            "1484aa39d3415e906e07940ff215d8b1eee705d3027dba93306af4abff4f70be"
        );
    }

    #[test]
    fn derives_the_published_vector_of_zeros() {
        assert_eq!(
            derived(0x00, "00000000-0000-0000-0000-000000000000", 1),
            "2b5c829f691bfd4232f8aac464bccc07e605c7c8e82cbca09837e86d0b6d0665"
        );
    }

    #[test]
    fn volume_id_is_derived_from_in_lower_case() {
        let upper = "ABCDEFAB-CDEF-4BCD-8BCD-ABCDEFABCDEF";
        let volume: Uuid = upper.parse().unwrap();
        assert_eq!(info(volume, 1), format!("key-{}", upper.to_lowercase()));
        assert_eq!(
            info(volume, 7),
            format!("key-{}/epoch-7", upper.to_lowercase())
        );
    }

    #[test]
    fn every_epoch_has_its_own_dek() {
        let volume = "abcdefab-cdef-4bcd-8bcd-abcdefabcdef";
        assert_ne!(derived(1, volume, 1), derived(1, volume, 2));
        assert_ne!(derived(1, volume, 2), derived(1, volume, 3));
    }
}
