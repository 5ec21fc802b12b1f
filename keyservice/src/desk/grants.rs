//! Enrolment, grants, and what happens when store, audit or a rival get in the way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::testing::{Node, World};
use crate::policy::testing::FILE;
use crate::volume::State;
use dawnkey_proto::message::{Answer, Ask, Challenge, Reason, Retry};
use std::path::PathBuf;
use std::sync::Arc;

fn events(world: &World) -> Vec<String> {
    world.records().into_iter().map(|r| r.event).collect()
}

async fn challenged(world: &World, node: &mut Node) -> Challenge {
    match node.ask(world, Ask::Provision).await {
        Answer::Challenge(challenge) => challenge,
        other => panic!("no challenge: {other:?}"),
    }
}

fn reason(answer: &Answer) -> Reason {
    match answer {
        Answer::Refuse(refusal) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn new_machine_is_enrolled_by_challenge_once_and_unlocks_without_it_later() {
    let world = World::new(FILE).await;
    let before = world.store.snapshot();
    let mut node = Node::new(1);
    let challenge = challenged(&world, &mut node).await;
    assert_eq!(world.store.snapshot(), before, "a challenge stores nothing");
    let Answer::Provision(granted) = node.activate(&world, &challenge).await else {
        panic!("not provisioned");
    };
    let header = node.confirm(&world, &granted.release).await;
    let next = world.boot(header).await;
    assert_eq!(next.generation, 2);
    assert_eq!(
        events(&world),
        [
            "challenge",
            "enrol",
            "provision",
            "confirm",
            "release",
            "confirm"
        ]
    );
    let provision = &world.records()[2].fields;
    assert_eq!(provision["trust_class"], "hypervisor");
    assert_eq!(provision["image"], "node-2026-11");
    assert_eq!(provision["instance"], "01".repeat(32));
    assert_eq!(provision["peer"], "192.0.2.1:7");
    assert_eq!(
        (&provision["generation"], &provision["epoch"]),
        (&1.into(), &1.into())
    );
}

#[tokio::test]
async fn same_dek_comes_back_at_every_unlock() {
    let world = World::new(FILE).await;
    world.enrol(1).await;
    let mut first = Node::new(1);
    let Answer::Provision(granted) = first.ask(&world, Ask::Provision).await else {
        panic!("not provisioned");
    };
    let (dek, _) = first.open(&granted.release);
    let header = first.confirm(&world, &granted.release).await;
    let mut second = Node::new(1);
    let Answer::Release(release) = second.ask(&world, Ask::Unlock(header)).await else {
        panic!("not released");
    };
    assert_eq!(second.open(&release).0, dek);
}

#[tokio::test]
async fn refuses_wrong_proof_and_every_second_try() {
    let world = World::new(FILE).await;
    let mut node = Node::new(1);
    let challenge = challenged(&world, &mut node).await;
    let before = world.store.snapshot();
    let wrong = node.prove(&world, &challenge, vec![1; 32]).await;
    assert_eq!(reason(&wrong), Reason::ChallengeFailed);
    let right_but_late = node.activate(&world, &challenge).await;
    assert_eq!(reason(&right_but_late), Reason::ChallengeFailed);
    assert_eq!(world.store.snapshot(), before);
    assert_eq!(events(&world), ["challenge", "refuse", "refuse"]);
}

#[tokio::test]
async fn refuses_proof_on_another_connection() {
    let world = World::new(FILE).await;
    let mut node = Node::new(1);
    let challenge = challenged(&world, &mut node).await;
    let stranger = Node::new(2).activate(&world, &challenge).await;
    assert_eq!(reason(&stranger), Reason::ChallengeFailed);
}

#[tokio::test]
async fn refuses_proof_for_another_binder() {
    let world = World::new(FILE).await;
    let mut node = Node::new(1);
    let challenge = challenged(&world, &mut node).await;
    // The right secret, but answered for a request of another connection.
    let binder = dawnkey_attest::evidence::Exchange([7; 64]);
    let secret = &challenge.encrypted_secret;
    let proof = dawnkey_attest::enrolment::proof(secret, &binder).to_vec();
    let answer = node.prove(&world, &challenge, proof).await;
    assert_eq!(reason(&answer), Reason::ChallengeFailed);
}

#[tokio::test]
async fn forgotten_instance_has_to_prove_itself_again() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    let instance = "01".repeat(32).parse().unwrap();
    world.desk.records.forget(instance).await.unwrap();
    let answer = Node::new(1).ask(&world, Ask::Unlock(header)).await;
    assert!(matches!(answer, Answer::Challenge(_)));
}

#[tokio::test]
async fn a_rival_write_is_noticed_and_the_decision_taken_anew() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    world.store.let_a_rival_write_first(world.volume.as_bytes());
    let answer = Node::new(1).ask(&world, Ask::Unlock(header)).await;
    assert!(matches!(answer, Answer::Release(_)));
    let record = world.desk.records.volume(world.volume).await.unwrap();
    assert_eq!(record.record.fencing, 2, "one lease, not two");
    assert_eq!(events(&world), ["provision", "confirm", "release"]);
}

#[tokio::test]
async fn concurrent_requests_of_one_machine_leave_one_pending_release() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    let all: Vec<_> = (0..4)
        .map(|_| {
            let mut node = Node::new(1);
            let message = node.request(Ask::Unlock(header));
            let desk = Arc::clone(&world.desk);
            tokio::spawn(desk.unlock(Arc::clone(&node.session), message))
        })
        .collect();
    for one in all {
        let Answer::Release(release) = one.await.unwrap() else {
            panic!("not released");
        };
        assert_eq!(release.generation, 2);
    }
    let record = world
        .desk
        .records
        .volume(world.volume)
        .await
        .unwrap()
        .record;
    assert_eq!((record.confirmed, record.fencing), (1, 5));
}

#[tokio::test]
async fn no_key_is_released_when_audit_cannot_be_written() {
    let full = Some(PathBuf::from("/dev/full"));
    let world = World::with(FILE, full, 4, 4).await;
    world.enrol(1).await;
    let before = world.store.snapshot();
    for _ in 0..2 {
        let answer = Node::new(1).ask(&world, Ask::Provision).await;
        assert_eq!(reason(&answer), Reason::Internal);
    }
    let values = |snapshot: super::testing::Snapshot| {
        snapshot.into_values().map(|s| s.value).collect::<Vec<_>>()
    };
    assert_eq!(values(world.store.snapshot()), values(before));
}

#[tokio::test]
async fn no_key_is_released_when_the_store_is_down() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    world.store.break_down(true);
    let Answer::Refuse(refusal) = Node::new(1).ask(&world, Ask::Unlock(header)).await else {
        panic!("not refused");
    };
    assert_eq!(refusal.reason, Reason::StoreUnavailable);
    assert_eq!(refusal.retry, Retry::After(5));
    world.store.break_down(false);
    world.boot(header).await;
}

#[tokio::test]
async fn overload_is_refused_at_once_without_an_audit_record() {
    let world = World::with(FILE, None, 1, 0).await;
    let header = world.active().await;
    let (store, records) = world.before();
    let busy = world.desk.gate.enter().await.unwrap();
    let Answer::Refuse(refusal) = Node::new(1).ask(&world, Ask::Unlock(header)).await else {
        panic!("not refused");
    };
    assert_eq!(refusal.reason, Reason::Overloaded);
    assert_eq!(refusal.retry, Retry::After(30));
    assert_eq!(
        (world.store.snapshot(), world.records().len()),
        (store, records)
    );
    drop(busy);
    world.boot(header).await;
}

#[tokio::test]
async fn refuses_too_many_requests_over_one_connection() {
    let world = World::new(FILE).await;
    let mut node = Node::new(1);
    node.replayed = true;
    for _ in 0..16 {
        let answer = node.ask(&world, Ask::Provision).await;
        assert_eq!(reason(&answer), Reason::BinderMismatch);
    }
    let answer = node.ask(&world, Ask::Provision).await;
    assert_eq!(reason(&answer), Reason::RateLimited);
    assert_eq!(events(&world).len(), 16);
}

#[tokio::test]
async fn retired_volume_gives_no_key() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    let volume = world.desk.records.volume(world.volume).await.unwrap();
    let retired = volume.record.retired();
    assert_eq!(retired.state, State::Retired);
    let swapped = world.desk.records.swap_volume(volume.version, &retired);
    swapped.await.unwrap();
    let answer = Node::new(1).ask(&world, Ask::Unlock(header)).await;
    assert_eq!(reason(&answer), Reason::VolumeRetired);
}

#[tokio::test]
async fn older_disk_under_a_warning_policy_is_released_with_a_warning_in_audit() {
    let policy = FILE.replacen("rollback = \"refuse\"", "rollback = \"warn\"", 1);
    let world = World::new(&policy).await;
    let old = world.active().await;
    world.boot(old).await;
    let answer = Node::new(1).ask(&world, Ask::Unlock(old)).await;
    assert!(matches!(answer, Answer::Release(r) if r.generation == 3));
    let record = world.records().pop().unwrap();
    assert!(
        record.fields["warning"]
            .as_str()
            .unwrap()
            .contains("older copy")
    );
}
