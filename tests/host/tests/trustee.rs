//! The agent against a Key Broker Service of Trustee: what it says, what it takes, and what it refuses to take.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_agent::config::{ServiceConfig, VolumeConfig};
use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::report::Event;
use dawnkey_agent::retry::{Again, Budget};
use dawnkey_agent::run::{Finished, Job, Ports, run};
use dawnkey_agent::service::CallError;
use dawnkey_agent::source::Source;
use dawnkey_agent::unlock::{Boot, Done, Giver, Outcome, Unlock};
use dawnkey_attest::collect::vtpm::KeySource;
use dawnkey_attest::collect::{Attester, Closing, CollectError};
use dawnkey_attest::evidence::{Evidence, Exchange, KIND_SNP, SnpEvidence};
use dawnkey_attest::fake::SwtpmCa;
use dawnkey_dm::fake::FakeMapper;
use dawnkey_host_tests::kbs::{Kbs, Twist, error, service};
use dawnkey_host_tests::world::keyring::Keyring;
use dawnkey_host_tests::world::node::{Node, state_volume};
use dawnkey_host_tests::world::pki::Pki;
use dawnkey_proto::closing::{Opened, brokered_event};
use dawnkey_proto::tls::Pin;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

const VOLUME: Uuid = Uuid::from_u128(0x5b1d_1f0e_0000_0000_0000_0000_0000_0001);
const KEY: [u8; 32] = [0xd3; 32];

/// A guest that reports what it is told to.
#[derive(Default)]
struct Snp {
    /// Reports something else.
    stale: bool,
    closed: Vec<Vec<u8>>,
}

impl Attester for Snp {
    fn kind(&self) -> &'static str {
        KIND_SNP
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        let mut report = vec![0; 0x4a0];
        report[0] = 2;
        let carried = if self.stale { [1; 64] } else { exchange.0 };
        report[0x50..0x90].copy_from_slice(&carried);
        Ok(Evidence::Snp(Box::new(SnpEvidence {
            report,
            certificates: Vec::new(),
        })))
    }

    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        self.closed = events.to_vec();
        Ok(Closing::Absent { why: "told so" })
    }
}

struct Scene {
    pki: Pki,
    kbs: Kbs,
    dir: tempfile::TempDir,
    snp: Snp,
    events: Vec<Event>,
}

impl Scene {
    async fn new(twist: Twist) -> Self {
        Self::with_key(KEY.to_vec(), twist).await
    }

    async fn with_key(key: Vec<u8>, twist: Twist) -> Self {
        let pki = Pki::new();
        let kbs = Kbs::start(&pki, BTreeMap::from([(VOLUME, key)]), twist).await;
        let dir = tempfile::tempdir().unwrap();
        let disk = std::fs::File::create(dir.path().join("disk")).unwrap();
        disk.set_len(64 << 20).unwrap();
        Self {
            pki,
            kbs,
            dir,
            snp: Snp::default(),
            events: Vec::new(),
        }
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn service(&self, provision: bool) -> ServiceConfig {
        service(self.kbs.address, Pin::Ca(vec![self.pki.ca()]), provision)
    }

    async fn unlock(&mut self, service: &ServiceConfig) -> Result<Done, UnlockError> {
        let volume = state_volume(VOLUME, &self.disk());
        let mut mapper = FakeMapper::new(vec![self.disk()]);
        self.events.clear();
        let events = &mut self.events;
        unlock(service, &volume, &mut mapper, &mut self.snp, events).await
    }

    /// Makes the volume.
    async fn provisioned(twist: Twist) -> Self {
        let mut scene = Self::new(Twist::None).await;
        let done = scene.unlock(&scene.service(true)).await.unwrap();
        assert_eq!(done.outcome, Outcome::Provisioned);
        scene.kbs.twist(twist);
        scene
    }

    /// The error of one attempt.
    async fn denied(&mut self, service: &ServiceConfig) -> AskError {
        let volume = state_volume(VOLUME, &self.disk());
        let mut mapper = FakeMapper::new(vec![self.disk()]);
        let report: &mut dyn FnMut(&Event) = &mut |_| {};
        let measured = Unlock::measure(&volume, Boot::Open, "node-1", &mut mapper, report).unwrap();
        let mut source = Source::new(service).unwrap();
        let budget = Budget::start(service.pace);
        let attempt = measured
            .attempt(&mut source, &mut self.snp, &budget, report)
            .await;
        attempt.err().expect("the attempt must fail").error
    }

    /// The error of an unlock that must leave the disk as it is; and how often evidence was shown.
    async fn refused(&mut self) -> (AskError, u32) {
        let before = std::fs::read(self.disk()).unwrap();
        let error = self.unlock(&self.service(false)).await.unwrap_err();
        assert!(std::fs::read(self.disk()).unwrap() == before);
        match error {
            UnlockError::Ask {
                error, attempts, ..
            } => (*error, attempts),
            other => panic!("{other}"),
        }
    }
}

async fn unlock(
    service: &ServiceConfig,
    volume: &VolumeConfig,
    mapper: &mut FakeMapper,
    attester: &mut impl Attester,
    events: &mut Vec<Event>,
) -> Result<Done, UnlockError> {
    let finished: Result<Finished, _> = run(
        &Job {
            volumes: std::slice::from_ref(volume),
            node_name: "node-1",
            pace: service.pace,
            holder: false,
        },
        &mut Ports {
            service: &mut Source::new(service).unwrap(),
            attester,
            mapper,
            leases: &mut Keyring::new(),
            jitter: &mut || 0,
            report: &mut |event: &Event| events.push(event.clone()),
        },
    )
    .await;
    finished
        .map(|mut finished| finished.done.remove(0))
        .map_err(|stopped| stopped.error)
}

#[tokio::test]
async fn opens_a_volume_with_three_requests_and_leaves_its_header_as_it_is() {
    let mut scene = Scene::provisioned(Twist::None).await;
    let before = std::fs::read(scene.disk()).unwrap();
    let asked = scene.kbs.requests().len();
    let done = scene.unlock(&scene.service(false)).await.unwrap();
    assert_eq!(
        (done.outcome, done.giver),
        (Outcome::Unlocked, Giver::Broker)
    );
    assert!(std::fs::read(scene.disk()).unwrap() == before);
    assert_eq!(
        scene.kbs.requests()[asked..],
        [
            "POST /kbs/v0/auth".to_owned(),
            "POST /kbs/v0/attest".to_owned(),
            format!("GET /kbs/v0/resource/default/dawnkey/{VOLUME}"),
        ]
    );
    // TCP, TLS and the three.
    assert_eq!(done.trace.round_trips, 5);
    let opened = Opened {
        volume: VOLUME,
        generation: 1,
    };
    assert_eq!(scene.snp.closed, [brokered_event(&opened)]);
}

#[tokio::test]
async fn says_what_nobody_protects_and_confirms_to_nobody() {
    let mut scene = Scene::provisioned(Twist::None).await;
    scene.unlock(&scene.service(false)).await.unwrap();
    let volume = VOLUME;
    assert!(scene.events.contains(&Event::KeyWithoutState { volume }));
    let confirmed = |event: &Event| matches!(event, Event::Confirmed { .. });
    assert!(!scene.events.iter().any(confirmed));
}

#[tokio::test]
async fn formats_a_blank_disk_only_where_the_measured_file_says_so() {
    let mut scene = Scene::new(Twist::None).await;
    let error = scene.unlock(&scene.service(false)).await.unwrap_err();
    assert_eq!((error.exit_code(), error.step()), (30, "find"));
    let (error, attempts) = scene.refused().await;
    assert!(matches!(error, AskError::NoGrant), "{error}");
    assert_eq!((attempts, scene.kbs.requests().len()), (1, 0));
}

#[tokio::test]
async fn a_tpm_proves_itself_with_an_rsa_key() {
    let scene = Scene::new(Twist::None).await;
    let mut node = Node::new(&SwtpmCa::new());
    let volume = node.volume(VOLUME);
    let mut events = Vec::new();
    for (provision, outcome) in [(true, Outcome::Provisioned), (false, Outcome::Unlocked)] {
        // PCR 15 is closed by each.
        node.boot("quiet");
        let (service, mut tpm) = (
            scene.service(provision),
            node.attester_with(KeySource::OwnRsa),
        );
        let done = unlock(&service, &volume, &mut node.mapper(), &mut tpm, &mut events).await;
        assert_eq!(done.unwrap().outcome, outcome);
    }
    let mut ecc = node.attester();
    let service = scene.service(false);
    let refused = unlock(&service, &volume, &mut node.mapper(), &mut ecc, &mut events).await;
    let error = refused.unwrap_err();
    assert_eq!(error.exit_code(), 22);
    assert!(error.to_string().contains("own-rsa"), "{error}");
}

#[tokio::test]
async fn the_pin_is_asked_for_before_anything_is_sent() {
    let mut scene = Scene::provisioned(Twist::None).await;
    let asked = scene.kbs.requests().len();
    let mut service = scene.service(false);
    service.pin = Pin::Ca(vec![Pki::new().ca()]);
    let error = scene.unlock(&service).await.unwrap_err();
    assert_eq!(error.exit_code(), 22);
    let UnlockError::Ask { error, .. } = error else {
        panic!("{error}")
    };
    let pinned = matches!(*error, AskError::Connect(ConnectError::NotPinned { .. }));
    assert!(pinned, "{error}");
    assert_eq!(scene.kbs.requests().len(), asked);
}

#[tokio::test]
async fn plain_http_is_no_key_broker() {
    let mut scene = Scene::provisioned(Twist::None).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut service = scene.service(false);
    service.places.endpoints[0].port = listener.local_addr().unwrap().port();
    let plain = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        tcp.write_all(answer).await.unwrap();
        // Kept until the agent has read what it was told.
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let error = scene.denied(&service).await;
    assert!(matches!(error, AskError::Connect(_)), "{error}");
    plain.abort();
}

#[tokio::test]
async fn a_denial_is_a_refusal_that_is_tried_a_few_times() {
    let mut scene = Scene::provisioned(Twist::Deny("attest", 401, usize::MAX)).await;
    let error = scene.denied(&scene.service(false)).await;
    // How often that is, `retry` shows with a clock of its own.
    assert_eq!(error.again(), Again::Few);
    let AskError::Call(CallError::Denied {
        call,
        status,
        kind,
        detail,
    }) = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*call, *status), ("attest", 401));
    assert_eq!((&**kind, &**detail), ("AttestationError", "told to deny"));
    let ended = UnlockError::Ask {
        attempts: 6,
        spent: Duration::ZERO,
        error: Box::new(error),
        trace: Box::default(),
    };
    assert_eq!(ended.exit_code(), 21);
    // It stands for an outage as well: an operator may help.
    assert!(ended.is_silence());
}

#[tokio::test]
async fn a_denial_that_passes_is_waited_for() {
    let mut scene = Scene::provisioned(Twist::Deny("resource", 401, 1)).await;
    let done = scene.unlock(&scene.service(false)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Unlocked);
    let failed = |event: &&Event| matches!(event, Event::AttemptFailed { .. });
    assert_eq!(scene.events.iter().filter(failed).count(), 1);
}

#[tokio::test]
async fn a_volume_without_a_resource_is_final() {
    let mut scene = Scene::provisioned(Twist::Deny("resource", 404, usize::MAX)).await;
    let (error, attempts) = scene.refused().await;
    let missing = matches!(
        &error,
        AskError::Call(CallError::Denied { status: 404, .. })
    );
    assert!(missing, "{error}");
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn evidence_for_another_digest_and_a_foreign_nonce_are_denied() {
    let mut scene = Scene::provisioned(Twist::None).await;
    scene.snp.stale = true;
    let error = scene.denied(&scene.service(false)).await;
    assert!(
        error.to_string().contains("Report Data Mismatch"),
        "{error}"
    );
    scene.snp.stale = false;
    scene.kbs.twist(Twist::ForeignNonce);
    let error = scene.denied(&scene.service(false)).await;
    assert!(error.to_string().contains("nonce is not"), "{error}");
}

#[tokio::test]
async fn answers_that_are_none_of_the_protocol_are_final_and_open_nothing() {
    let mut scene = Scene::provisioned(Twist::None).await;
    let foreign = br#"{"nonce":"AA\"","extra-params":""}"#;
    let resource = br#"{"protected":"e30","encrypted_key":"","iv":"","ciphertext":"","tag":""}"#;
    for (twist, problem) in [
        (Twist::OtherKey, "sealed to another key"),
        (
            Twist::Say("auth", b"<html>".to_vec()),
            "not the JSON object",
        ),
        (Twist::Say("auth", foreign.to_vec()), "no base64"),
        (Twist::Say("attest", b"{}".to_vec()), "not the JSON object"),
        (
            Twist::Say("resource", b"null".to_vec()),
            "not a flattened JWE",
        ),
        (
            Twist::Say("resource", resource.to_vec()),
            "not a flattened JWE",
        ),
        (
            Twist::Raw("auth", b"SSH-2.0-x\r\n\r\n".to_vec()),
            "no HTTP/1.1",
        ),
    ] {
        scene.kbs.twist(twist.clone());
        let (error, attempts) = scene.refused().await;
        let broker = matches!(&error, AskError::Call(CallError::Broker { .. }));
        assert!(
            broker && error.to_string().contains(problem),
            "{twist:?}: {error}"
        );
        assert_eq!(attempts, 1);
    }
}

#[tokio::test]
async fn an_answer_has_a_cap() {
    let mut scene = Scene::provisioned(Twist::None).await;
    let long = b"HTTP/1.1 200 X\r\nContent-Length: 99999999\r\n\r\n".to_vec();
    for twist in [
        Twist::Raw("auth", long),
        Twist::Raw("auth", vec![b'a'; 300 << 10]),
        Twist::Say("resource", vec![b' '; 300 << 10]),
    ] {
        scene.kbs.twist(twist);
        let (error, attempts) = scene.refused().await;
        let large = matches!(&error, AskError::Call(CallError::TooLarge { .. }));
        assert!(large, "{error}");
        assert_eq!(attempts, 1);
    }
}

#[tokio::test]
async fn a_key_of_another_length_or_of_another_volume_opens_nothing() {
    let disk = Scene::provisioned(Twist::None).await;
    let mut short = Scene::with_key(vec![7; 31], Twist::None).await;
    std::fs::copy(disk.disk(), short.disk()).unwrap();
    let (error, _) = short.refused().await;
    assert!(error.to_string().contains("has 31 bytes"), "{error}");
    let mut other = Scene::with_key(vec![7; 32], Twist::None).await;
    std::fs::copy(disk.disk(), other.disk()).unwrap();
    let error = other.unlock(&other.service(false)).await.unwrap_err();
    assert_eq!((error.exit_code(), error.step()), (31, "open"));
}

#[tokio::test]
async fn a_server_that_ends_its_connections_is_asked_over_new_ones() {
    for said in [true, false] {
        let mut scene = Scene::provisioned(Twist::Closes { said }).await;
        let done = scene.unlock(&scene.service(false)).await.unwrap();
        assert_eq!(done.outcome, Outcome::Unlocked);
    }
}

#[tokio::test]
async fn a_broker_behind_a_balancer_that_has_none_is_waited_for() {
    let mut scene = Scene::provisioned(Twist::Deny("auth", 503, 2)).await;
    let done = scene.unlock(&scene.service(false)).await.unwrap();
    assert_eq!(done.outcome, Outcome::Unlocked);
    // What it says is shown as text.
    scene.kbs.twist(Twist::Deny("resource", 404, 1));
    let (refused, _) = scene.refused().await;
    assert!(refused.to_string().contains("told to deny"));
    assert!(
        String::from_utf8(error("X", "y"))
            .unwrap()
            .contains("errors/X")
    );
}
