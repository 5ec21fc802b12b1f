//! From the key to a volume that may be used: what fails there leaves no mapping behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fakes;

use dawnkey_agent::error::UnlockError;
use dawnkey_proto::message::{Reason, Retry};
use fakes::disk::{Fails as DiskFails, Holds};
use fakes::scene::{HEADER, PACE, Scene};
use fakes::tpm::Fails as TpmFails;
use fakes::{Act, Seen, TOKEN};

const NEVER: Retry = Retry::Never;

#[tokio::test(start_paused = true)]
async fn names_a_volume_that_cannot_be_mapped_and_leaves_the_boot_open() {
    for (holds, answer) in [
        (HEADER, Act::Release(1, 5)),
        (Holds::Nothing, Act::Provision),
    ] {
        let mut scene = Scene::new(holds, &[Act::Up, answer]);
        scene.disk.fails = DiskFails::Map;
        let error = scene.fails().await;
        assert_eq!(error.exit_code(), 31);
        assert!(matches!(
            (holds, error),
            (HEADER, UnlockError::Open(_)) | (Holds::Nothing, UnlockError::Format(_))
        ));
        assert!(scene.tpm.closed.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn closes_the_mapping_when_the_boot_cannot_be_closed() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5), Act::Confirmed]);
    scene.tpm.fails = TpmFails::CloseBoot;
    let stopped = scene.run_all().await.unwrap_err();
    assert_eq!(stopped.error.exit_code(), 40);
    assert!(matches!(stopped.error, UnlockError::CloseBoot(_)));
    assert_eq!(stopped.undone.closed, 1);
    assert_eq!(scene.service.left(), 1, "nothing is confirmed");
    assert_eq!(scene.names().last(), Some(&"mapping-closed"));
}

#[tokio::test(start_paused = true)]
async fn confirms_over_a_new_connection_when_the_first_is_gone() {
    let acts = [
        Act::Up,
        Act::Release(1, 5),
        Act::Lost,
        Act::Down,
        Act::Up,
        Act::Confirmed,
    ];
    let mut scene = Scene::new(HEADER, &acts);
    scene.run().await.unwrap();
    assert_eq!(scene.service.connections(), 3);
    assert_eq!(
        scene.tpm.collected.len(),
        1,
        "a confirmation needs no evidence"
    );
    let book = scene.service.0.borrow();
    let confirms = book
        .seen
        .iter()
        .filter(|s| matches!(s, Seen::Confirm { token, .. } if *token == TOKEN));
    assert_eq!(confirms.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_confirmation_has_a_budget_of_its_own() {
    let mut acts = [Act::Up, Act::Hang].repeat(5);
    acts.extend([Act::Up, Act::Release(1, 5)]);
    acts.extend(
        [
            vec![Act::Hang],
            [Act::Up, Act::Hang].repeat(3),
            vec![Act::Up, Act::Confirmed],
        ]
        .concat(),
    );
    let mut scene = Scene::new(HEADER, &acts);
    scene.run().await.unwrap();
    assert!(scene.spent > PACE.budget);
}

#[tokio::test(start_paused = true)]
async fn closes_the_mapping_when_the_confirmation_is_refused_or_never_comes() {
    let refused = vec![Act::Refuse(Reason::StaleGeneration, NEVER), Act::Up];
    for (answers, left) in [(refused, 1), (vec![], 0)] {
        let acts = [vec![Act::Up, Act::Release(1, 5)], answers].concat();
        let mut scene = Scene::new(HEADER, &acts);
        let stopped = scene.run_all().await.unwrap_err();
        assert_eq!(stopped.error.exit_code(), 41);
        assert!(matches!(stopped.error, UnlockError::Confirm { .. }));
        assert_eq!(stopped.undone.closed, 1);
        assert_eq!(scene.service.left(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn says_when_a_mapping_could_not_be_closed() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5)]);
    scene.disk.fails = DiskFails::Close;
    let stopped = scene.run_all().await.unwrap_err();
    assert!(matches!(stopped.error, UnlockError::Confirm { .. }));
    assert_eq!((stopped.undone.closed, stopped.undone.left.len()), (0, 1));
    assert_eq!(scene.names().last(), Some(&"mapping-left"));
}
