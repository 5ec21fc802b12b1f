//! What the ring gives and what it refuses, with several providers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::ring::{RingRefusal, State};
use super::testing::{now, replica, volume};
use super::*;
use crate::approval::Approval;
use crate::records::Records;
use crate::volume::Digest32;
use dawnkey_kek::cluster::Cluster;
use dawnkey_kek::fake::Fake;
use dawnkey_kek::recovery::RecoveryKey;
use dawnkey_kek::{Aad, Cause};
use dawnkey_secret::MasterSecret;
use dawnkey_store::{MemoryStore, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

fn approval(id: Uuid) -> Approval {
    Approval::for_test(id, 1)
}

async fn deks(ring: &KeyRing, id: Uuid) -> Vec<WrappedDek> {
    ring.records.volume(id).await.unwrap().record.deks
}

/// A replica with both providers, a volume that both have wrapped.
async fn wrapped_by_two() -> (Fake, Fake, Arc<KeyRing>, Uuid) {
    let (a, b) = (Fake::new("a"), Fake::new("b"));
    let ring = replica(&[&a, &b], &store(), |s| s.also_wrap = vec!["b".into()]);
    ring.join().await.unwrap();
    let id = volume(&ring, 1).await;
    assert_eq!(deks(&ring, id).await[0].wraps.len(), 2);
    (a, b, ring, id)
}

async fn cluster() -> KeyRing {
    let master = MasterSecret::take(&mut [1; 32]).unwrap();
    let provider = Arc::new(Cluster::new("cluster", master, [2; 32]));
    KeyRing::of_one(provider, Records::new(store())).await
}

#[tokio::test]
async fn refuses_to_make_a_missing_dek_anew() {
    let volume = Uuid::from_u128(1);
    let refused = cluster().await.dek(approval(volume), &[]).await;
    assert_eq!(refused.unwrap_err(), RingError::NoDek { volume, epoch: 1 });
}

#[tokio::test]
async fn refuses_dek_of_a_provider_that_is_not_configured() {
    let id = Uuid::from_u128(1);
    let foreign = WrappedDek::derived("aws", 1);
    let refused = cluster().await.dek(approval(id), &[foreign]).await;
    assert!(matches!(refused, Err(RingError::NoProvider { provider, .. }) if provider == "aws"));
}

#[tokio::test]
async fn dek_is_the_one_of_the_approved_volume_and_epoch() {
    let (ring, volume) = (cluster().await, Uuid::from_u128(1));
    let deks = [
        ring.create(volume, 1).await.unwrap(),
        ring.create(volume, 2).await.unwrap(),
    ];
    let dek = async |volume, epoch| {
        let approval = Approval::for_test(volume, epoch);
        ring.dek(approval, &deks).await.unwrap()
    };
    let first = dek(volume, 1).await;
    assert_eq!(first, dek(volume, 1).await);
    assert_ne!(first, dek(volume, 2).await);
    assert_ne!(first, dek(Uuid::from_u128(2), 1).await);
}

#[tokio::test]
async fn a_provider_that_is_down_is_covered_by_another_and_tried_last_until_it_is_back() {
    let (a, b, ring, id) = wrapped_by_two().await;
    let all = deks(&ring, id).await;
    let dek = ring.dek(approval(id), &all).await.unwrap();
    a.fail(Some(Cause::Unreachable));
    assert_eq!(ring.dek(approval(id), &all).await.unwrap(), dek);
    assert_eq!(ring.seats()[0].readiness(), Readiness::Failing);
    let before = a.calls();
    assert_eq!(ring.dek(approval(id), &all).await.unwrap(), dek);
    assert_eq!(a.calls(), before, "a failing provider was asked first");
    a.fail(None);
    b.fail(Some(Cause::Unreachable));
    assert_eq!(ring.dek(approval(id), &all).await.unwrap(), dek);
    assert_eq!(ring.seats()[0].readiness(), Readiness::Ready);
}

#[tokio::test]
async fn a_slow_provider_is_overtaken_and_a_dead_one_ends_at_its_deadline() {
    let (a, b, ring, id) = wrapped_by_two().await;
    let all = deks(&ring, id).await;
    a.slow(Duration::from_secs(3600));
    let began = Instant::now();
    ring.dek(approval(id), &all).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
    b.fail(Some(Cause::Denied { permission: None }));
    let error = ring.dek(approval(id), &all).await.unwrap_err();
    let RingError::Unwrap { failures, .. } = &error else {
        unreachable!("{error}");
    };
    assert!(failures.iter().any(|f| f.cause == Cause::Deadline));
    assert_eq!(error.retry(), Retry::Later);
}

#[tokio::test]
async fn a_damaged_wrap_does_not_keep_the_good_one_from_opening() {
    let (_, _, ring, id) = wrapped_by_two().await;
    let mut all = deks(&ring, id).await;
    let dek = ring.dek(approval(id), &all).await.unwrap();
    all[0].wraps[0].blob[20] ^= 1;
    assert_eq!(ring.dek(approval(id), &all).await.unwrap(), dek);
    assert_eq!(ring.seats()[0].readiness(), Readiness::Ready);
    all[0].wraps[1].blob[20] ^= 1;
    let error = ring.dek(approval(id), &all).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn error_classes_reach_the_caller_the_most_hopeful_first() {
    let (a, b, ring, id) = wrapped_by_two().await;
    let all = deks(&ring, id).await;
    let after = Some(Duration::from_secs(17));
    for (one, two, expected, seconds) in [
        (
            Cause::Disabled,
            Cause::Throttled { after },
            Retry::Later,
            Some(17),
        ),
        (Cause::Disabled, Cause::NoSuchKey, Retry::Operator, None),
        (Cause::NotAuthentic, Cause::Disabled, Retry::Operator, None),
        (Cause::NotAuthentic, Cause::WrongKey, Retry::Never, None),
    ] {
        a.fail(Some(one));
        b.fail(Some(two));
        let error = ring.dek(approval(id), &all).await.unwrap_err();
        assert_eq!((error.retry(), error.after()), (expected, seconds));
    }
}

#[test]
fn refuses_a_provider_without_aad_unless_it_is_allowed() {
    let seat = |allow| {
        let provider = Arc::new(Fake::new("a").without_aad());
        Seat::new(provider, Duration::from_secs(1), allow)
    };
    let refused = seat(false).err().unwrap();
    assert_eq!(refused.cause, Cause::Misconfigured);
    assert!(refused.detail.contains("allow_without_aad"));
    assert!(seat(true).is_ok());
}

#[tokio::test]
async fn refuses_to_make_a_dek_when_one_of_its_wrappers_fails() {
    let (_, b, ring, _) = wrapped_by_two().await;
    b.fail(Some(Cause::Unreachable));
    let refused = ring.create(Uuid::from_u128(2), 1).await.unwrap_err();
    assert_eq!(refused.retry(), Retry::Later);
}

#[tokio::test]
async fn replicas_share_one_ring_and_learn_of_a_rotation_before_they_wrap() {
    let (a, b, store) = (Fake::new("a"), Fake::new("b"), store());
    let one = replica(&[&a, &b], &store, |_| ());
    // The other replica names another provider as the first: too late.
    let two = replica(&[&b, &a], &store, |_| ());
    one.join().await.unwrap();
    two.join().await.unwrap();
    assert_eq!(two.name(), "a");
    one.rotate("b").await.unwrap();
    let dek = two.create(Uuid::from_u128(1), 1).await.unwrap();
    assert_eq!(dek.wraps[0].provider, "b");
    assert_eq!(two.name(), "b");
}

#[tokio::test]
async fn refuses_to_rotate_to_a_provider_that_does_not_work_or_is_not_here() {
    let (a, b, ring, _) = wrapped_by_two().await;
    b.fail(Some(Cause::Denied { permission: None }));
    assert!(matches!(
        ring.rotate("b").await,
        Err(RingError::Provider(_))
    ));
    let refused = ring.rotate("z").await.unwrap_err();
    assert_eq!(
        refused,
        RingError::Refused(RingRefusal::Unknown("z".into()))
    );
    assert_eq!(ring.ring().await.unwrap().active(), Some("a"));
    a.fail(Some(Cause::Unreachable));
    b.fail(None);
    ring.rotate("b").await.unwrap();
    let ring = ring.ring().await.unwrap();
    assert_eq!(ring.members[0].state, State::Rekeying);
}

fn node(id: Uuid, may_cache: bool) -> Approval {
    let dek = WrappedDek::derived("a", 1);
    let record = crate::volume::VolumeRecord::new(id, "state".into(), String::new(), dek, now());
    let node = crate::approval::Node {
        instance: Digest32([1; 32]),
        takes_over: false,
        boot: None,
        reopens: false,
        may_cache,
    };
    Approval::for_node(&record, node)
}

#[tokio::test]
async fn the_cache_answers_a_node_while_the_kms_is_down_unless_policy_forbids_it() {
    let a = Fake::new("a");
    let ring = replica(&[&a], &store(), |_| ());
    ring.join().await.unwrap();
    let id = volume(&ring, 1).await;
    let all = deks(&ring, id).await;
    let dek = ring.dek(node(id, true), &all).await.unwrap();
    a.fail(Some(Cause::Unreachable));
    assert_eq!(ring.dek(node(id, true), &all).await.unwrap(), dek);
    assert!(ring.dek(node(id, false), &all).await.is_err());
    assert!(ring.dek(approval(id), &all).await.is_err());
    assert_eq!(ring.cache_counts(), (1, 1, 1));
    ring.forget();
    assert!(ring.dek(node(id, true), &all).await.is_err());
}

#[tokio::test]
async fn a_lost_kms_does_not_lose_the_disks() {
    let (lost, store) = (Fake::new("lost"), store());
    let key = RecoveryKey::generate().unwrap();
    let recipient = key.recipient().unwrap();
    let with = |fakes: &[&Fake]| replica(fakes, &store, |s| s.recovery = Some(recipient.clone()));
    let before = with(&[&lost]);
    before.join().await.unwrap();
    let id = volume(&before, 1).await;
    let dek = before
        .dek(approval(id), &deks(&before, id).await)
        .await
        .unwrap();
    // The KMS is gone for ever, and another service stands over the same store with another one.
    let new = Fake::new("new");
    let after = with(&[&new]);
    after.join().await.unwrap();
    after.rotate("new").await.unwrap();
    let all = deks(&after, id).await;
    assert!(after.dek(approval(id), &all).await.is_err());
    let recovery = all[0].recovery.as_ref().unwrap();
    assert_eq!(recovery.recipient, recipient.fingerprint());
    let opened = key.open(&recovery.sealed, &Aad::new(id, 1)).unwrap();
    let restored = after.wrap(&opened, id, 1).await.unwrap();
    assert_eq!(restored.wraps[0].provider, "new");
    assert_eq!(after.dek(approval(id), &[restored]).await.unwrap(), dek);
}
