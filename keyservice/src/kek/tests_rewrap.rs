//! A rewrap ends with every DEK where it belongs, wherever it was broken off and whoever else does the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::ring::{RingRefusal, State};
use super::testing::{replica, volume};
use super::*;
use crate::approval::Approval;
use crate::keys::{KeyRecord, Purpose};
use crate::volume::VolumeRecord;
use dawnkey_kek::Cause;
use dawnkey_kek::fake::Fake;
use dawnkey_kek::recovery::RecoveryKey;
use dawnkey_secret::Dek;
use dawnkey_store::{Deferred, MemoryStore, Rows, Store, Stored, Table};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const VOLUMES: u128 = 3;

/// A store that works so many times and then never again.
struct Failing {
    inner: Arc<dyn Store>,
    left: AtomicI64,
}

impl Failing {
    fn may(&self) -> Result<(), StoreError> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => Ok(()),
            _ => Err(StoreError::Unavailable("cut".into())),
        }
    }
}

impl Store for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn create<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        value: Vec<u8>,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.may()?;
            self.inner.create(table, key, value).await
        })
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Deferred<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            self.may()?;
            self.inner.get(table, key).await
        })
    }

    fn swap<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
        value: Vec<u8>,
    ) -> Deferred<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            self.may()?;
            self.inner.swap(table, key, expected, value).await
        })
    }

    fn remove<'a>(
        &'a self,
        table: Table,
        key: &'a [u8],
        expected: u64,
    ) -> Deferred<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.may()?;
            self.inner.remove(table, key, expected).await
        })
    }

    fn list(&self, table: Table) -> Deferred<'_, Result<Rows, StoreError>> {
        Box::pin(async move {
            self.may()?;
            self.inner.list(table).await
        })
    }
}

/// A store with volumes and a key that `a` has wrapped, `b` being active now; the DEKs as they must stay.
struct Scene {
    store: Arc<dyn Store>,
    a: Fake,
    b: Fake,
    deks: Vec<Dek>,
}

impl Scene {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (a, b) = (Fake::new("a"), Fake::new("b"));
        let ring = replica(&[&a, &b], &store, |_| ());
        ring.join().await.unwrap();
        for id in 1..=VOLUMES {
            volume(&ring, id).await;
        }
        let (id, purpose) = (Uuid::from_u128(99), Purpose::KubernetesKms);
        let dek = ring.create(id, 1).await.unwrap();
        let key = KeyRecord::new(id, purpose, dek, super::testing::now());
        ring.records.create_key(&key).await.unwrap();
        let deks = all(&ring).await;
        ring.rotate("b").await.unwrap();
        Self { store, a, b, deks }
    }

    fn ring(&self) -> Arc<KeyRing> {
        replica(&[&self.a, &self.b], &self.store, |_| ())
    }

    async fn check_finished(&self) {
        let ring = self.ring();
        let usage = ring.usage().await.unwrap();
        assert_eq!(usage.keys().collect::<Vec<_>>(), ["b"], "{usage:?}");
        let state = ring.ring().await.unwrap();
        assert_eq!(state.members[0].state, State::Inactive);
        assert_eq!(state.rewrap, None);
        assert_eq!(all(&ring).await, self.deks);
    }
}

async fn all(ring: &KeyRing) -> Vec<Dek> {
    let mut deks = Vec::new();
    for volume in ring.records.volumes().await.unwrap() {
        let approval = Approval::for_test(volume.id, 1);
        deks.push(ring.dek(approval, &volume.deks).await.unwrap());
    }
    for key in ring.records.keys().await.unwrap() {
        let approval = Approval::for_test(key.id, 1);
        deks.push(ring.dek(approval, &key.deks).await.unwrap());
    }
    deks
}

#[tokio::test]
async fn moves_every_dek_and_retires_the_provider_that_was_active() {
    let scene = Scene::new().await;
    let ring = scene.ring();
    let progress = ring.rewrap().await.unwrap();
    assert!(!progress.running);
    assert_eq!((progress.total, progress.done), (4, 4));
    assert_eq!((progress.changed, progress.failed), (4, 0));
    scene.check_finished().await;
    assert_eq!(ring.rewrap().await.unwrap().changed, 0);
}

#[tokio::test]
async fn goes_on_wherever_the_store_was_cut_off() {
    let mut cuts = 0;
    loop {
        let scene = Scene::new().await;
        let failing: Arc<dyn Store> = Arc::new(Failing {
            inner: Arc::clone(&scene.store),
            left: AtomicI64::new(cuts),
        });
        let cut = replica(&[&scene.a, &scene.b], &failing, |_| ());
        let outcome = cut.rewrap().await;
        let whole = outcome.is_ok_and(|progress| progress.failed == 0);
        assert!(!cut.progress().running);
        // Whatever was done: nothing is lost, and it goes on.
        assert_eq!(all(&scene.ring()).await, scene.deks, "after {cuts}");
        let pending = scene.ring().ring().await.unwrap().rewrap.is_some();
        assert!(pending || whole || cuts < 2, "forgotten after {cuts}");
        scene.ring().rewrap().await.unwrap();
        scene.check_finished().await;
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts}");
}

#[tokio::test]
async fn goes_on_after_a_kms_failed_in_the_middle() {
    for cause in [Cause::Unreachable, Cause::Denied { permission: None }] {
        let scene = Scene::new().await;
        let ring = scene.ring();
        scene.a.fail(Some(cause));
        let progress = ring.rewrap().await.unwrap();
        assert_eq!((progress.done, progress.failed), (0, 4));
        assert!(progress.problem.is_some());
        assert!(ring.ring().await.unwrap().rewrap.is_some());
        scene.a.fail(None);
        ring.rewrap().await.unwrap();
        scene.check_finished().await;
    }
}

#[tokio::test]
async fn two_replicas_can_rewrap_at_once() {
    for _ in 0..8 {
        let scene = Scene::new().await;
        let (one, two) = (scene.ring(), scene.ring());
        let (first, second) = tokio::join!(one.rewrap(), two.rewrap());
        assert_eq!(first.unwrap().failed + second.unwrap().failed, 0);
        scene.check_finished().await;
    }
}

#[tokio::test]
async fn a_record_that_changes_meanwhile_keeps_its_change() {
    let scene = Scene::new().await;
    let (ring, records) = (scene.ring(), scene.ring().records.clone());
    let id = Uuid::from_u128(1);
    let change = async {
        for n in 0..20_u64 {
            let read = records.volume(id).await.unwrap();
            let after = VolumeRecord {
                fencing: n,
                ..read.record
            };
            // The rewrap may have been faster.
            let _ = records.swap_volume(read.version, &after).await;
            tokio::task::yield_now().await;
        }
    };
    let (rewrapped, ()) = tokio::join!(ring.rewrap(), change);
    assert_eq!(rewrapped.unwrap().failed, 0);
    scene.check_finished().await;
    assert!(records.volume(id).await.unwrap().record.fencing > 0);
}

#[tokio::test]
async fn a_new_version_of_the_active_key_renews_what_older_ones_wrapped() {
    let scene = Scene::new().await;
    let ring = scene.ring();
    ring.rewrap().await.unwrap();
    scene.b.rotate();
    assert_eq!(ring.usage().await.unwrap()["b"]["1"], 4);
    assert_eq!(ring.rewrap().await.unwrap().changed, 4);
    assert_eq!(ring.usage().await.unwrap()["b"]["2"], 4);
    assert_eq!(ring.rewrap().await.unwrap().changed, 0);
    scene.check_finished().await;
}

#[tokio::test]
async fn adds_what_is_missing_for_the_recovery_recipient_and_for_a_second_wrapper() {
    let scene = Scene::new().await;
    let recipient = RecoveryKey::generate().unwrap().recipient().unwrap();
    let ring = replica(&[&scene.a, &scene.b], &scene.store, |s| {
        s.recovery = Some(recipient.clone());
        s.also_wrap = vec!["a".into()];
    });
    assert_eq!(ring.unsealed().await.unwrap(), 4);
    assert_eq!(ring.rewrap().await.unwrap().changed, 4);
    assert_eq!(ring.unsealed().await.unwrap(), 0);
    let usage = ring.usage().await.unwrap();
    assert_eq!((usage["a"]["1"], usage["b"]["1"]), (4, 4));
    let state = ring.ring().await.unwrap();
    assert_eq!(state.members[0].state, State::Rekeying);
    assert_eq!(all(&ring).await, scene.deks);
}

#[tokio::test]
async fn refuses_to_remove_a_provider_while_a_dek_needs_it() {
    let scene = Scene::new().await;
    let ring = scene.ring();
    let refused = async |name: &str| match ring.remove(name).await {
        Err(RingError::Refused(refusal)) => refusal,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(refused("b").await, RingRefusal::RemoveActive("b".into()));
    let in_use = RingRefusal::InUse {
        name: "a".into(),
        deks: 4,
    };
    assert_eq!(refused("a").await, in_use);
    ring.rewrap().await.unwrap();
    // Whoever began to wrap with it may not have ended yet.
    assert!(matches!(refused("a").await, RingRefusal::NotQuiet { .. }));
}
