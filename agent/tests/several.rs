//! Several volumes: one after the other to a mapping, the boot closed once for all, then each confirmed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fakes;

use dawnkey_agent::error::UnlockError;
use dawnkey_agent::report::{EXIT_PARTIAL, Report, Stages};
use dawnkey_proto::message::{Reason, Retry};
use fakes::disk::{Fails as DiskFails, Holds};
use fakes::scene::{HEADER, Scene};
use fakes::tpm::Fails as TpmFails;
use fakes::{Act, OTHER, Seen, VOLUME, close_event};
use std::time::Duration;

const BLANK: Holds = Holds::Nothing;
const REFUSED: Act = Act::Refuse(Reason::InstanceNotAllowed, Retry::Never);

/// Two volumes that are mapped, and what the service says to their confirmations.
fn two(confirmations: &[Act]) -> Scene {
    let mapped = [Act::Up, Act::Release(1, 5), Act::Up, Act::Provision];
    Scene::with(&[HEADER, BLANK], &[&mapped, confirmations].concat())
}

#[tokio::test(start_paused = true)]
async fn maps_in_order_closes_the_boot_once_and_then_confirms_each() {
    let mut scene = two(&[Act::Confirmed, Act::Confirmed]);
    let finished = scene.run_all().await.unwrap();
    let done: Vec<_> = finished.done.iter().map(|done| done.volume).collect();
    assert_eq!(done, [VOLUME, OTHER]);
    assert!(finished.missing.is_empty());
    let events = [(VOLUME, 5), (OTHER, 1)].map(|(id, generation)| close_event(id, generation));
    assert_eq!(scene.tpm.closed, events);
    let order = ["opening", "mapped", "boot-closed", "confirmed"];
    let said: Vec<_> = scene
        .names()
        .into_iter()
        .filter(|name| order.contains(name))
        .collect();
    assert_eq!(
        said,
        [
            "opening",
            "mapped",
            "opening",
            "mapped",
            "boot-closed",
            "confirmed",
            "confirmed"
        ]
    );
    assert_eq!(scene.service.connections(), 2);
    let report = Report::finished(&scene.volumes, &finished, Stages::default(), Duration::ZERO);
    assert_eq!(report.outcome, "provisioned");
    assert_eq!(report.round_trips, 8);
    let outcomes: Vec<_> = report.volumes.iter().map(|volume| volume.outcome).collect();
    assert_eq!(outcomes, ["unlocked", "provisioned"]);
}

#[tokio::test(start_paused = true)]
async fn goes_on_without_a_volume_that_is_not_required() {
    for (acts, fails, step) in [
        (vec![Act::Up, REFUSED], DiskFails::Nothing, "ask"),
        (
            vec![Act::Up, Act::Release(1, 5)],
            DiskFails::MapOther,
            "open",
        ),
    ] {
        let first = [Act::Up, Act::Release(1, 5)];
        let acts = [&first, acts.as_slice(), &[Act::Confirmed]].concat();
        let mut scene = Scene::with(&[HEADER, HEADER], &acts);
        scene.volumes[1].required = false;
        scene.disk.fails = fails;
        let finished = scene.run_all().await.unwrap();
        assert_eq!(finished.done.len(), 1);
        assert_eq!(scene.tpm.closed, [close_event(VOLUME, 5)]);
        assert!(scene.names().contains(&"doing-without"));
        assert!(matches!(finished.missing.as_slice(), [(OTHER, error)] if error.step() == step));
        let report = Report::finished(&scene.volumes, &finished, Stages::default(), Duration::ZERO);
        assert_eq!(report.outcome, "partial");
        assert_eq!(report.volumes[1].error.as_ref().unwrap().step, step);
        assert_eq!(EXIT_PARTIAL, 50);
    }
}

#[tokio::test(start_paused = true)]
async fn first_volume_that_is_not_required_may_fail_too() {
    let acts = [
        Act::Up,
        REFUSED,
        Act::Up,
        Act::Release(1, 5),
        Act::Confirmed,
    ];
    let mut scene = Scene::with(&[HEADER, HEADER], &acts);
    scene.volumes[0].required = false;
    let finished = scene.run_all().await.unwrap();
    assert_eq!(finished.done[0].volume, OTHER);
    let report = Report::finished(&scene.volumes, &finished, Stages::default(), Duration::ZERO);
    assert_eq!(report.volumes[0].id, VOLUME);
    assert_eq!(report.volumes[0].outcome, "refused");
}

#[tokio::test(start_paused = true)]
async fn boot_is_closed_even_if_no_volume_could_be_had() {
    let mut scene = Scene::new(HEADER, &[Act::Up, REFUSED]);
    scene.volumes[0].required = false;
    let finished = scene.run_all().await.unwrap();
    assert!(finished.done.is_empty());
    assert!(scene.tpm.capped && scene.tpm.closed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn failure_of_a_required_volume_closes_those_before_it_and_asks_for_none_after_it() {
    let acts = [
        Act::Up,
        Act::Release(1, 5),
        Act::Up,
        REFUSED,
        Act::Confirmed,
    ];
    let mut scene = Scene::with(&[HEADER, HEADER], &acts);
    let stopped = scene.run_all().await.unwrap_err();
    assert_eq!(stopped.volume, Some(OTHER));
    assert_eq!(stopped.error.exit_code(), 21);
    assert_eq!(stopped.undone.closed, 1);
    assert_eq!(scene.service.left(), 1, "nothing is confirmed");
    assert!(!scene.tpm.capped);
    let report = Report::stopped(&stopped);
    assert_eq!(report.outcome, "refused");
    assert!(
        report
            .error
            .unwrap()
            .message
            .ends_with("the mapping is closed again")
    );

    let mut scene = Scene::with(&[HEADER, HEADER], &[Act::Up, REFUSED, Act::Up]);
    let stopped = scene.run_all().await.unwrap_err();
    assert_eq!((stopped.volume, scene.service.left()), (Some(VOLUME), 1));
}

#[tokio::test(start_paused = true)]
async fn boot_that_cannot_be_closed_closes_every_mapping() {
    let mut scene = two(&[Act::Confirmed]);
    scene.tpm.fails = TpmFails::CloseBoot;
    let stopped = scene.run_all().await.unwrap_err();
    assert!(matches!(stopped.error, UnlockError::CloseBoot(_)));
    assert_eq!(stopped.undone.closed, 2);
    assert_eq!(scene.service.left(), 1, "nothing is confirmed");
}

#[tokio::test(start_paused = true)]
async fn confirmation_refused_to_a_required_volume_closes_the_confirmed_ones_too() {
    for refused_at in 0..2 {
        let mut confirmations = [Act::Confirmed, Act::Confirmed];
        confirmations[refused_at] = Act::Refuse(Reason::StaleGeneration, Retry::Never);
        let mut scene = two(&confirmations);
        let stopped = scene.run_all().await.unwrap_err();
        assert_eq!(stopped.volume, Some([VOLUME, OTHER][refused_at]));
        assert_eq!(stopped.error.exit_code(), 41);
        assert_eq!(stopped.undone.closed, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn confirmation_refused_to_another_volume_closes_that_one_only() {
    let refused = Act::Refuse(Reason::StaleGeneration, Retry::Never);
    let mut scene = two(&[refused, Act::Confirmed]);
    scene.volumes[0].required = false;
    let finished = scene.run_all().await.unwrap();
    assert_eq!(finished.done[0].volume, OTHER);
    let confirmed: Vec<_> = scene
        .service
        .0
        .borrow()
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Confirm { volume, .. } => Some(*volume),
            _ => None,
        })
        .collect();
    assert_eq!(confirmed, [VOLUME, OTHER]);
}
