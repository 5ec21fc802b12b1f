//! Every way to a key and every way not to get one, with fakes at the flow's ports and time held still.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fakes;

use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::error::{AskError, ProtocolError, UnlockError};
use dawnkey_agent::report::{Report, Stage, Stages};
use dawnkey_agent::service::CallError;
use dawnkey_agent::unlock::{Giver, Outcome};
use dawnkey_attest::collect::Closing;
use dawnkey_dm::MapError;
use dawnkey_proto::binding::{Bound, Exporter, Role, SpkiDigest, binder};
use dawnkey_proto::message::{Ask, Reason, Retry, SeenHeader};
use dawnkey_proto::seal::SealError;
use fakes::disk::{Fails as DiskFails, Holds};
use fakes::scene::{HEADER, PACE, Scene};
use fakes::tpm::{Fails as TpmFails, PROOF, binder_of};
use fakes::{Act, SERVICE, Seen, TOKEN, VOLUME, close_event};
use std::time::Duration;

const NEVER: Retry = Retry::Never;

fn ask_error(error: UnlockError) -> AskError {
    match error {
        UnlockError::Ask { error, .. } => *error,
        other => panic!("expected the asking to fail, got {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn unlocks_a_volume_in_four_round_trips_and_closes_the_boot() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5), Act::Confirmed]);
    let done = scene.run().await.unwrap();
    assert_eq!(done.outcome, Outcome::Unlocked);
    assert_eq!(done.giver, Giver::Service(SERVICE));
    assert_eq!(done.mapping.seen.generation, 5);
    assert_eq!(done.trace.round_trips, 4);
    assert_eq!(scene.tpm.closed, [close_event(VOLUME, 5)]);
    let stages: Vec<_> = done.trace.stages.iter().map(|(stage, _)| stage).collect();
    use Stage::{Ask, CloseBoot, Collect, Confirm, Connect, Find, Open};
    assert_eq!(
        stages,
        [Find, Connect, Collect, Ask, Open, CloseBoot, Confirm]
    );
    assert_eq!(
        scene.names(),
        [
            "opening",
            "disk-found",
            "connected",
            "evidence-collected",
            "mapped",
            "boot-closed",
            "confirmed"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn tells_the_service_what_the_header_says_and_binds_the_evidence_to_it() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5), Act::Confirmed]);
    let before = scene.disk.seen();
    scene.run().await.unwrap();
    let after = scene.disk.seen();
    let book = scene.service.0.borrow();
    let Seen::Unlock { request, evidence } = &book.seen[1] else {
        panic!("no request")
    };
    assert_eq!(
        request.ask,
        Ask::Unlock(SeenHeader {
            generation: 4,
            epoch: 1,
            digest: before.digest
        })
    );
    assert_eq!(
        (request.volume, request.node_name.as_str()),
        (VOLUME, "node-1")
    );
    let expected = binder(&Bound {
        role: Role::Node,
        exporter: &Exporter([1; 32]),
        service_spki: &SpkiDigest([9; 32]),
        hpke_public_key: &request.hpke_public_key,
        request: &request.encode(),
    });
    assert_eq!(binder_of(evidence), expected.0);
    let confirm = Seen::Confirm {
        volume: VOLUME,
        generation: 5,
        epoch: 1,
        digest: after.digest,
        token: TOKEN,
        hold: false,
    };
    assert_eq!(book.seen[2], confirm);
}

#[tokio::test(start_paused = true)]
async fn provisions_a_blank_disk_on_a_grant_only() {
    let mut scene = Scene::new(Holds::Nothing, &[Act::Up, Act::Provision, Act::Confirmed]);
    let done = scene.run().await.unwrap();
    assert_eq!(done.outcome, Outcome::Provisioned);
    assert_eq!(scene.disk.seen().generation, 1);
    assert!(scene.names().contains(&"formatting"));
    assert!(matches!(&scene.service.0.borrow().seen[1],
        Seen::Unlock { request, .. } if request.ask == Ask::Provision));
}

#[tokio::test(start_paused = true)]
async fn answers_a_challenge_on_the_same_connection() {
    let acts = [Act::Up, Act::Challenge, Act::Release(1, 5), Act::Confirmed];
    let mut scene = Scene::new(HEADER, &acts);
    let done = scene.run().await.unwrap();
    assert_eq!(done.trace.round_trips, 5);
    assert_eq!(scene.service.connections(), 1);
    assert!(
        scene
            .service
            .0
            .borrow()
            .seen
            .contains(&Seen::Activate(PROOF))
    );
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_its_own_connection_and_its_own_evidence() {
    let acts = [
        Act::Down,
        Act::Up,
        Act::Lost,
        Act::Up,
        Act::Hang,
        Act::Up,
        Act::Challenge,
        Act::Lost,
        Act::Up,
        Act::Release(1, 5),
        Act::Confirmed,
    ];
    let mut scene = Scene::new(HEADER, &acts);
    scene.run().await.unwrap();
    assert_eq!(scene.service.connections(), 5);
    assert_eq!(scene.tpm.collected.len(), 4);
    let mut binders = scene.tpm.collected.clone();
    binders.sort_unstable();
    binders.dedup();
    assert_eq!(binders.len(), 4);
    // Back-offs of 250, 500, 1000 and 2000 ms, and one attempt's whole time.
    assert_eq!(scene.spent, Duration::from_millis(3750 + 10_000));
}

#[tokio::test(start_paused = true)]
async fn gives_up_when_the_budget_ends_and_says_why() {
    let mut scene = Scene::new(HEADER, &[]);
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 20);
    assert!(matches!(error, UnlockError::Ask { attempts: 14.., .. }));
    let last = ask_error(error);
    assert!(matches!(
        last,
        AskError::Connect(ConnectError::Unreachable { .. })
    ));
    assert!(scene.spent <= PACE.budget && scene.spent > PACE.budget - Duration::from_secs(6));
}

/// After each attempt a wait of at most 5 s: a service that comes back is found within that.
#[tokio::test(start_paused = true)]
async fn finds_a_service_that_was_down_for_ten_minutes_within_seconds() {
    let down = Duration::from_secs(600);
    // 250 ms, 500 ms, ... 4 s, then 5 s each.
    let attempts = 5 + (down.as_secs() - 7) / 5;
    let mut acts = vec![Act::Down; usize::try_from(attempts).unwrap()];
    acts.extend([Act::Up, Act::Release(1, 5), Act::Confirmed]);
    let mut scene = Scene::new(HEADER, &acts);
    scene.pace.budget = Duration::from_secs(900);
    let done = scene.run().await.unwrap();
    assert_eq!(done.outcome, Outcome::Unlocked);
    let late = scene.spent.saturating_sub(down);
    assert!(
        scene.spent > down - Duration::from_secs(5),
        "{:?}",
        scene.spent
    );
    assert!(late <= Duration::from_secs(5), "{late:?}");
    let failed = scene.names();
    let failed = failed.iter().filter(|name| **name == "attempt-failed");
    assert_eq!(failed.count() as u64, attempts);
}

#[tokio::test(start_paused = true)]
async fn hanging_service_never_takes_more_than_the_budget() {
    let acts = [Act::Up, Act::Hang].repeat(20);
    let mut scene = Scene::new(HEADER, &acts);
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 20);
    assert!(matches!(
        ask_error(error),
        AskError::Call(CallError::TimedOut { .. })
    ));
    assert!(scene.spent <= PACE.budget, "{:?}", scene.spent);
}

#[tokio::test(start_paused = true)]
async fn wrong_server_is_not_waited_for() {
    let mut scene = Scene::new(HEADER, &[Act::Wrong, Act::Up]);
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 22);
    assert!(matches!(
        ask_error(error),
        AskError::Connect(ConnectError::NotPinned { .. })
    ));
    assert_eq!(scene.spent, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn refusal_is_final() {
    let acts = [Act::Up, Act::Refuse(Reason::PcrMismatch, NEVER), Act::Up];
    let mut scene = Scene::new(HEADER, &acts);
    let before = scene.disk.bytes();
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 21);
    assert!(
        error
            .to_string()
            .contains("pcr-mismatch: found 1, expected 2; add the image")
    );
    let UnlockError::Ask { trace, .. } = &error else {
        panic!("expected the asking to fail, got {error}");
    };
    assert_eq!(trace.round_trips, 3);
    assert_eq!(trace.stages.iter().count(), 4);
    assert!(matches!(ask_error(error), AskError::Refused(r) if r.reason == Reason::PcrMismatch));
    assert_eq!(scene.service.left(), 1);
    assert!(scene.disk.bytes() == before, "the disk changed");
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_the_service_says_and_up_to_half_as_long_again() {
    let acts = [
        Act::Up,
        Act::Refuse(Reason::LeaseHeld, Retry::After(17)),
        Act::Up,
        Act::Release(1, 5),
        Act::Confirmed,
    ];
    let mut scene = Scene::new(HEADER, &acts);
    scene.run().await.unwrap();
    let named = Duration::from_secs(17);
    assert!(
        (named..=named * 3 / 2).contains(&scene.spent),
        "{:?}",
        scene.spent
    );
}

#[tokio::test(start_paused = true)]
async fn does_not_begin_a_wait_that_ends_after_the_budget() {
    let acts = [Act::Up, Act::Refuse(Reason::LeaseHeld, Retry::After(61))];
    let mut scene = Scene::new(HEADER, &acts);
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 21);
    assert_eq!(scene.spent, Duration::ZERO);
}

/// Answers that no honest service gives to an unlock request, and how each is named.
#[tokio::test(start_paused = true)]
async fn refuses_verdicts_that_do_not_fit_the_request() {
    use ProtocolError as P;
    let cases = [
        (HEADER, vec![Act::Provision], P::ProvisionForUnlock),
        (
            Holds::Nothing,
            vec![Act::Release(1, 1)],
            P::ReleaseForProvision,
        ),
        (
            HEADER,
            vec![Act::Challenge, Act::Challenge],
            P::SecondChallenge,
        ),
        (
            HEADER,
            vec![Act::Release(2, 5)],
            P::Epoch {
                seen: 1,
                released: 2,
            },
        ),
        (
            HEADER,
            vec![Act::Release(1, 4)],
            P::Generation {
                seen: 4,
                released: 4,
            },
        ),
        (
            HEADER,
            vec![Act::Release(1, 3)],
            P::Generation {
                seen: 4,
                released: 3,
            },
        ),
        (
            HEADER,
            vec![Act::ReleaseSealedForOther(1, 5)],
            P::Seal(SealError::Open),
        ),
    ];
    for (holds, answers, expected) in cases {
        let acts = [vec![Act::Up], answers, vec![Act::Up]].concat();
        let mut scene = Scene::new(holds, &acts);
        let before = scene.disk.bytes();
        let error = scene.fails().await;
        assert_eq!(error.exit_code(), 22);
        match ask_error(error) {
            AskError::Protocol(found) => assert_eq!(found, expected),
            other => panic!("expected {expected}, got {other}"),
        }
        assert_eq!(scene.service.left(), 1, "no further attempt");
        assert!(scene.disk.bytes() == before, "the disk changed");
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_is_not_asked_for_again() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Garbage, Act::Up]);
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 22);
    assert!(matches!(
        ask_error(error),
        AskError::Call(CallError::Message { .. })
    ));
    assert_eq!(scene.service.left(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_a_volume_that_is_not_found_and_asks_nobody() {
    let mut scene = Scene::new(HEADER, &[Act::Up]);
    scene.disk.fails = DiskFails::Find;
    let error = scene.fails().await;
    assert!(matches!(error, UnlockError::Find(_)));
    assert_eq!(error.exit_code(), 30);
    assert_eq!(scene.service.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn disk_that_comes_late_is_waited_for_and_said_once() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5), Act::Confirmed]);
    scene.disk.fails = DiskFails::Late(5);
    let began = tokio::time::Instant::now();
    let done = scene.run().await.unwrap();
    assert_eq!(done.outcome, Outcome::Unlocked);
    assert_eq!(began.elapsed(), 5 * Duration::from_millis(250));
    let expected = ["opening", "disk-awaited", "disk-found", "connected"];
    assert_eq!(scene.names()[..4], expected);
}

#[tokio::test(start_paused = true)]
async fn disk_that_never_comes_is_given_up_when_its_time_is_over_and_nobody_is_asked() {
    let mut scene = Scene::new(HEADER, &[Act::Up]);
    scene.disk.fails = DiskFails::Late(u8::MAX);
    let began = tokio::time::Instant::now();
    let error = scene.fails().await;
    assert!(matches!(error, UnlockError::Find(MapError::Open(_))));
    assert_eq!(error.exit_code(), 30);
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert_eq!(scene.service.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_to_evidence_without_a_key_is_the_services_mistake() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Challenge]);
    scene.tpm.fails = TpmFails::NoKey;
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 22);
    assert!(matches!(
        ask_error(error),
        AskError::Protocol(ProtocolError::NothingToEnrol { kind: "snp" })
    ));
}

#[tokio::test(start_paused = true)]
async fn says_and_reports_when_the_hardware_has_no_register_to_close_the_boot_in() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5), Act::Confirmed]);
    scene.tpm.fails = TpmFails::NoRegister;
    let finished = scene.run_all().await.unwrap();
    assert_eq!(finished.closing, Closing::Absent { why: "told so" });
    assert!(scene.names().contains(&"boot-not-closed"));
    assert!(!scene.names().contains(&"boot-closed"));
    let report = Report::finished(&scene.volumes, &finished, Stages::default(), Duration::ZERO);
    assert_eq!(report.boot_closed_in, Some("none"));
    assert_eq!(report.evidence, Some("vtpm"));
}

#[tokio::test(start_paused = true)]
async fn names_a_tpm_that_gives_no_evidence_or_no_proof() {
    for (fails, acts) in [
        (TpmFails::Collect, vec![Act::Up]),
        (TpmFails::Activate, vec![Act::Up, Act::Challenge]),
    ] {
        let mut scene = Scene::new(HEADER, &acts);
        scene.tpm.fails = fails;
        let error = scene.fails().await;
        assert_eq!(error.exit_code(), 10);
        assert!(matches!(ask_error(error), AskError::Collect(_)));
        assert_eq!(scene.service.left(), 0);
    }
}
