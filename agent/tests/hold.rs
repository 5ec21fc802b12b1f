//! The life of a lease in the running system: renewed in time, lost by whom, and what is done about it. Time is held.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fakes;

use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::hold::{Ended, Ports, Volume, hold};
use dawnkey_agent::lease::{Held, Leases};
use dawnkey_agent::report::Event;
use dawnkey_proto::lease;
use dawnkey_proto::message::{OnLoss, Progress, Reason, Retry};
use dawnkey_secret::{ConfirmToken, LeaseToken};
use fakes::leases::{FakeLeases, copy};
use fakes::scene::{HEADER, PACE, Scene};
use fakes::{Act, FakeService, Seen, TOKEN, VOLUME};
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LOST: Act = Act::Refuse(Reason::LeaseLost, Retry::Never);

/// A mapping that notes what is done to it.
#[derive(Default)]
struct FakeVolume {
    in_use: bool,
    done: Vec<&'static str>,
    no_power_switch: bool,
}

impl Volume for FakeVolume {
    fn in_use(&mut self) -> bool {
        self.in_use
    }

    fn progress(&mut self) -> Option<Progress> {
        None
    }

    fn suspend(&mut self) -> Result<(), String> {
        self.done.push("suspended");
        Ok(())
    }

    fn power_off(&mut self) -> Result<(), String> {
        if self.no_power_switch {
            return Err("not permitted".into());
        }
        self.done.push("off");
        Ok(())
    }
}

struct Holding {
    service: FakeService,
    leases: FakeLeases,
    volume: FakeVolume,
    events: Vec<Event>,
    spent: Duration,
}

fn held(on_loss: OnLoss, now: Duration) -> Held {
    Held {
        volume: VOLUME,
        fencing_token: 3,
        token: LeaseToken::take(&mut [8; 32]).unwrap(),
        on_loss,
        seconds: 60,
        sent: now,
    }
}

impl Holding {
    fn new(acts: &[Act]) -> Self {
        Self {
            service: FakeService::playing(acts),
            leases: FakeLeases::new(),
            volume: FakeVolume::default(),
            events: Vec::new(),
            spent: Duration::ZERO,
        }
    }

    async fn hold(&mut self, held: Held, stop: impl Future<Output = ()>) -> Ended {
        let began = Instant::now();
        self.leases.leave(&held).unwrap();
        let events = &mut self.events;
        let mut ports = Ports {
            service: &mut self.service,
            leases: &mut self.leases,
            volume: &mut self.volume,
            pace: PACE,
            jitter: &mut || 0,
            report: &mut |event: &Event| events.push(event.clone()),
            alive: &mut || {},
            tick: Duration::from_secs(1),
        };
        let ended = hold(held, &mut ports, stop).await;
        self.spent = began.elapsed();
        ended
    }

    fn names(&self) -> Vec<&'static str> {
        self.events.iter().map(Event::name).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn renews_at_once_and_then_after_each_third_over_connections_of_its_own() {
    let mut holding = Holding::new(&[Act::Up, Act::Renewed(60)].repeat(4));
    let mut lease = held(OnLoss::Warn, Duration::ZERO);
    lease.seconds = 60;
    let ended = holding.hold(lease, sleep(Duration::from_secs(61))).await;
    assert_eq!(
        holding.service.connections(),
        4 + 3,
        "at 0, 20, 40 and 60 s; three tries to end"
    );
    assert_eq!(ended, Ended::Orderly);
    assert_eq!(holding.names(), ["lease-held", "lease-ended"]);
    let book = holding.service.0.borrow();
    let renewal = Seen::Renew {
        volume: VOLUME,
        fencing_token: 3,
        token: [8; 32],
        end: false,
    };
    assert_eq!(book.seen.iter().filter(|seen| **seen == renewal).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn each_action_is_taken_when_the_service_says_that_the_lease_is_lost() {
    for (on_loss, done) in [
        (OnLoss::Nothing, vec![]),
        (OnLoss::Warn, vec![]),
        (OnLoss::Suspend, vec!["suspended"]),
        (OnLoss::PowerOff, vec!["off"]),
    ] {
        let mut holding = Holding::new(&[Act::Up, Act::Renewed(60), Act::Up, LOST]);
        let ended = holding.hold(held(on_loss, Duration::ZERO), pending()).await;
        assert_eq!(ended, Ended::Lost(on_loss));
        assert_eq!(holding.volume.done, done);
        assert_eq!(holding.names(), ["lease-held", "lease-lost"]);
        assert!(
            holding.leases.left.is_empty(),
            "a lost lease is not left for anybody"
        );
        assert_eq!(holding.spent, Duration::from_secs(20));
    }
}

#[tokio::test(start_paused = true)]
async fn retired_volume_has_no_lease_and_no_other_refusal_ends_one() {
    let retired = Act::Refuse(Reason::VolumeRetired, Retry::Never);
    let other = Act::Refuse(Reason::Internal, Retry::Never);
    let acts = [Act::Up, other, Act::Up, Act::Renewed(60), Act::Up, retired];
    let mut holding = Holding::new(&acts);
    let ended = holding
        .hold(held(OnLoss::Suspend, Duration::ZERO), pending())
        .await;
    assert_eq!(ended, Ended::Lost(OnLoss::Suspend));
    assert_eq!(
        holding.names(),
        ["renewal-failed", "lease-held", "lease-lost"]
    );
}

#[tokio::test(start_paused = true)]
async fn lease_ends_so_long_after_the_sending_of_its_last_renewal_whatever_hangs() {
    // The second renewal, sent at 20 s, is answered; the third, sent at 40 s, and all others hang.
    let mut acts = [Act::Up, Act::Renewed(60)].repeat(2);
    acts.extend([Act::Up, Act::Hang].repeat(20));
    let mut holding = Holding::new(&acts);
    let ended = holding
        .hold(held(OnLoss::PowerOff, Duration::ZERO), pending())
        .await;
    assert_eq!(ended, Ended::Lost(OnLoss::PowerOff));
    assert_eq!(holding.volume.done, ["off"]);
    assert_eq!(holding.spent, Duration::from_secs(20 + 60));
}

#[tokio::test(start_paused = true)]
async fn unreachable_service_is_asked_again_until_the_lease_ends_and_a_late_answer_is_in_time() {
    let mut acts = [Act::Down].repeat(9);
    acts.extend([Act::Up, Act::Renewed(60), Act::Up, LOST]);
    let mut holding = Holding::new(&acts);
    let ended = holding
        .hold(held(OnLoss::Warn, Duration::ZERO), pending())
        .await;
    assert_eq!(ended, Ended::Lost(OnLoss::Warn));
    let names = holding.names();
    assert_eq!(
        names
            .iter()
            .filter(|name| **name == "renewal-failed")
            .count(),
        9
    );
    assert_eq!(&names[9..], ["lease-held", "lease-lost"]);
}

#[tokio::test(start_paused = true)]
async fn lease_that_had_run_out_before_the_holder_began_is_asked_for_once_and_only_then_lost() {
    let acts = [Act::Up, Act::Renewed(60), Act::Up, LOST];
    let mut holding = Holding::new(&acts);
    sleep(Duration::from_secs(3600)).await;
    holding
        .hold(held(OnLoss::Suspend, Duration::ZERO), pending())
        .await;
    assert_eq!(holding.names(), ["lease-held", "lease-lost"]);

    let mut holding = Holding::new(&[Act::Down]);
    sleep(Duration::from_secs(3600)).await;
    let ended = holding
        .hold(held(OnLoss::Suspend, Duration::ZERO), pending())
        .await;
    assert_eq!(ended, Ended::Lost(OnLoss::Suspend));
    assert_eq!(holding.service.connections(), 1);
    assert_eq!(holding.volume.done, ["suspended"]);
}

#[tokio::test(start_paused = true)]
async fn volume_in_use_keeps_its_lease_when_the_holder_is_stopped() {
    let mut holding = Holding::new(&[Act::Up, Act::Renewed(60)]);
    holding.volume.in_use = true;
    let stop = sleep(Duration::from_secs(5));
    let ended = holding
        .hold(held(OnLoss::PowerOff, Duration::ZERO), stop)
        .await;
    assert_eq!(ended, Ended::Kept);
    assert_eq!(holding.names(), ["lease-held", "lease-kept"]);
    assert_eq!(holding.service.connections(), 1);
    // The next holder goes on with it.
    let left = copy(&holding.leases.left[0]);
    assert_eq!((left.fencing_token, left.seconds), (3, 60));
}

#[tokio::test(start_paused = true)]
async fn closed_volume_ends_its_lease_and_an_end_that_is_known_already_is_one() {
    for end in [Act::Renewed(0), LOST] {
        let mut holding = Holding::new(&[Act::Up, Act::Renewed(60), Act::Down, Act::Up, end]);
        let stop = sleep(Duration::from_secs(5));
        let ended = holding
            .hold(held(OnLoss::PowerOff, Duration::ZERO), stop)
            .await;
        assert_eq!(ended, Ended::Orderly);
        assert_eq!(
            holding.events.last(),
            Some(&Event::LeaseEnded { problem: None })
        );
        assert!(holding.leases.left.is_empty());
        assert!(holding.volume.done.is_empty());
        let book = holding.service.0.borrow();
        assert!(matches!(
            book.seen.last(),
            Some(Seen::Renew { end: true, .. })
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn machine_that_cannot_be_switched_off_is_suspended_and_that_is_said() {
    let mut holding = Holding::new(&[Act::Up, LOST]);
    holding.volume.no_power_switch = true;
    holding
        .hold(held(OnLoss::PowerOff, Duration::ZERO), pending())
        .await;
    assert_eq!(holding.volume.done, ["suspended"]);
    assert_eq!(holding.names(), ["lease-lost", "loss-not-acted-on"]);
}

#[tokio::test(start_paused = true)]
async fn unlock_leaves_a_lease_that_is_to_be_held_and_no_other() {
    let acts = [Act::Up, Act::ReleaseHeld(1, 5), Act::Confirmed];
    let mut scene = Scene::new(HEADER, &acts);
    scene.run().await.unwrap();
    let [left] = scene.leases.left.as_slice() else {
        panic!("not one lease")
    };
    let confirm = ConfirmToken::take(&mut TOKEN.clone()).unwrap();
    assert_eq!(left.token, lease::token(&confirm));
    assert_eq!((left.volume, left.on_loss), (VOLUME, OnLoss::Suspend));
    let confirmed = scene
        .service
        .0
        .borrow()
        .seen
        .iter()
        .any(|s| matches!(s, Seen::Confirm { hold: true, .. }));
    assert!(confirmed);

    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5), Act::Confirmed]);
    scene.run().await.unwrap();
    assert!(scene.leases.left.is_empty());
}

#[tokio::test(start_paused = true)]
async fn node_without_a_holder_refuses_a_lease_that_is_to_be_held_before_anything_is_mapped() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::ReleaseHeld(1, 5)]);
    scene.holder = false;
    let before = scene.disk.bytes();
    let error = scene.fails().await;
    assert!(matches!(error, UnlockError::NoHolder));
    assert_eq!(error.exit_code(), 42);
    assert!(scene.disk.bytes() == before, "the disk changed");
}

#[tokio::test(start_paused = true)]
async fn lease_that_cannot_be_left_is_not_confirmed_and_one_that_was_refused_is_not_left() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::ReleaseHeld(1, 5), Act::Confirmed]);
    scene.leases.full = true;
    let error = scene.fails().await;
    assert!(
        matches!(&error, UnlockError::Confirm { error, .. } if matches!(**error, AskError::Lease(_)))
    );
    assert_eq!(error.exit_code(), 42);
    assert_eq!(scene.service.left(), 1, "nothing is confirmed");

    let refused = Act::Refuse(Reason::StaleGeneration, Retry::Never);
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::ReleaseHeld(1, 5), refused]);
    scene.fails().await;
    assert!(scene.leases.left.is_empty());
}
