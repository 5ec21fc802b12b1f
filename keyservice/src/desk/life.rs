//! What happens to a volume after its unlock: renewals, reopening, adoption.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::testing::{Node, World, now};
use crate::policy::testing::{FILE, mock::snp_evidence, tee_file};
use crate::volume::{ConfirmedHeader, Digest32, Kind, Progress, State, VolumeRecord};
use dawnkey_proto::closing::{Opened, closed_pcr};
use dawnkey_proto::lease;
use dawnkey_proto::message::{
    self, Answer, Ask, Confirm, OnLoss, Reason, Refusal, Release, Renew, RenewAnswer, Reopen,
    SeenHeader,
};
use dawnkey_secret::ConfirmToken;
use jiff::SignedDuration;
use std::sync::Arc;
use uuid::Uuid;

fn with(rules: &str) -> String {
    FILE.replacen("instances = []", rules, 1)
}

async fn record(world: &World) -> VolumeRecord {
    let read = world.desk.records.volume(world.volume).await;
    read.unwrap().record
}

/// Unlocks and confirms with a holder; returns the token that the lease token is derived from.
async fn held(world: &World, header: SeenHeader) -> (Release, [u8; 32]) {
    let mut node = Node::new(1);
    let Answer::Release(release) = node.ask(world, Ask::Unlock(header)).await else {
        panic!("not released");
    };
    let (_, token) = node.open(&release);
    let kept = *token.expose();
    let confirm = Confirm {
        volume: world.volume,
        header: SeenHeader {
            generation: release.generation,
            epoch: release.epoch,
            digest: [9; 32],
        },
        token,
        progress: Some(message::Progress {
            ready_bytes: 1,
            total_bytes: 4,
        }),
        hold: true,
    };
    let session = Arc::clone(&node.session);
    let confirmed = Arc::clone(&world.desk).confirm(session, confirm.into());
    confirmed.await.unwrap();
    (release, kept)
}

async fn renew(world: &World, release: &Release, mut token: [u8; 32], end: bool) -> RenewAnswer {
    let token = ConfirmToken::take(&mut token).unwrap();
    let renew = Renew {
        volume: world.volume,
        fencing_token: release.lease.fencing_token,
        token: lease::token(&token),
        progress: Some(message::Progress {
            ready_bytes: 2,
            total_bytes: 4,
        }),
        end,
    };
    // Every time over a connection of its own.
    let session = Node::new(9).session;
    Arc::clone(&world.desk).renew(session, renew.into()).await
}

fn refusal(answer: RenewAnswer) -> Refusal {
    match answer {
        RenewAnswer::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn holder_renews_over_any_connection_and_only_the_end_is_written_down() {
    let world = World::new(&with("hold = true\non_loss = \"power-off\"")).await;
    world.enrol(1).await;
    let mut node = Node::new(1);
    node.hold = true;
    let Answer::Provision(granted) = node.ask(&world, Ask::Provision).await else {
        panic!("not provisioned");
    };
    let header = node.confirm(&world, &granted.release).await;
    let (release, token) = held(&world, header).await;
    assert!(release.lease.hold);
    assert_eq!(release.lease.on_loss, OnLoss::PowerOff);
    let records = world.records().len();
    for _ in 0..3 {
        let answer = renew(&world, &release, token, false).await;
        assert_eq!(answer, RenewAnswer::Renewed { seconds: 300 });
    }
    assert_eq!(world.records().len(), records);
    let kept = record(&world).await;
    let half = Progress {
        ready_bytes: 2,
        total_bytes: 4,
    };
    assert_eq!(kept.progress, Some(half));
    assert_eq!(
        kept.lease.unwrap().expires,
        now() + SignedDuration::from_secs(300)
    );
    let answer = renew(&world, &release, token, true).await;
    assert_eq!(answer, RenewAnswer::Renewed { seconds: 0 });
    let ended = world.records().pop().unwrap();
    assert_eq!(ended.event, "lease-end");
    assert_eq!(ended.fields["fencing"], release.lease.fencing_token);
    let metrics = world.desk.metrics.render(None);
    assert!(metrics.contains("dawnkey_answers_total{answer=\"renew\"} 3\n"));
    assert!(metrics.contains("dawnkey_answers_total{answer=\"end\"} 1\n"));
}

#[tokio::test]
async fn lost_lease_is_refused_written_down_and_counted() {
    let world = World::new(&with("hold = true")).await;
    world.enrol(1).await;
    let mut node = Node::new(1);
    node.hold = true;
    let Answer::Provision(granted) = node.ask(&world, Ask::Provision).await else {
        panic!("not provisioned");
    };
    let header = node.confirm(&world, &granted.release).await;
    let (release, token) = held(&world, header).await;
    let before = world.desk.records.volume(world.volume).await.unwrap();
    let broken = before.record.lease_broken();
    let swapped = world.desk.records.swap_volume(before.version, &broken);
    swapped.await.unwrap();
    let lost = refusal(renew(&world, &release, token, false).await);
    assert_eq!(lost.reason, Reason::LeaseLost);
    let written = world.records().pop().unwrap();
    assert_eq!(
        (written.event.as_str(), &written.fields["operation"]),
        ("refuse", &"renew".into())
    );
    assert_eq!(written.fields["reason"], "lease-lost");
    let counted = "dawnkey_answers_total{answer=\"refuse\",reason=\"lease-lost\"} 1\n";
    assert!(world.desk.metrics.render(None).contains(counted));
    // A volume that the service does not know looks the same.
    let mut elsewhere = world;
    elsewhere.volume = Uuid::from_u128(99);
    let unknown = refusal(renew(&elsewhere, &release, token, false).await);
    assert_eq!(unknown.reason, Reason::LeaseLost);
}

#[tokio::test]
async fn renewal_waits_for_a_store_that_is_down_and_loses_nothing() {
    let world = World::new(&with("hold = true")).await;
    world.enrol(1).await;
    let mut node = Node::new(1);
    node.hold = true;
    let Answer::Provision(granted) = node.ask(&world, Ask::Provision).await else {
        panic!("not provisioned");
    };
    let header = node.confirm(&world, &granted.release).await;
    let (release, token) = held(&world, header).await;
    world.store.break_down(true);
    let down = refusal(renew(&world, &release, token, false).await);
    assert_eq!(down.reason, Reason::StoreUnavailable);
    world.store.break_down(false);
    let answer = renew(&world, &release, token, false).await;
    assert_eq!(answer, RenewAnswer::Renewed { seconds: 300 });
}

#[tokio::test]
async fn refuses_confirm_without_a_holder_by_name() {
    let world = World::new(&with("hold = true")).await;
    world.enrol(1).await;
    let mut node = Node::new(1);
    let Answer::Provision(granted) = node.ask(&world, Ask::Provision).await else {
        panic!("not provisioned");
    };
    let refused = node
        .try_confirm(&world, &granted.release)
        .await
        .unwrap_err();
    assert_eq!(refused.reason, Reason::HolderRequired);
    assert!(
        refused.remedy.contains("hold = false"),
        "{}",
        refused.remedy
    );
}

fn reopen(world: &World, header: SeenHeader, generation: u64) -> Reopen {
    let opened = Opened {
        volume: world.volume,
        generation,
    };
    Reopen {
        seen: header,
        adopted: false,
        closed_with: vec![opened],
    }
}

fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A node whose PCR 15 shows a boot that was closed with generation `generation` of the volume.
fn closed(world: &World, generation: u64) -> Node {
    let opened = Opened {
        volume: world.volume,
        generation,
    };
    let mut node = Node::new(1);
    let value = closed_pcr(world.desk.service_id, &[opened]);
    node.claims.pcrs.insert(15, value.to_vec());
    node
}

#[tokio::test]
async fn refuses_to_reopen_by_default_and_names_the_rule() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    let before = world.store.snapshot();
    let ask = Ask::Reopen(reopen(&world, header, 1));
    let refusal = refused(closed(&world, 1).ask(&world, ask).await);
    assert_eq!(refusal.reason, Reason::ReopenNotAllowed);
    assert_eq!(world.store.snapshot(), before);
    let written = world.records().pop().unwrap();
    assert_eq!(written.fields["operation"], "reopen");
    assert_eq!(written.fields["rule"], "volume-policy.state.reopen");
}

#[tokio::test]
async fn reopens_again_and_again_in_exactly_the_boot_that_was_closed_with_the_volume() {
    let world = World::new(&with("reopen = \"allow\"")).await;
    let mut header = world.active().await;
    for generation in 2..5 {
        let mut node = closed(&world, 1);
        let ask = Ask::Reopen(reopen(&world, header, 1));
        let Answer::Release(release) = node.ask(&world, ask).await else {
            panic!("not released");
        };
        assert_eq!(release.generation, generation);
        header = node.confirm(&world, &release).await;
    }
    // The next boot is an ordinary one, and only that boot can reopen then.
    let header = world.boot(header).await;
    let ask = Ask::Reopen(reopen(&world, header, 1));
    let refusal = refused(closed(&world, 1).ask(&world, ask).await);
    assert_eq!(refusal.reason, Reason::ReopenMismatch);
}

#[tokio::test]
async fn refuses_to_reopen_where_pcr_15_is_not_what_the_named_volumes_leave_there() {
    let world = World::new(&with("reopen = \"allow\"")).await;
    let header = world.active().await;
    let ask = || Ask::Reopen(reopen(&world, header, 1));
    for other in [closed(&world, 2), Node::new(1)] {
        let mut node = other;
        let refusal = refused(node.ask(&world, ask()).await);
        assert_eq!(refusal.reason, Reason::ReopenMismatch);
        assert!(refusal.detail.contains("PCR 15"), "{}", refusal.detail);
    }
    // A closed boot does not unlock, and a request may not name what was not confirmed.
    let unlock = closed(&world, 1).ask(&world, Ask::Unlock(header)).await;
    assert_eq!(refused(unlock).reason, Reason::PcrMismatch);
    let wrong = Ask::Reopen(reopen(&world, header, 2));
    let refusal = refused(closed(&world, 2).ask(&world, wrong).await);
    assert_eq!(refusal.reason, Reason::ReopenMismatch);
}

#[tokio::test]
async fn snp_guest_reopens_in_the_launch_that_confirmed_and_in_no_other() {
    let policy = tee_file().replacen(
        "rollback = \"refuse\"",
        "rollback = \"refuse\"\nreopen = \"allow\"",
        1,
    );
    let world = World::new(&policy).await;
    let guest = |launch: u8| {
        let mut node = Node::new(1);
        node.attester = Some(Box::new(move |exchange| {
            snp_evidence(1, exchange, |report| report.bent.push((0x140, launch)))
        }));
        node
    };
    let mut first = guest(1);
    let Answer::Provision(granted) = first.ask(&world, Ask::Provision).await else {
        panic!("not provisioned");
    };
    let header = first.confirm(&world, &granted.release).await;
    let again = guest(1).ask(&world, Ask::Unlock(header)).await;
    assert_eq!(refused(again).reason, Reason::BootClosed);
    let ask = || Ask::Reopen(reopen(&world, header, 1));
    assert_eq!(
        refused(guest(2).ask(&world, ask()).await).reason,
        Reason::ReopenMismatch
    );
    let answer = guest(1).ask(&world, ask()).await;
    assert!(matches!(answer, Answer::Release(_)), "{answer:?}");
}

#[tokio::test]
async fn adopted_volume_is_released_with_its_recorded_header_where_policy_allows_it() {
    let world = World::new(&with("adopted = true")).await;
    world.enrol(1).await;
    let before = world.desk.records.volume(world.volume).await.unwrap();
    let header = SeenHeader {
        generation: 1,
        epoch: 1,
        digest: [1; 32],
    };
    let taken = VolumeRecord {
        state: State::Active,
        kind: Kind::Adopted,
        confirmed: 1,
        issued: 1,
        header: Some(ConfirmedHeader {
            digest: Digest32(header.digest),
            token: None,
        }),
        ..before.record
    };
    let swapped = world.desk.records.swap_volume(before.version, &taken);
    swapped.await.unwrap();
    for _ in 0..2 {
        let mut node = Node::new(1);
        let Answer::Release(release) = node.ask(&world, Ask::Adopted(header)).await else {
            panic!("not released");
        };
        assert_eq!((release.generation, release.rotation.is_none()), (1, true));
        assert_eq!(node.confirm(&world, &release).await, header);
    }
    let other = SeenHeader {
        digest: [2; 32],
        ..header
    };
    let refusal = refused(Node::new(1).ask(&world, Ask::Adopted(other)).await);
    assert_eq!(refusal.reason, Reason::HeaderMismatch);
    world
        .desk
        .set_policy(crate::policy::testing::parse(FILE).unwrap());
    let refusal = refused(Node::new(1).ask(&world, Ask::Adopted(header)).await);
    assert_eq!(refusal.reason, Reason::AdoptedNotAllowed);
}
