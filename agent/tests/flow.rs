//! Every path of the flow, with fakes at its ports and time held still.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fakes;

use dawnkey_agent::config::Pace;
use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::error::{AskError, ProtocolError, Undone, UnlockError};
use dawnkey_agent::report::{Event, Stage};
use dawnkey_agent::run::{Job, Ports, run};
use dawnkey_agent::service::CallError;
use dawnkey_agent::unlock::{Done, Outcome, close_event};
use dawnkey_proto::binding::{Bound, Exporter, Role, SpkiDigest, binder};
use dawnkey_proto::message::{Ask, Reason, Retry, SeenHeader};
use dawnkey_proto::seal::SealError;
use fakes::disk::{Fails as DiskFails, FakeMapper, Holds};
use fakes::tpm::{Fails as TpmFails, FakeTpm, PROOF, binder_of};
use fakes::{Act, FakeService, SERVICE, Seen, TOKEN, VOLUME};
use std::time::Duration;
use tokio::time::Instant;

const PACE: Pace = Pace {
    budget: Duration::from_secs(60),
    attempt: Duration::from_secs(10),
};
const NEVER: Retry = Retry::Never;
const HEADER: Holds = Holds::Header {
    epoch: 1,
    generation: 4,
};

/// A node with its disk and TPM, and a service with its acts.
struct Scene {
    service: FakeService,
    tpm: FakeTpm,
    disk: FakeMapper,
    events: Vec<Event>,
    spent: Duration,
}

impl Scene {
    fn new(holds: Holds, acts: &[Act]) -> Self {
        Self {
            service: FakeService::playing(acts),
            tpm: FakeTpm::that_fails_at(TpmFails::Nothing),
            disk: FakeMapper::holding(holds),
            events: Vec::new(),
            spent: Duration::ZERO,
        }
    }

    async fn run(&mut self) -> Result<Done, UnlockError> {
        let began = Instant::now();
        let events = &mut self.events;
        let wanted = self.disk.wanted();
        let mut ports = Ports {
            service: &mut self.service,
            attester: &mut self.tpm,
            mapper: &mut self.disk,
            jitter: &mut || u16::MAX,
            report: &mut |event: &Event| events.push(event.clone()),
        };
        let job = Job {
            wanted: &wanted,
            node_name: "node-1",
            pace: PACE,
        };
        let ended = run(&job, &mut ports).await;
        self.spent = began.elapsed();
        let left = self.disk.fails == DiskFails::Close;
        assert_eq!(self.disk.is_mapped(), ended.is_ok() || left);
        ended
    }

    async fn fails(&mut self) -> UnlockError {
        self.run().await.expect_err("the flow must fail")
    }

    fn names(&self) -> Vec<&'static str> {
        self.events.iter().map(Event::name).collect()
    }
}

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
    assert_eq!(done.service_id, SERVICE);
    assert_eq!(done.mapping.seen.generation, 5);
    assert_eq!(done.trace.round_trips, 4);
    assert_eq!(scene.tpm.closed, [close_event(SERVICE, VOLUME, 5)]);
    let stages: Vec<_> = done.trace.stages.iter().map(|(stage, _)| stage).collect();
    use Stage::{Ask, CloseBoot, Collect, Confirm, Connect, Find, Open};
    assert_eq!(
        stages,
        [Find, Connect, Collect, Ask, Open, CloseBoot, Confirm]
    );
    assert_eq!(
        scene.names(),
        [
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
        generation: 5,
        epoch: 1,
        digest: after.digest,
        token: TOKEN,
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
    assert!(matches!(ask_error(error), AskError::Refused(r) if r.reason == Reason::PcrMismatch));
    assert_eq!(scene.service.left(), 1);
    assert!(scene.disk.bytes() == before, "the disk changed");
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_the_service_says() {
    let acts = [
        Act::Up,
        Act::Refuse(Reason::LeaseHeld, Retry::After(17)),
        Act::Up,
        Act::Release(1, 5),
        Act::Confirmed,
    ];
    let mut scene = Scene::new(HEADER, &acts);
    scene.run().await.unwrap();
    assert_eq!(scene.spent, Duration::from_secs(17));
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
    let error = scene.fails().await;
    assert_eq!(error.exit_code(), 40);
    assert!(matches!(
        error,
        UnlockError::CloseBoot {
            mapping: Undone::Closed,
            ..
        }
    ));
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
        let error = scene.fails().await;
        assert_eq!(error.exit_code(), 41);
        assert!(matches!(
            error,
            UnlockError::Confirm {
                mapping: Undone::Closed,
                ..
            }
        ));
        assert_eq!(scene.service.left(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn says_when_a_mapping_could_not_be_closed() {
    let mut scene = Scene::new(HEADER, &[Act::Up, Act::Release(1, 5)]);
    scene.disk.fails = DiskFails::Close;
    let error = scene.fails().await;
    assert!(matches!(
        error,
        UnlockError::Confirm {
            mapping: Undone::Left(_),
            ..
        }
    ));
    assert_eq!(scene.names().last(), Some(&"mapping-left"));
}

#[test]
fn close_event_has_the_documented_bytes() {
    let event = close_event(SERVICE, VOLUME, 0x0102_0304_0506_0708);
    assert_eq!(event.len(), 19 + 16 + 16 + 8);
    assert_eq!(&event[..19], b"dawnkey/v1/unlocked");
    assert_eq!(&event[19..35], SERVICE.as_bytes());
    assert_eq!(&event[35..51], VOLUME.as_bytes());
    assert_eq!(event[51..], [1, 2, 3, 4, 5, 6, 7, 8]);
}
