//! Several services over one store: which of them answers makes no difference, and one that dies leaves nothing behind
//! that the others cannot go on from.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::testing::{Node, World, now};
use crate::policy::testing::FILE;
use crate::records::Records;
use dawnkey_proto::message::{Answer, Ask, Reason, Renew, RenewAnswer, SeenHeader};
use dawnkey_proto::{lease, wire};
use jiff::{SignedDuration, Timestamp};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

/// The largest difference between the clocks of two services here.
const SKEW: i64 = 240;

/// Time that passes for all services alike.
#[derive(Clone, Default)]
struct Time(Arc<AtomicI64>);

impl Time {
    fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn seconds(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Another service over the store of `first`, whose clock is so many seconds ahead.
async fn beside(first: &World, policy: &str, time: &Time, ahead: i64) -> World {
    let mut world = World::new(policy).await;
    world.store = Arc::clone(&first.store);
    let mut desk = Arc::into_inner(world.desk).unwrap();
    desk.records = Records::new(Arc::clone(&first.store) as _);
    let time = time.clone();
    desk.clock = Arc::new(move || -> Timestamp {
        now() + SignedDuration::from_secs(time.seconds() + ahead)
    });
    world.desk = Arc::new(desk.with_skew(u32::try_from(SKEW).unwrap()));
    world
}

/// Three services over one store, two minutes behind, right, and two minutes ahead.
async fn three(policy: &str) -> ([World; 3], Time) {
    let (first, time) = (World::new(policy).await, Time::default());
    let all = [
        beside(&first, policy, &time, -SKEW / 2).await,
        beside(&first, policy, &time, 0).await,
        beside(&first, policy, &time, SKEW / 2).await,
    ];
    (all, time)
}

#[tokio::test]
async fn every_boot_may_be_at_another_service() {
    let (all, _) = three(FILE).await;
    let mut header = all[0].active().await;
    for turn in 1..10_usize {
        header = all[turn % 3].boot(header).await;
        assert_eq!(header.generation, turn as u64 + 1);
    }
    // Release at one, Confirm at another: what the node holds is not tied to who gave it.
    let mut node = Node::new(1);
    let Answer::Release(release) = node.ask(&all[0], Ask::Unlock(header)).await else {
        panic!("not released");
    };
    header = node.confirm(&all[2], &release).await;
    all[1].boot(header).await;
}

/// Polls a call so often, and then lets it go as a service that is killed would.
async fn killed_after<F: Future>(polls: usize, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    for _ in 0..polls {
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(answer) = polled {
            return Some(answer);
        }
        // What it waits for runs on other threads.
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn service_killed_at_any_point_of_an_unlock_leaves_the_volume_to_the_others() {
    let (all, _) = three(FILE).await;
    let mut header = all[0].active().await;
    let (mut broke_off, mut answered) = (0, 0);
    for (turn, polls) in (1..16).chain((4..24).map(|n| 1 << n)).enumerate() {
        let killed = &all[turn % 3];
        let mut node = Node::new(1);
        let message = node.request(Ask::Unlock(header));
        let session = Arc::clone(&node.session);
        let call = Arc::clone(&killed.desk).unlock(session, message);
        match killed_after(polls, call).await {
            // The answer is lost with the service.
            Some(_) => answered += 1,
            None => broke_off += 1,
        }
        if answered > 3 {
            break;
        }
        header = all[(turn + 1) % 3].boot(header).await;
    }
    assert!(broke_off > 0 && answered > 0, "{broke_off}, {answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_boot_succeeds_while_each_service_is_replaced_in_turn() {
    let (all, time) = three(FILE).await;
    let first = all[0].active().await;
    let running: Mutex<Vec<Arc<World>>> = Mutex::new(all.into_iter().map(Arc::new).collect());
    let (at, mut turns) = watch::channel(0);
    let boots = async {
        let mut header = first;
        for turn in 0..60_usize {
            at.send_replace(turn);
            let service = Arc::clone(&running.lock().unwrap()[turn % 3]);
            header = service.boot(header).await;
        }
        header
    };
    let replacing = async {
        for n in 0..6_usize {
            turns.wait_for(|turn| *turn >= 8 * n).await.unwrap();
            let old = Arc::clone(&running.lock().unwrap()[n % 3]);
            let new = beside(&old, FILE, &time, 0).await;
            running.lock().unwrap()[n % 3] = Arc::new(new);
        }
    };
    let (header, ()) = tokio::join!(boots, replacing);
    assert_eq!(header.generation, 61, "not one failed");
}

/// A policy under which two machines may have the volume, and leases are held.
fn held() -> String {
    let both = format!(
        "instances = [\"{}\", \"{}\"]",
        "01".repeat(32),
        "02".repeat(32)
    );
    let listed = FILE.replacen("instances = []", &both, 1);
    listed.replacen(
        "[volume-policy.state]",
        "[volume-policy.state]\nhold = true",
        1,
    )
}

/// A node that holds the lease, its header, and how it renews.
async fn holder(service: &World) -> (SeenHeader, impl Fn() -> wire::RenewRequest) {
    service.enrol(1).await;
    service.enrol(2).await;
    let mut node = Node::new(1);
    node.hold = true;
    let granted = match node.ask(service, Ask::Provision).await {
        Answer::Provision(granted) => granted,
        other => panic!("not provisioned: {other:?}"),
    };
    let release = granted.release;
    let header = node.confirm(service, &release).await;
    let (volume, fencing_token) = (node.volume, release.lease.fencing_token);
    let renew = move || {
        let (_, token) = node.open(&release);
        let token = lease::token(&token);
        let (progress, end) = (None, false);
        let renew = Renew {
            volume,
            token,
            fencing_token,
            progress,
            end,
        };
        renew.into()
    };
    (header, renew)
}

async fn takes(service: &World, header: SeenHeader) -> Result<(), Reason> {
    let mut node = Node::new(2);
    node.hold = true;
    match node.ask(service, Ask::Unlock(header)).await {
        Answer::Release(_) => Ok(()),
        Answer::Refuse(refusal) => Err(refusal.reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_clock_within_the_bound_ends_a_lease_before_its_holder_does() {
    // Each pair of who gave the lease and who is asked for it.
    for giver in 0..3 {
        for asked in 0..3 {
            let (all, time) = three(&held()).await;
            let (header, _) = holder(&all[giver]).await;
            // The holder counts 300 s on its own clock from the answer on.
            for step in [1, 100, 100, 98] {
                time.pass(step);
                let refused = takes(&all[asked], header).await;
                assert_eq!(refused, Err(Reason::LeaseHeld), "{giver}, {asked}");
            }
            // And nobody waits longer than the lease, the bound and what the clocks are apart.
            time.pass(2 + 2 * SKEW);
            assert_eq!(takes(&all[asked], header).await, Ok(()));
        }
    }
}

#[tokio::test]
async fn lease_renewed_anywhere_is_held_everywhere() {
    let (all, time) = three(&held()).await;
    let (header, renew) = holder(&all[2]).await;
    for turn in 0..12 {
        time.pass(100);
        let service = &all[turn % 3];
        let session = Arc::clone(&Node::new(1).session);
        let answer = Arc::clone(&service.desk).renew(session, renew()).await;
        assert!(matches!(answer, RenewAnswer::Renewed { seconds: 300 }));
        for asked in &all {
            assert_eq!(takes(asked, header).await, Err(Reason::LeaseHeld));
        }
    }
}
