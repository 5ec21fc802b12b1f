//! Volumes that leave for another service, and what both services do then.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::AdminError;
use super::testing::{Node, World};
use super::transfer::{Import, Imported};
use crate::approval::Approval;
use crate::kek::KeyRing;
use crate::policy::testing::FILE;
use crate::server::Operator;
use dawnkey_kek::cluster::Cluster;
use dawnkey_proto::message::{Answer, Ask, Reason, Retry};
use dawnkey_secret::MasterSecret;
use dawnkey_store::Table;
use std::sync::Arc;
use uuid::Uuid;

const HAND_OVER: Import = Import {
    dry_run: false,
    restore: false,
};

/// Another service without volumes, over another store. Its KEK is the first one's if `master` is 1.
async fn other(master: u8) -> World {
    let mut world = World::new(FILE).await;
    let id = world.volume;
    world.desk.records.remove_volume(id).await;
    let mut desk = Arc::into_inner(world.desk).unwrap();
    desk.service_id = Uuid::from_u128(0xb);
    // It has known no master secret yet.
    let mut ring = desk.records.ring().await.unwrap();
    ring.record.members[0].check = None;
    let swapped = desk.records.swap_ring(ring.version, &ring.record).await;
    swapped.unwrap();
    let master = MasterSecret::take(&mut [master; 32]).unwrap();
    let cluster = Arc::new(Cluster::new("cluster", master, [3; 32]));
    let ring = KeyRing::of_one(cluster, desk.records.clone()).await;
    desk.ring = Arc::new(ring);
    world.desk = Arc::new(desk);
    world
}

async fn export(world: &World, table: Table, to: Option<Uuid>) -> Result<Vec<String>, AdminError> {
    let (desk, operator) = (&world.desk, Operator::for_test());
    let keys = desk.record_keys(table.name()).await.unwrap();
    desk.export_records(&operator, table.name(), &keys, to)
        .await
}

async fn import(world: &World, lines: &[String], how: Import) -> Result<Imported, AdminError> {
    let operator = Operator::for_test();
    world.desk.import_records(&operator, lines, how).await
}

/// All that moves, handed over to that service.
async fn everything(world: &World, to: Option<Uuid>) -> Vec<String> {
    let mut lines = Vec::new();
    for table in [Table::Volumes, Table::Instances, Table::Keys, Table::Nodes] {
        lines.extend(export(world, table, to).await.unwrap());
    }
    lines
}

fn reason(answer: &Answer) -> (Reason, Retry) {
    match answer {
        Answer::Refuse(refusal) => (refusal.reason, refusal.retry),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn volume_handed_over_opens_at_the_other_service_and_nowhere_else() {
    let (old, new) = (World::new(FILE).await, other(1).await);
    let mut header = old.active().await;
    header = old.boot(header).await;
    let before = old.desk.show_volume(old.volume).await.unwrap();
    let lines = everything(&old, Some(new.desk.service_id)).await;
    assert_eq!(lines.len(), 2, "the volume and its machine");
    let approval = Approval::for_test(old.volume, 1);
    let dek = old.desk.ring.dek(approval, &before.deks).await.unwrap();
    let clear = hex::encode(dek.expose());
    assert!(!lines.concat().contains(&clear), "no DEK in clear");

    let refused = Node::new(1).ask(&old, Ask::Unlock(header)).await;
    assert_eq!(reason(&refused), (Reason::VolumeMoved, Retry::After(30)));
    let unknown = Node::new(1).ask(&new, Ask::Unlock(header)).await;
    assert_eq!(reason(&unknown).0, Reason::UnknownVolume);

    let done = import(&new, &lines, HAND_OVER).await.unwrap();
    assert_eq!((done.created, done.present), (2, 0));
    let mut after = new.desk.show_volume(new.volume).await.unwrap();
    assert!(after.origin.take().is_some());
    assert_eq!(
        after, before,
        "generations, owner and fencing token are as they were"
    );
    header = new.boot(header).await;
    assert_eq!(header.generation, before.confirmed + 1);
    let refused = Node::new(1).ask(&old, Ask::Unlock(header)).await;
    assert_eq!(reason(&refused).0, Reason::VolumeMoved);

    // What was imported and has gone on since is not taken back by a second run.
    let again = import(&new, &lines, HAND_OVER).await.unwrap();
    assert_eq!((again.created, again.present), (0, 2));
    new.boot(header).await;
}

#[tokio::test]
async fn held_lease_moves_with_its_volume() {
    let held = FILE.replacen(
        "[volume-policy.state]",
        "[volume-policy.state]\nhold = true",
        1,
    );
    let (old, new) = (World::new(&held).await, other(1).await);
    old.enrol(1).await;
    let mut node = Node::new(1);
    node.hold = true;
    let Answer::Provision(granted) = node.ask(&old, Ask::Provision).await else {
        panic!("not provisioned");
    };
    node.confirm(&old, &granted.release).await;
    let lines = everything(&old, Some(new.desk.service_id)).await;
    import(&new, &lines, HAND_OVER).await.unwrap();
    let (here, there) = (
        old.desk.show_volume(old.volume).await.unwrap(),
        new.desk.show_volume(new.volume).await.unwrap(),
    );
    assert!(there.lease.is_some() && there.holding.is_some());
    assert_eq!((here.lease, here.fencing), (there.lease, there.fencing));
}

#[tokio::test]
async fn release_that_waits_for_its_confirm_is_confirmed_at_neither_until_it_is_asked_anew() {
    let (old, new) = (World::new(FILE).await, other(1).await);
    let header = old.active().await;
    let mut node = Node::new(1);
    let Answer::Release(release) = node.ask(&old, Ask::Unlock(header)).await else {
        panic!("not released");
    };
    let lines = everything(&old, Some(new.desk.service_id)).await;
    let late = node.try_confirm(&old, &release).await.unwrap_err();
    assert_eq!(late.reason, Reason::VolumeMoved);
    import(&new, &lines, HAND_OVER).await.unwrap();
    // The header may be the old one or the released one: the window moved too.
    new.boot(header).await;
}

#[tokio::test]
async fn refuses_an_export_for_another_service_and_a_copy_whose_service_may_live() {
    let (old, new) = (World::new(FILE).await, other(1).await);
    old.active().await;
    let copies = everything(&old, None).await;
    let refused = import(&new, &copies, HAND_OVER).await;
    assert!(matches!(refused, Err(AdminError::Invalid(text)) if text.contains("--restore")));
    let elsewhere = everything(&old, Some(Uuid::from_u128(0xc))).await;
    let restore = Import {
        restore: true,
        ..HAND_OVER
    };
    let refused = import(&new, &elsewhere, restore).await;
    assert!(matches!(refused, Err(AdminError::Invalid(text)) if text.contains("handed over")));
    let twice = export(&old, Table::Volumes, Some(new.desk.service_id)).await;
    assert!(
        matches!(twice, Err(AdminError::State(_))),
        "one service only"
    );
    let itself = export(&old, Table::Volumes, Some(old.desk.service_id)).await;
    assert!(matches!(itself, Err(AdminError::Invalid(_))));
    let done = import(&new, &copies, restore).await.unwrap();
    assert_eq!(done.created, 2);
}

#[tokio::test]
async fn refuses_a_volume_whose_dek_the_kek_here_does_not_give() {
    let (old, new) = (World::new(FILE).await, other(9).await);
    old.active().await;
    let lines = everything(&old, Some(new.desk.service_id)).await;
    let before = new.store.snapshot();
    let refused = import(&new, &lines, HAND_OVER).await;
    assert!(matches!(refused, Err(AdminError::State(text)) if text.contains("another DEK")));
    assert_eq!(new.store.snapshot(), before);
}

#[tokio::test]
async fn dry_run_judges_everything_and_changes_nothing() {
    let (old, new) = (World::new(FILE).await, other(1).await);
    old.active().await;
    let lines = everything(&old, Some(new.desk.service_id)).await;
    let (store, audited) = new.before();
    let dry = Import {
        dry_run: true,
        ..HAND_OVER
    };
    assert_eq!(import(&new, &lines, dry).await.unwrap().created, 2);
    assert_eq!(
        (new.store.snapshot(), new.records().len()),
        (store, audited)
    );
    for bent in ["{}", "", "{\"from\":1}"] {
        let refused = import(&new, &[bent.to_owned()], dry).await;
        assert!(matches!(refused, Err(AdminError::Invalid(_))));
    }
    let moved = lines[0].replacen(&old.volume.to_string(), &Uuid::from_u128(8).to_string(), 1);
    let refused = import(&new, &[moved], dry).await;
    assert!(matches!(refused, Err(AdminError::Invalid(_))));
}

#[tokio::test]
async fn operators_change_nothing_of_a_volume_that_has_moved_but_may_forget_it() {
    let world = World::new(FILE).await;
    world.active().await;
    let (desk, operator) = (&world.desk, Operator::for_test());
    export(&world, Table::Volumes, Some(Uuid::from_u128(0xb)))
        .await
        .unwrap();
    let rotated = desk.rotate_volume(&operator, world.volume).await;
    assert!(matches!(rotated, Err(AdminError::State(_))));
    let key = [9; 32];
    let exported = desk.export_dek(&operator, world.volume, 0, &key).await;
    assert!(matches!(exported, Err(AdminError::State(_))));
    desk.retire_volume(&operator, world.volume).await.unwrap();
    let record = desk.show_volume(world.volume).await.unwrap();
    assert!(record.deks.is_empty() && record.moved.is_some());
}
