//! A node that no service answers: it listens, proves itself, takes one good grant and no bad one; whoever answers first wins.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fakes;

use dawnkey_agent::config::{Pace, RecoveryConfig};
use dawnkey_agent::error::{AskError, Stopped, UnlockError};
use dawnkey_agent::recovery::Recovery;
use dawnkey_agent::report::Event;
use dawnkey_agent::run::{Finished, Job, Ports, run_or_recover};
use dawnkey_agent::unlock::{Giver, Outcome};
use dawnkey_proto::binding::SpkiDigest;
use dawnkey_proto::closing::{Opened, recovered_event};
use dawnkey_proto::message::{Reason, Retry};
use dawnkey_proto::recovery::{Answer, GRANT_BYTES, Grant, ReceivedRecovery, frame, text};
use fakes::disk::{Fails, Holds};
use fakes::operator::{Operator, Told, code};
use fakes::scene::{HEADER, Scene};
use fakes::tpm::binder_of;
use fakes::{Act, DEK, OTHER, SERVICE, VOLUME};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The service has this long for itself.
const ALONE: Duration = Duration::from_millis(300);

/// A node that listens on loopback, its operator, and the addresses that it listens on.
struct Waiting {
    scene: Scene,
    give_up: Option<Duration>,
    said: mpsc::UnboundedSender<SocketAddr>,
    /// Lines that are typed at its console instead of a listener.
    lines: Option<mpsc::Receiver<String>>,
    /// Requests on its console.
    shown: Rc<RefCell<Vec<String>>>,
}

fn waiting(scene: Scene) -> (Waiting, mpsc::UnboundedReceiver<SocketAddr>) {
    let (said, addresses) = mpsc::unbounded_channel();
    let waiting = Waiting {
        scene,
        give_up: None,
        said,
        lines: None,
        shown: Rc::default(),
    };
    (waiting, addresses)
}

impl Waiting {
    async fn run(&mut self, operator: &Operator) -> Result<Finished, Box<Stopped>> {
        let mut recovery = Recovery::new(RecoveryConfig {
            keys: vec![operator.key.public().unwrap()],
            listen: self.lines.is_none().then(|| "127.0.0.1:0".parse().unwrap()),
            console: self.lines.is_some(),
            after: Some(ALONE),
            give_up: self.give_up,
        })
        .unwrap();
        if let Some(lines) = self.lines.take() {
            recovery = recovery.with_console(|| lines);
        }
        let (events, said) = (&mut self.scene.events, self.said.clone());
        let mut ports = Ports {
            service: &mut self.scene.service,
            attester: &mut self.scene.tpm,
            mapper: &mut self.scene.disk,
            leases: &mut self.scene.leases,
            jitter: &mut || 0,
            report: &mut |event: &Event| {
                match event {
                    Event::RecoveryWaiting {
                        listen: Some(at), ..
                    } => drop(said.send(*at)),
                    Event::RecoveryText { text } => self.shown.borrow_mut().push(text.clone()),
                    _ => {}
                }
                events.push(event.clone());
            },
        };
        let job = Job {
            volumes: &self.scene.volumes,
            node_name: "node-1",
            pace: Pace {
                budget: Duration::from_secs(20),
                attempt: Duration::from_secs(10),
            },
            holder: true,
        };
        run_or_recover(&job, &mut ports, Some(&mut recovery)).await
    }
}

/// Sends the right grant until the node is open.
async fn open(operator: &mut Operator, node: SocketAddr, told: &Told) {
    let grant = operator.grant(told);
    let answer = operator.give(node, told, &grant).await;
    assert_eq!(answer, Answer::Opened(VOLUME));
}

#[tokio::test]
async fn a_grant_opens_the_volume_and_its_header_stays_as_it_is() {
    let mut operator = Operator::new();
    let key = operator.key.public().unwrap().id();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let before = (node.scene.disk.seen(), node.scene.disk.bytes());
    let signer = operator.same();
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        let told = operator.ask(at).await;
        let waiting = told.received.request.volume(VOLUME).unwrap();
        assert_eq!((waiting.seen.generation, waiting.seen.epoch), (4, 1));
        assert_eq!(binder_of(&told.received.evidence[0].payload), told.binder);
        open(&mut operator, at, &told).await;
    });
    let done = ended.unwrap().done.remove(0);
    assert_eq!(done.outcome, Outcome::Recovered);
    assert_eq!(done.giver, Giver::Operator(key));
    assert_eq!(done.mapping.seen, before.0);
    assert!(
        node.scene.disk.bytes() == before.1,
        "recovery wrote to the disk"
    );
    let opened = Opened {
        volume: VOLUME,
        generation: 4,
    };
    assert_eq!(node.scene.tpm.closed, [recovered_event(key, &opened)]);
    let names = node.scene.names();
    assert!(
        names.ends_with(&["recovery-granted", "disk-found", "mapped", "boot-closed"]),
        "{names:?}"
    );
}

/// A grant that is not the right one, as bytes of a frame.
type Bad = fn(&mut Operator, &Told) -> Vec<u8>;

fn bent(operator: &mut Operator, told: &Told, bend: impl FnOnce(&mut Grant)) -> Vec<u8> {
    let mut grant = operator.grant(told);
    bend(&mut grant);
    framed(&grant.sign(&operator.key).unwrap())
}

fn framed(grant: &[u8]) -> Vec<u8> {
    frame::Kind::Grant.frame(grant).unwrap()
}

fn oversized() -> Vec<u8> {
    let mut frame = vec![3];
    frame.extend((1_u32 << 20).to_be_bytes());
    frame
}

const BAD: [(&str, Bad); 16] = [
    ("wrong-key", |o, t| {
        let grant = o.grant_for(t, VOLUME, [0x11; 32]);
        framed(&grant.sign(&o.key).unwrap())
    }),
    ("other-volume", |o, t| {
        let grant = o.grant_for(t, OTHER, DEK);
        framed(&grant.sign(&o.key).unwrap())
    }),
    ("other-boot", |o, t| bent(o, t, |g| g.boot.0[0] ^= 1)),
    ("unsigned", |o, t| {
        let bytes = o.grant(t).sign(&o.key).unwrap();
        framed(&bytes[..GRANT_BYTES - 64])
    }),
    ("unsigned", |o, t| {
        let mut bytes = o.grant(t).sign(&o.key).unwrap();
        bytes[GRANT_BYTES - 64..].fill(0);
        framed(&bytes)
    }),
    ("signature", |o, t| {
        let mut bytes = o.grant(t).sign(&o.key).unwrap();
        bytes[60] ^= 1;
        framed(&bytes)
    }),
    ("unknown-key", |o, t| {
        framed(&o.grant(t).sign(&Operator::new().key).unwrap())
    }),
    ("too-early", |o, t| {
        bent(o, t, |g| {
            (g.not_before, g.not_after) = (g.not_before + 3600, g.not_after + 3600);
        })
    }),
    ("other-header", |o, t| bent(o, t, |g| g.generation += 1)),
    ("other-header", |o, t| bent(o, t, |g| g.epoch += 1)),
    ("not-sealed-here", |o, t| {
        bent(o, t, |g| g.sealed.ciphertext[0] ^= 1)
    }),
    ("malformed", |_, _| framed(&DEK)),
    ("malformed", |_, _| framed(&[])),
    ("malformed", |_, _| oversized()),
    ("malformed", |_, _| {
        frame::Kind::Answer
            .frame(&Answer::Opened(VOLUME).encode())
            .unwrap()
    }),
    ("malformed", |_, _| b"GET / HTTP/1.1\r\n\r\n".to_vec()),
];

#[tokio::test]
async fn refuses_each_bad_grant_by_name_changes_nothing_and_goes_on_listening() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let before = node.scene.disk.bytes();
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        let told = operator.ask(at).await;
        for (number, (expected, bad)) in (1..).zip(BAD) {
            let bytes = bad(&mut operator, &told);
            let answer = operator.send(at, &told, &bytes).await;
            assert_eq!(code(answer), expected, "bad grant {number}");
        }
        // A grant that ended before it came: the boot's clock has gone on by a second at least.
        let mut late = operator.grant(&told);
        (late.not_before, late.not_after) = (0, 0);
        while operator.ask(at).await.received.request.clock_seconds == 0 {}
        let answer = operator.give(at, &told, &late).await;
        assert_eq!(code(answer), "too-late");
        // One whose DEK was wrong is used up all the same.
        let wrong = operator.grant_for(&told, VOLUME, [0x12; 32]);
        for expected in ["wrong-key", "replayed"] {
            let answer = operator.give(at, &told, &wrong).await;
            assert_eq!(code(answer), expected);
        }
        open(&mut operator, at, &told).await;
    });
    assert_eq!(ended.unwrap().done[0].outcome, Outcome::Recovered);
    assert!(node.scene.disk.bytes() == before);
    let refused = node
        .scene
        .names()
        .into_iter()
        .filter(|n| *n == "recovery-refused");
    assert_eq!(refused.count(), BAD.len() + 3);
}

#[tokio::test]
async fn a_grant_for_one_boot_is_none_for_the_next() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let (first, kept) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        let told = operator.ask(at).await;
        let grant = operator.grant(&told);
        open(&mut operator, at, &told).await;
        grant
    });
    first.unwrap();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let (second, ()) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        let told = operator.ask(at).await;
        assert_eq!(code(operator.give(at, &told, &kept).await), "other-boot");
        open(&mut operator, at, &told).await;
    });
    second.unwrap();
}

#[tokio::test]
async fn the_service_coming_back_wins_and_ends_the_listening() {
    let operator = Operator::new();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let service = node.scene.service.clone();
    let (ended, at) = tokio::join!(node.run(&operator), async {
        let at = at.recv().await.unwrap();
        drop(TcpStream::connect(at).await.unwrap());
        service.then(&[Act::Up, Act::Release(1, 5), Act::Confirmed]);
        at
    });
    let done = ended.unwrap().done.remove(0);
    assert_eq!(done.giver, Giver::Service(SERVICE));
    assert_eq!(
        (done.outcome, done.mapping.seen.generation),
        (Outcome::Unlocked, 5)
    );
    let refused = TcpStream::connect(at).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_grant_wins_over_a_service_that_hangs_in_its_answer() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let service = node.scene.service.clone();
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        service.then(&[Act::Up, Act::Hang]);
        while service.left() > 0 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let told = operator.ask(at).await;
        open(&mut operator, at, &told).await;
    });
    assert_eq!(ended.unwrap().done[0].outcome, Outcome::Recovered);
}

#[tokio::test]
async fn a_final_refusal_before_is_the_end_and_nobody_listens() {
    let never = Act::Refuse(Reason::InstanceNotAllowed, Retry::Never);
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[Act::Up, never]));
    let stopped = node.run(&Operator::new()).await.unwrap_err();
    let UnlockError::Ask { error, .. } = stopped.error else {
        panic!("{stopped}")
    };
    assert!(matches!(*error, AskError::Refused(_)));
    assert!(at.try_recv().is_err());
}

#[tokio::test]
async fn a_final_refusal_while_listening_leaves_the_operator() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let service = node.scene.service.clone();
    let never = Act::Refuse(Reason::UnknownVolume, Retry::Never);
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        service.then(&[Act::Up, never]);
        let told = operator.ask(at).await;
        while service.left() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        open(&mut operator, at, &told).await;
    });
    ended.unwrap();
    assert!(node.scene.names().contains(&"service-given-up"));
}

#[tokio::test]
async fn a_blank_disk_is_never_listened_for() {
    let (mut node, mut at) = waiting(Scene::new(Holds::Nothing, &[Act::Wrong]));
    let stopped = node.run(&Operator::new()).await.unwrap_err();
    assert!(
        matches!(stopped.error, UnlockError::Ask { .. }),
        "{stopped}"
    );
    assert!(at.try_recv().is_err());
}

#[tokio::test]
async fn two_volumes_take_a_grant_each_and_the_second_waits_at_once() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, mut at) = waiting(Scene::with(&[HEADER, HEADER], &[]));
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        let first = at.recv().await.unwrap();
        let told = operator.ask(first).await;
        open(&mut operator, first, &told).await;
        let second = at.recv().await.unwrap();
        assert_eq!(first, second);
        let told = operator.ask(second).await;
        assert!(told.received.request.volume(VOLUME).is_none());
        let grant = operator.grant_for(&told, OTHER, DEK);
        let answer = operator.give(second, &told, &grant).await;
        assert_eq!(answer, Answer::Opened(OTHER));
    });
    let outcomes: Vec<_> = ended.unwrap().done.iter().map(|d| d.outcome).collect();
    assert_eq!(outcomes, [Outcome::Recovered; 2]);
    assert_eq!(node.scene.tpm.closed.len(), 2);
}

#[tokio::test]
async fn gives_up_when_neither_comes_in_the_configured_time() {
    let (mut node, _at) = waiting(Scene::new(HEADER, &[]));
    node.give_up = Some(Duration::from_millis(200));
    let stopped = node.run(&Operator::new()).await.unwrap_err();
    assert!(matches!(stopped.error, UnlockError::Abandoned { .. }));
    assert_eq!(stopped.error.exit_code(), 20);
}

#[tokio::test]
async fn a_volume_that_cannot_be_mapped_after_a_good_grant_fails_by_its_name() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    node.scene.disk.fails = Fails::Map;
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        let told = operator.ask(at).await;
        open(&mut operator, at, &told).await;
    });
    assert!(matches!(ended.unwrap_err().error, UnlockError::Open(_)));
    assert!(!node.scene.tpm.capped);
}

#[tokio::test]
async fn strangers_who_connect_and_say_nothing_do_not_keep_the_operator_out() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, mut at) = waiting(Scene::new(HEADER, &[]));
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        let at = at.recv().await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(at).await.unwrap());
        }
        let told = operator.ask(at).await;
        open(&mut operator, at, &told).await;
    });
    ended.unwrap();
}

#[tokio::test]
async fn a_grant_typed_at_the_console_opens_the_volume_and_noise_does_not() {
    let mut operator = Operator::new();
    let signer = operator.same();
    let (mut node, _) = waiting(Scene::new(HEADER, &[]));
    let (typing, lines) = mpsc::channel(64);
    node.lines = Some(lines);
    let shown = Rc::clone(&node.shown);
    let (ended, ()) = tokio::join!(node.run(&signer), async {
        while shown.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let written = shown.borrow()[0].clone();
        let message = text::decode(text::Kind::Request, &written).unwrap();
        let received = ReceivedRecovery::decode(&message).unwrap();
        let binder = received.text_binder().0;
        assert_eq!(binder_of(&received.evidence[0].payload), binder);
        let told = Told {
            received,
            spki: SpkiDigest([0; 32]),
            binder,
        };
        let stranger = operator.grant(&told).sign(&Operator::new().key).unwrap();
        let right = operator.grant(&told).sign(&operator.key).unwrap();
        let typed = [
            "hunter2\n".to_owned(),
            text::encode(text::Kind::Grant, &stranger),
            text::encode(text::Kind::Grant, &right),
        ];
        for line in typed.concat().lines() {
            typing.send(line.to_owned()).await.unwrap();
        }
    });
    assert_eq!(ended.unwrap().done[0].outcome, Outcome::Recovered);
    let named = |name| node.scene.names().into_iter().filter(move |n| *n == name);
    assert_eq!(named("recovery-typed").count(), 1);
    assert_eq!(named("recovery-refused").count(), 1);
    assert_eq!(named("recovery-granted").count(), 1);
}
