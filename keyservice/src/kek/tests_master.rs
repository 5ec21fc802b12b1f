//! Master secrets that come later: nothing without them, nothing with a wrong one.
#![allow(clippy::unwrap_used)]

use super::ring::RingRefusal;
use super::testing::{now, replica, volume};
use super::*;
use crate::approval::Approval;
use crate::config::KekConfig;
use crate::records::Records;
use dawnkey_kek::fake::Fake;
use dawnkey_kek::{Aad, Cause, Provider, Retry};
use dawnkey_secret::{Dek, MasterSecret};
use dawnkey_store::{MemoryStore, Store};
use std::sync::Arc;
use std::time::Duration;

fn secret(byte: u8) -> MasterSecret {
    MasterSecret::take(&mut [byte; 32]).unwrap()
}

/// One replica with a `cluster` provider that waits for an operator, over a store.
async fn waiting(store: &Arc<dyn Store>) -> KeyRing {
    with(store, "operator", None).await
}

async fn with(store: &Arc<dyn Store>, source: &str, master: Option<MasterSecret>) -> KeyRing {
    ring(store, source, master).await.unwrap()
}

async fn opened(source: &str, master: Option<MasterSecret>) -> Arc<dyn Provider> {
    let salt = "03".repeat(32);
    let config = KekConfig::for_test(&format!(
        "[[provider]]\nname = \"cluster\"\nkind = \"cluster\"\nsalt = \"{salt}\"\nmaster_secret = \"{source}\"\n"
    ));
    let section = config.providers.first().unwrap();
    section.config.open("cluster", master).await.unwrap()
}

async fn ring(
    store: &Arc<dyn Store>,
    source: &str,
    master: Option<MasterSecret>,
) -> Result<KeyRing, RingError> {
    let provider = opened(source, master).await;
    let settings = Settings {
        first_active: "cluster".into(),
        ..Settings::default()
    };
    let seat = Seat::new(provider, Duration::from_secs(5), false).unwrap();
    let records = Records::new(Arc::clone(store));
    let ring = KeyRing::new(vec![seat], settings, records, Arc::new(now));
    ring.join().await?;
    Ok(ring)
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

async fn dek(ring: &KeyRing, id: Uuid) -> Result<Dek, RingError> {
    let deks = ring.records.volume(id).await.unwrap().record.deks;
    ring.dek(Approval::for_test(id, 1), &deks).await
}

#[tokio::test]
async fn nothing_is_made_or_opened_before_the_secret_and_all_after_it() {
    let store = store();
    let before = with(&store, "fd", Some(secret(1))).await;
    let id = volume(&before, 1).await;
    let expected = dek(&before, id).await.unwrap();
    let ring = waiting(&store).await;
    assert_eq!(ring.seats()[0].readiness(), Readiness::Waiting);
    assert_eq!(ring.waiting(), ["cluster"]);
    let refused = dek(&ring, id).await.unwrap_err();
    assert_eq!(refused.retry(), Retry::Later);
    let RingError::Unwrap { failures, .. } = refused else {
        unreachable!("{refused}");
    };
    assert_eq!(failures[0].cause, Cause::Waiting);
    let made = ring.create(Uuid::from_u128(2), 1).await.unwrap_err();
    assert!(matches!(made, RingError::Provider(e) if e.cause == Cause::Waiting));
    assert!(!doctor::examine(&ring.seats()[0]).await.good());
    let given = ring.give_master("cluster", secret(1)).await.unwrap();
    let expected_given = Given {
        already: false,
        first: false,
    };
    assert_eq!(given, expected_given);
    assert_eq!(ring.seats()[0].readiness(), Readiness::Ready);
    assert!(ring.waiting().is_empty());
    assert_eq!(dek(&ring, id).await.unwrap(), expected);
}

#[tokio::test]
async fn refuses_another_secret_before_and_after_the_right_one_and_takes_the_same_again() {
    let store = store();
    with(&store, "fd", Some(secret(1))).await;
    let ring = waiting(&store).await;
    let other = RingError::Refused(RingRefusal::OtherMaster("cluster".into()));
    let refused = ring.give_master("cluster", secret(2)).await.unwrap_err();
    assert_eq!(refused, other);
    assert_eq!(ring.waiting(), ["cluster"], "a wrong secret stayed");
    ring.give_master("cluster", secret(1)).await.unwrap();
    let again = ring.give_master("cluster", secret(1)).await.unwrap();
    assert!(again.already);
    let refused = ring.give_master("cluster", secret(2)).await.unwrap_err();
    assert_eq!(refused, other);
}

#[tokio::test]
async fn the_first_secret_of_a_store_is_the_only_one_for_every_replica_and_source() {
    let store = store();
    let (one, two) = (waiting(&store).await, waiting(&store).await);
    assert!(!one.masters().await.unwrap()[0].known);
    let given = one.give_master("cluster", secret(1)).await.unwrap();
    assert!(given.first);
    let refused = two.give_master("cluster", secret(2)).await.unwrap_err();
    let other = RingError::Refused(RingRefusal::OtherMaster("cluster".into()));
    assert_eq!(refused, other);
    let started = ring(&store, "fd", Some(secret(2))).await.err().unwrap();
    assert_eq!(started, other);
    assert!(two.masters().await.unwrap()[0].known);
    two.give_master("cluster", secret(1)).await.unwrap();
}

#[tokio::test]
async fn refuses_to_believe_the_first_secret_when_deks_are_there_already() {
    let store = store();
    let ring = waiting(&store).await;
    let id = Uuid::from_u128(1);
    let foreign = WrappedDek::derived("cluster", 1);
    let record =
        crate::volume::VolumeRecord::new(id, "state".into(), String::new(), foreign, now());
    ring.records.create_volume(&record).await.unwrap();
    let refused = ring.give_master("cluster", secret(1)).await.unwrap_err();
    assert_eq!(
        refused,
        RingError::Refused(RingRefusal::NoCheck("cluster".into()))
    );
    assert_eq!(ring.waiting(), ["cluster"]);
}

#[tokio::test]
async fn refuses_secret_for_a_provider_that_has_none_or_is_none() {
    let store = store();
    let fake = Fake::new("a");
    let ring = replica(&[&fake], &store, |_| {});
    ring.join().await.unwrap();
    for (name, expected) in [
        ("a", RingRefusal::NoMaster("a".into())),
        ("b", RingRefusal::Unknown("b".into())),
    ] {
        let refused = ring.give_master(name, secret(1)).await.unwrap_err();
        assert_eq!(refused, RingError::Refused(expected));
    }
    assert!(ring.masters().await.unwrap().is_empty());
}

#[tokio::test]
async fn another_provider_that_wrapped_the_same_dek_opens_it_meanwhile() {
    let store = store();
    let before = with(&store, "fd", Some(secret(1))).await;
    let id = volume(&before, 1).await;
    let clear = dek(&before, id).await.unwrap();
    let mut record = before.records.volume(id).await.unwrap();
    let fake = Fake::new("a");
    let beside = replica(&[&fake], &store, |_| {});
    beside.join().await.unwrap();
    let aad = Aad::new(id, 1);
    let wrap = beside.seats()[0].wrap(&clear, &aad).await.unwrap();
    record.record.deks[0].wraps.push(wrap);
    let cluster = opened("operator", None).await;
    let seats = vec![
        Seat::new(cluster, Duration::from_secs(5), false).unwrap(),
        Seat::new(Arc::new(fake), Duration::from_secs(5), false).unwrap(),
    ];
    let records = Records::new(Arc::clone(&store));
    let ring = KeyRing::new(seats, Settings::default(), records, Arc::new(now));
    let opened = ring
        .dek(Approval::for_test(id, 1), &record.record.deks)
        .await;
    assert_eq!(opened.unwrap(), clear);
}
