//! The life of volumes after their first boot, against a real key service: several on one node, the next epoch, leases
//! that are held, lost, taken over and ended, and a volume that is opened again in a running system.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_agent::client::Client;
use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::hold::{Ended, Ports, Volume, hold};
use dawnkey_agent::lease::Leases;
use dawnkey_agent::report::Event;
use dawnkey_agent::unlock::Outcome;
use dawnkey_attest::cel::{Place, replay};
use dawnkey_attest::tpm::hash::Hash;
use dawnkey_host_tests::world::node::{Node, image};
use dawnkey_host_tests::world::{SERVICE, VOLUME, World};
use dawnkey_proto::closing::{Opened, Recorded};
use dawnkey_proto::message::{OnLoss, Progress, Reason, Refusal};
use std::time::Duration;
use tokio::sync::mpsc;
use uuid::Uuid;

const OTHER: Uuid = Uuid::from_u128(0x5b1d_1f0e_33b6_4d6e_8f2a_5d1c_0a8f_7e22);

fn refusal(error: UnlockError) -> Refusal {
    match error {
        UnlockError::Ask { error, .. } => match *error {
            AskError::Refused(refusal) => refusal,
            other => panic!("expected a refusal, got {other}"),
        },
        other => panic!("expected a refusal, got {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_volumes_are_made_and_opened_in_one_boot_each_and_a_third_may_be_missing() {
    let world = World::new(&image("quiet")).await;
    world.create_volume(OTHER).await;
    let mut node = Node::new(&world.tpm_ca);
    let service = world.service_at(world.address());
    let mut unknown = node.add_disk(Uuid::from_u128(9), "unknown");
    unknown.required = false;
    let volumes = [node.volume(VOLUME), unknown, node.add_disk(OTHER, "other")];
    for (generation, outcome) in [(1, Outcome::Provisioned), (2, Outcome::Unlocked)] {
        let finished = node.unlock_all(&service, &volumes).await.unwrap();
        let done: Vec<_> = finished
            .done
            .iter()
            .map(|d| (d.volume, d.outcome))
            .collect();
        assert_eq!(done, [(VOLUME, outcome), (OTHER, outcome)]);
        let closed_with = [VOLUME, OTHER].map(|volume| Opened { volume, generation });
        assert_eq!(finished.closed_with, closed_with);
        let (log, pcr_15) = node.measured();
        let place = Place::Pcr(15);
        assert_eq!(replay(&log, place, Hash::Sha256).unwrap(), pcr_15);
        let mut recorded: Vec<_> = closed_with
            .map(|opened| Recorded::Unlocked {
                service: SERVICE,
                opened,
            })
            .into();
        recorded.push(Recorded::Cap);
        let says = log.iter().map(|record| {
            let event = record.event().unwrap();
            Recorded::read(&event).unwrap()
        });
        assert_eq!(says.collect::<Vec<_>>(), recorded);
        let [(missing, error)] = finished.missing.as_slice() else {
            panic!("one volume must be missing")
        };
        assert_eq!((missing.as_u128(), error.exit_code()), (9, 21));
        node.boot("quiet");
    }
    // The same, required: nothing stays open, and the generations of the others are not used up.
    let mut required = volumes.clone();
    required[1].required = true;
    let stopped = node.unlock_all(&service, &required).await.unwrap_err();
    assert_eq!(stopped.undone.closed, 1);
    node.boot("quiet");
    node.unlock_all(&service, &volumes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn next_epoch_is_taken_up_at_the_next_boot_and_the_old_one_is_dead_afterwards() {
    let world = World::new(&image("quiet")).await;
    let mut node = Node::new(&world.tpm_ca);
    node.unlock(&world).await.unwrap();
    let old = node.disk_bytes();
    world.rotate().await;
    node.boot("quiet");
    let done = node.unlock(&world).await.unwrap();
    assert_eq!(
        (done.mapping.seen.epoch, done.mapping.seen.generation),
        (2, 2)
    );
    let record = world.volume().await;
    assert_eq!((record.epoch, record.next_epoch), (2, 0));
    node.boot("quiet");
    let done = node.unlock(&world).await.unwrap();
    assert_eq!(
        (done.mapping.seen.epoch, done.mapping.seen.generation),
        (2, 3)
    );
    node.boot("quiet");
    node.write_disk(&old);
    let refused = node.refused(&world).await;
    assert!(
        matches!(refused.reason, Reason::StaleEpoch | Reason::StaleGeneration),
        "{refused}"
    );
}

/// A mapping that notes what is done to it.
#[derive(Default)]
struct Noted(Vec<OnLoss>);

impl Volume for Noted {
    fn in_use(&mut self) -> bool {
        false
    }

    fn progress(&mut self) -> Option<Progress> {
        Some(Progress {
            ready_bytes: 1 << 20,
            total_bytes: 1 << 30,
        })
    }

    fn suspend(&mut self) -> Result<(), String> {
        self.0.push(OnLoss::Suspend);
        Ok(())
    }

    fn power_off(&mut self) -> Result<(), String> {
        self.0.push(OnLoss::PowerOff);
        Ok(())
    }
}

/// Holds the lease that the node's unlock left, and does `then` once it is held. Returns what came of it.
async fn holds<T>(
    world: &World,
    node: &mut Node,
    then: impl AsyncFnOnce() -> T,
    stop: impl Future<Output = ()>,
) -> (Ended, Vec<OnLoss>, T) {
    let service = world.service_at(world.address());
    let held = node
        .keyring
        .find(VOLUME)
        .unwrap()
        .expect("no lease was left");
    let (said, mut hears) = mpsc::unbounded_channel();
    let mut volume = Noted::default();
    let mut client = Client::new(&service).unwrap();
    let mut report = |event: &Event| said.send(event.name()).unwrap();
    let mut ports = Ports {
        service: &mut client,
        leases: &mut node.keyring,
        volume: &mut volume,
        pace: service.pace,
        jitter: &mut || 0,
        report: &mut report,
        alive: &mut || {},
        tick: Duration::from_millis(50),
    };
    let act = async {
        assert_eq!(hears.recv().await, Some("lease-held"));
        then().await
    };
    let (ended, acted) = tokio::join!(hold(held, &mut ports, stop), act);
    (ended, volume.0, acted)
}

async fn held_world(on_loss: OnLoss, lease_seconds: u32) -> (World, Node) {
    let rules = format!(
        "owner = \"any\"\nhold = true\non_loss = \"{}\"",
        on_loss.name()
    );
    let world = World::with_rules(&image("quiet"), &rules, lease_seconds).await;
    let mut node = Node::new(&world.tpm_ca);
    node.unlock(&world).await.unwrap();
    (world, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_lease_leads_to_what_the_policy_says() {
    for on_loss in OnLoss::ALL {
        let (world, mut node) = held_world(on_loss, 3).await;
        assert!(world.volume().await.held);
        let broken = async || world.break_lease().await;
        let (ended, done, ()) = holds(&world, &mut node, broken, std::future::pending()).await;
        assert_eq!(ended, Ended::Lost(on_loss));
        let acts = matches!(on_loss, OnLoss::Suspend | OnLoss::PowerOff);
        assert_eq!(done, if acts { vec![on_loss] } else { vec![] });
        assert!(node.keyring.left.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_keep_a_clone_out_and_show_progress_until_the_orderly_end() {
    let (world, mut node) = held_world(OnLoss::PowerOff, 600).await;
    let mut clone = Node::new(&world.tpm_ca);
    clone.write_disk(&node.disk_bytes());
    let (end, ended) = tokio::sync::oneshot::channel();
    let kept_out = async || {
        let refused = clone.refused(&world).await;
        let record = world.volume().await;
        end.send(()).unwrap();
        (refused.reason, record.ready_bytes, record.total_bytes)
    };
    let stop = async { ended.await.unwrap() };
    let (ended, done, seen) = holds(&world, &mut node, kept_out, stop).await;
    assert_eq!(seen, (Reason::LeaseHeld, 1 << 20, 1 << 30));
    assert_eq!((ended, done), (Ended::Orderly, vec![]));
    clone.unlock(&world).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_takes_over_when_the_lease_has_run_out_and_the_first_finds_out() {
    let (world, mut node) = held_world(OnLoss::PowerOff, 3).await;
    let mut other = Node::new(&world.tpm_ca);
    other.write_disk(&node.disk_bytes());
    // Nobody renews: the other one waits as long as it is told to.
    other.unlock(&world).await.unwrap();
    assert!(
        other
            .events
            .iter()
            .any(|event| event.name() == "attempt-failed")
    );
    let service = world.service_at(world.address());
    let held = node.keyring.find(VOLUME).unwrap().unwrap();
    let mut volume = Noted::default();
    let mut ports = Ports {
        service: &mut Client::new(&service).unwrap(),
        leases: &mut node.keyring,
        volume: &mut volume,
        pace: service.pace,
        jitter: &mut || 0,
        report: &mut |_: &Event| {},
        alive: &mut || {},
        tick: Duration::from_millis(50),
    };
    let ended = hold(held, &mut ports, std::future::pending()).await;
    assert_eq!(ended, Ended::Lost(OnLoss::PowerOff));
    assert_eq!(volume.0, [OnLoss::PowerOff]);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_instance_takes_its_own_lease_back_at_once_after_a_crash() {
    let (world, mut node) = held_world(OnLoss::PowerOff, 600).await;
    node.boot("quiet");
    node.unlock(&world).await.unwrap();
    assert!(
        node.events
            .iter()
            .all(|event| event.name() != "attempt-failed")
    );
    assert_eq!(node.keyring.left.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_boot_gets_no_volume_again_by_default_and_only_a_true_account_where_policy_allows_it()
 {
    let world = World::new(&image("quiet")).await;
    let mut node = Node::new(&world.tpm_ca);
    node.unlock(&world).await.unwrap();
    let opened = Opened {
        volume: VOLUME,
        generation: 1,
    };
    let refused = refusal(node.reopen(&world, &[opened]).await.unwrap_err());
    assert_eq!(refused.reason, Reason::ReopenNotAllowed);

    let world = World::with_rules(&image("quiet"), "reopen = \"allow\"", 600).await;
    let mut node = Node::new(&world.tpm_ca);
    node.unlock(&world).await.unwrap();
    let untrue = Opened {
        generation: 2,
        ..opened
    };
    for account in [vec![untrue], vec![opened, untrue]] {
        let refused = refusal(node.reopen(&world, &account).await.unwrap_err());
        assert_eq!(refused.reason, Reason::ReopenMismatch);
    }
    for generation in 2..4 {
        let done = node.reopen(&world, &[opened]).await.unwrap();
        assert_eq!(done.mapping.seen.generation, generation);
    }
    // The request of a boot is still refused in a closed one.
    assert_eq!(node.refused(&world).await.reason, Reason::PcrMismatch);
}
