//! Rings and replicas for tests.
#![allow(clippy::unwrap_used)]

use super::keyring::{KeyRing, Settings};
use super::seat::Seat;
use crate::records::Records;
use crate::volume::VolumeRecord;
use dawnkey_kek::Provider;
use dawnkey_kek::fake::Fake;
use dawnkey_store::Store;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

impl KeyRing {
    /// A ring with one provider.
    pub(crate) async fn of_one(provider: Arc<dyn Provider>, records: Records) -> Self {
        let settings = Settings {
            first_active: provider.name().to_owned(),
            ..Settings::default()
        };
        let seat = Seat::new(provider, Duration::from_secs(5), false).unwrap();
        let ring = Self::new(vec![seat], settings, records, Arc::new(now));
        ring.join().await.unwrap();
        ring
    }
}

/// One replica: a ring of fakes over a store, the first one active while the store knows no ring.
pub(super) fn replica(
    fakes: &[&Fake],
    store: &Arc<dyn Store>,
    change: impl FnOnce(&mut Settings),
) -> Arc<KeyRing> {
    let seats = fakes
        .iter()
        .map(|fake| {
            let provider: Arc<dyn Provider> = Arc::new((*fake).clone());
            Seat::new(provider, Duration::from_millis(400), false).unwrap()
        })
        .collect();
    let mut settings = Settings {
        first_active: fakes[0].name().to_owned(),
        ..Settings::default()
    };
    change(&mut settings);
    let records = Records::new(Arc::clone(store));
    Arc::new(KeyRing::new(seats, settings, records, Arc::new(now)))
}

/// Makes a volume with one DEK.
pub(super) async fn volume(ring: &KeyRing, id: u128) -> Uuid {
    let id = Uuid::from_u128(id);
    let dek = ring.create(id, 1).await.unwrap();
    let record = VolumeRecord::new(id, "state".into(), String::new(), dek, now());
    ring.records.create_volume(&record).await.unwrap();
    id
}
