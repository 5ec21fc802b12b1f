//! What identifies a cluster, as in Constellation: an id derived from the measurement secret, which nodes measure into
//! PCR 15 or RTMR 2 after their unlock, so that evidence of one cluster's nodes is not taken for another's.
//!
//! The measurement secret is the data key `measurementSecret`, 32 bytes. The cluster id is HKDF-SHA256 of it with a salt
//! that was chosen when the cluster was made, info `key-clusterID`, 32 bytes; it is no secret. A register that was
//! zero shows hash(zeros ‖ hash(cluster id)) after it was extended with the cluster id.

use super::desk::DataKeyError;
use crate::approval::Approval;
use crate::audit::Entry;
use crate::desk::{AdminError, Desk};
use crate::keys::Purpose;
use crate::policy::MEASUREMENT_SECRET;
use crate::server::Operator;
use dawnkey_secret::DataKey;
use dawnkey_store::StoreError;
use hkdf::Hkdf;
use sha2::{Digest, Sha256, Sha384};

const INFO: &[u8] = b"key-clusterID";
/// Bytes of the measurement secret.
const LENGTH: u32 = 32;

/// A cluster's id and what it leaves in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterId {
    /// The id.
    pub id: [u8; 32],
    /// PCR 15 of the SHA-256 bank, zero before.
    pub pcr15: [u8; 32],
    /// RTMR 2, zero before.
    pub rtmr2: [u8; 48],
}

impl ClusterId {
    /// Of a measurement secret and the cluster's salt; `None` if HKDF refuses, which it has no cause for.
    #[must_use]
    pub fn derive(secret: &DataKey, salt: &[u8]) -> Option<Self> {
        let mut id = [0; 32];
        Hkdf::<Sha256>::new(Some(salt), secret.expose())
            .expand(INFO, &mut id)
            .ok()?;
        let pcr15 = Sha256::new()
            .chain_update([0; 32])
            .chain_update(Sha256::digest(id))
            .finalize();
        let rtmr2 = Sha384::new()
            .chain_update([0; 48])
            .chain_update(Sha384::digest(id))
            .finalize();
        Some(Self {
            id,
            pcr15: pcr15.into(),
            rtmr2: rtmr2.into(),
        })
    }
}

impl From<DataKeyError> for AdminError {
    fn from(error: DataKeyError) -> Self {
        let unavailable = StoreError::Unavailable;
        match error {
            DataKeyError::Unavailable(text) => Self::Store(unavailable(text)),
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl Desk {
    /// The cluster's id for a salt. The first call makes the measurement secret, where the KEK does not determine it.
    pub async fn cluster_id(
        &self,
        operator: &Operator,
        salt: &[u8],
    ) -> Result<ClusterId, AdminError> {
        let purpose = Purpose::DataKey(MEASUREMENT_SECRET.to_owned());
        let (record, made) = match self.records.key(&purpose).await {
            Ok(found) => (found.record, false),
            Err(StoreError::Missing { .. }) => {
                let made = self
                    .make_data_key(purpose, MEASUREMENT_SECRET, LENGTH)
                    .await?;
                (made, true)
            }
            Err(other) => return Err(AdminError::Store(other)),
        };
        let approve = |epoch| Approval::for_operators_key(&record, epoch, operator);
        let secret = self
            .assemble(&record, MEASUREMENT_SECRET, LENGTH, approve)
            .await?;
        let derived = ClusterId::derive(&secret, salt)
            .ok_or_else(|| AdminError::Invalid("HKDF refused".into()))?;
        let entry = Entry::new("cluster-id")
            .with("operator", operator.certificate().to_owned())
            .with("peer", operator.peer().to_string())
            .with("cluster_id", hex::encode(derived.id))
            .with_some("created", made.then_some(true));
        self.audit.append(entry).await?;
        Ok(derived)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::desk::testing::World;
    use crate::policy::testing::FILE;
    use dawnkey_kek::cluster::Cluster;
    use dawnkey_secret::MasterSecret;

    /// Computed with Python's hmac and hashlib from the formulas above.
    #[test]
    fn ids_and_registers_are_those_of_the_formulas() {
        let master = MasterSecret::take(&mut [0xff; 32]).unwrap();
        let cluster = Cluster::new("cluster", master, [0xff; 32]);
        let secret = cluster.named(MEASUREMENT_SECRET, 32).unwrap();
        assert_eq!(
            hex::encode(secret.expose()),
            "150b56a6b689a0b11c8b03e4bf069adc32983b7e09e337eb4424036c54b05323"
        );
        let derived = ClusterId::derive(&secret, &[0xff; 32]).unwrap();
        assert_eq!(
            hex::encode(derived.id),
            "ba31c68c5d5b7e8532a1d892424bc7e9c37aa74bfb9a48c3ec7e8a86b990331e"
        );
        assert_eq!(
            hex::encode(derived.pcr15),
            "0c38d6a937a38abd255eb40b9af3e920a9bbb23d3b9b8484e95d6126ef016965"
        );
        assert_eq!(
            hex::encode(derived.rtmr2),
            "eedf8fdda0eac17be754993a7df1af80b1d8cb9e4df2bd651f8cd26928592c2ce38915637f0860ad7e423e0bd1cf9f60"
        );
    }

    #[tokio::test]
    async fn the_service_gives_the_id_of_its_own_measurement_secret_each_time() {
        let world = World::new(FILE).await;
        let operator = Operator::for_test();
        let expected = "e26e2523b8fd76453f297aa6402d0ab2667e818122a0b27f6b98f6ee97f0babc";
        for _ in 0..2 {
            let derived = world.desk.cluster_id(&operator, &[3; 32]).await.unwrap();
            assert_eq!(hex::encode(derived.id), expected);
        }
        let other = world.desk.cluster_id(&operator, &[4; 32]).await.unwrap();
        assert_ne!(hex::encode(other.id), expected);
        let events = world.records();
        let made = events.iter().filter(|r| r.fields.contains_key("created"));
        assert_eq!(made.count(), 1);
    }
}
