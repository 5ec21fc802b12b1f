//! The client against servers that are wrong, slow, closing, lying or in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use dawnkey_agent::client::Client;
use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::service::{CallError, KeyService, Session, Verdict};
use dawnkey_proto::binding::SpkiDigest;
use dawnkey_proto::message::{Answer, EvidenceItem, MessageError, Reason};
use dawnkey_proto::tls::Pin;
use dawnkey_proto::wire;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Keys, Pki, Script, config, raw, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tonic::Status;

/// Long enough for a connection on a machine that is busy.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn client(addresses: &[SocketAddr], pin: Pin) -> Client {
    Client::new(&config(addresses, pin)).unwrap()
}

async fn refused(address: SocketAddr, pin: Pin, deadline: Instant) -> ConnectError {
    let connected = client(&[address], pin).connect(deadline).await;
    connected.err().expect("the connection must be refused")
}

fn refusal(detail: &str) -> wire::UnlockAnswer {
    wire::UnlockAnswer {
        answer: Some(wire::unlock_answer::Answer::Refuse(wire::Refuse {
            reason: wire::Reason::UnknownVolume.into(),
            detail: detail.into(),
            remedy: String::new(),
            retry_after_seconds: 0,
        })),
    }
}

fn evidence() -> Vec<EvidenceItem> {
    vec![EvidenceItem {
        kind: "vtpm".into(),
        payload: vec![1; 5000],
    }]
}

/// Refuses with a text of so many bytes.
struct Refusing(usize);

impl Script for Refusing {
    async fn unlock(&self, _: wire::UnlockRequest, _: &Keys) -> Result<wire::UnlockAnswer, Status> {
        Ok(refusal(&"x".repeat(self.0)))
    }
}

#[tokio::test]
async fn pinned_service_answers() {
    let pki = Pki::new();
    let running = serve(&pki, Refusing(10)).await;
    for pin in [pki.ca_pin(), Pin::Spki(pki.spki())] {
        let mut session = client(&[running.address], pin)
            .connect(later())
            .await
            .unwrap();
        assert_eq!(session.binding().1, &pki.spki());
        let answer = session.unlock(b"body", evidence(), later()).await.unwrap();
        assert!(
            matches!(answer, Verdict::Answer(Answer::Refuse(r)) if r.reason == Reason::UnknownVolume)
        );
    }
}

#[tokio::test]
async fn refuses_certificate_of_another_ca() {
    let (pki, other) = (Pki::new(), Pki::new());
    let running = serve(&pki, Refusing(10)).await;
    let error = refused(running.address, other.ca_pin(), later()).await;
    assert!(matches!(error, ConnectError::NotPinned { .. }), "{error}");
    assert!(!error.is_transport());
}

#[tokio::test]
async fn refuses_certificate_for_another_name() {
    let pki = Pki::new();
    let running = serve(&pki, Refusing(10)).await;
    let mut config = config(&[running.address], pki.ca_pin());
    config.name = "other.test".try_into().unwrap();
    let error = Client::new(&config).unwrap().connect(later()).await.err();
    assert!(matches!(error, Some(ConnectError::NotPinned { .. })));
}

#[tokio::test]
async fn refuses_service_with_another_key_than_the_pinned_one() {
    let pki = Pki::new();
    let running = serve(&pki, Refusing(10)).await;
    let error = refused(running.address, Pin::Spki(SpkiDigest([7; 32])), later()).await;
    assert!(matches!(error, ConnectError::NotPinned { .. }), "{error}");
}

/// A fatal alert: level 2, description 70, protocol_version, in a TLS 1.2 record.
const ALERT_PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];

#[tokio::test]
async fn refuses_server_that_answers_the_offer_of_tls13_with_an_alert() {
    let pki = Pki::new();
    let running = raw(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 4096]).await;
        let _ = tcp.write_all(&ALERT_PROTOCOL_VERSION).await;
        let _ = tcp.read(&mut [0; 4096]).await;
    })
    .await;
    let error = refused(running.address, pki.ca_pin(), later()).await;
    assert!(matches!(error, ConnectError::NoTls13 { .. }), "{error}");
}

/// A ServerHello of TLS 1.2: no supported_versions extension, ECDHE_ECDSA_WITH_AES_128_GCM_SHA256.
fn server_hello_tls12() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([0, 0xc0, 0x2b, 0]);
    body.extend([0, 0]);
    let mut record = vec![22, 3, 3];
    let length = u16::try_from(body.len() + 4).unwrap();
    record.extend(length.to_be_bytes());
    record.extend([2, 0, 0, u8::try_from(body.len()).unwrap()]);
    record.extend(body);
    record
}

#[tokio::test]
async fn refuses_server_that_chooses_tls12() {
    let pki = Pki::new();
    let running = raw(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 4096]).await;
        let _ = tcp.write_all(&server_hello_tls12()).await;
        let _ = tcp.read(&mut [0; 4096]).await;
    })
    .await;
    let error = refused(running.address, pki.ca_pin(), later()).await;
    assert!(matches!(error, ConnectError::NoTls13 { .. }), "{error}");
}

#[tokio::test]
async fn names_a_service_that_is_down() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = refused(address, Pki::new().ca_pin(), later()).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.is_transport());
}

#[tokio::test]
async fn names_a_server_that_accepts_but_never_answers_tls() {
    let running = raw(|mut tcp| async move {
        while !matches!(tcp.read(&mut [0; 4096]).await, Ok(0) | Err(_)) {}
    })
    .await;
    let began = Instant::now();
    let error = refused(running.address, Pki::new().ca_pin(), soon()).await;
    assert!(matches!(error, ConnectError::TlsTimeout { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn names_a_server_that_closes_during_the_handshake_or_speaks_no_tls() {
    let closing = raw(|_| async {}).await;
    let error = refused(closing.address, Pki::new().ca_pin(), later()).await;
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
    let plain = raw(|mut tcp| async move {
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = tcp.read(&mut [0; 4096]).await;
    })
    .await;
    let error = refused(plain.address, Pki::new().ca_pin(), later()).await;
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn finds_the_endpoint_that_works_behind_one_that_hangs_and_one_that_is_wrong() {
    let (pki, other) = (Pki::new(), Pki::new());
    let hanging = raw(|tcp| async move {
        let _tcp = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let wrong = serve(&other, Refusing(1)).await;
    let right = serve(&pki, Refusing(1)).await;
    let addresses = [hanging.address, wrong.address, right.address];
    let session = client(&addresses, pki.ca_pin())
        .connect(later())
        .await
        .unwrap();
    assert_eq!(session.peer(), right.address.to_string());
}

#[tokio::test]
async fn one_endpoint_that_may_come_back_keeps_the_attempt_retryable() {
    let other = Pki::new();
    let wrong = serve(&other, Refusing(1)).await;
    let wrong_too = serve(&other, Refusing(1)).await;
    let closing = raw(|_| async {}).await;
    let addresses = [wrong.address, closing.address];
    let error = client(&addresses, Pki::new().ca_pin())
        .connect(later())
        .await
        .err()
        .unwrap();
    assert!(error.is_transport());
    let ConnectError::NoneOf { failures } = &error else {
        panic!("{error}")
    };
    assert!(matches!(
        failures.as_slice(),
        [
            ConnectError::NotPinned { .. },
            ConnectError::Handshake { .. }
        ]
    ));
    for address in addresses {
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    let hopeless = [wrong.address, wrong_too.address];
    let error = client(&hopeless, Pki::new().ca_pin())
        .connect(later())
        .await
        .err()
        .unwrap();
    assert!(!error.is_transport(), "{error}");
}

/// Never answers.
struct Hanging;

impl Script for Hanging {
    async fn unlock(&self, _: wire::UnlockRequest, _: &Keys) -> Result<wire::UnlockAnswer, Status> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn names_a_service_that_never_answers_the_call() {
    let pki = Pki::new();
    let running = serve(&pki, Hanging).await;
    let mut session = client(&[running.address], pki.ca_pin())
        .connect(later())
        .await
        .unwrap();
    let error = session
        .unlock(b"body", evidence(), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::TimedOut { call: "Unlock", .. }));
    assert!(error.is_transport());
}

/// A refusal that tells the node to come again.
struct Busy;

impl Script for Busy {
    async fn unlock(&self, _: wire::UnlockRequest, _: &Keys) -> Result<wire::UnlockAnswer, Status> {
        let mut answer = refusal("the store does not answer");
        if let Some(wire::unlock_answer::Answer::Refuse(no)) = &mut answer.answer {
            no.reason = wire::Reason::StoreUnavailable.into();
            no.retry_after_seconds = 5;
        }
        Ok(answer)
    }
}

#[tokio::test]
async fn goes_to_another_endpoint_after_one_that_stands_but_gives_no_verdict() {
    let pki = Pki::new();
    let failing = serve(&pki, Failing(Status::unavailable)).await;
    let busy = serve(&pki, Busy).await;
    let closing = serve(&pki, Closing(0)).await;
    let right = serve(&pki, Refusing(1)).await;
    let all = [&failing, &busy, &closing, &right].map(|running| running.address);
    let mut client = client(&all, pki.ca_pin());
    let mut asked = Vec::new();
    for _ in 0..5 {
        let mut session = client.connect(later()).await.unwrap();
        asked.push(session.peer());
        // A refusal that is final is a verdict: its endpoint stays the first.
        let _ = session.unlock(b"body", evidence(), later()).await;
    }
    let [failing, busy, closing, right] = all.map(|address| address.to_string());
    assert_eq!(asked, [failing, busy, closing, right.clone(), right]);
}

/// Closes after so many bytes of the answer.
struct Closing(usize);

impl Script for Closing {
    async fn unlock(
        &self,
        _: wire::UnlockRequest,
        keys: &Keys,
    ) -> Result<wire::UnlockAnswer, Status> {
        keys.allowance.store(self.0, Ordering::SeqCst);
        Ok(refusal(&"x".repeat(2000)))
    }
}

#[tokio::test]
async fn names_a_service_that_closes_mid_answer() {
    let pki = Pki::new();
    for bytes in [0, 5, 40, 200, 1000] {
        let running = serve(&pki, Closing(bytes)).await;
        let mut session = client(&[running.address], pki.ca_pin())
            .connect(later())
            .await
            .unwrap();
        let error = session.unlock(b"body", evidence(), later()).await;
        assert!(
            matches!(error, Err(CallError::Closed { call: "Unlock", .. })),
            "{bytes}: {error:?}"
        );
    }
}

#[tokio::test]
async fn lost_connection_is_never_made_again_under_the_same_session() {
    let pki = Pki::new();
    let running = serve(&pki, Closing(0)).await;
    let mut session = client(&[running.address], pki.ca_pin())
        .connect(later())
        .await
        .unwrap();
    for _ in 0..3 {
        let error = session.unlock(b"body", evidence(), later()).await;
        assert!(matches!(error, Err(CallError::Closed { .. })), "{error:?}");
    }
    assert_eq!(running.accepted(), 1);
}

#[tokio::test]
async fn refuses_oversized_answer() {
    let pki = Pki::new();
    let running = serve(&pki, Refusing(100 << 10)).await;
    let mut session = client(&[running.address], pki.ca_pin())
        .connect(later())
        .await
        .unwrap();
    let error = session
        .unlock(b"body", evidence(), later())
        .await
        .unwrap_err();
    assert!(
        matches!(error, CallError::TooLarge { call: "Unlock", .. }),
        "{error}"
    );
    assert!(!error.is_transport());
}

#[tokio::test]
async fn refuses_oversized_request_before_sending_it() {
    let pki = Pki::new();
    let running = serve(&pki, Refusing(1)).await;
    let mut session = client(&[running.address], pki.ca_pin())
        .connect(later())
        .await
        .unwrap();
    let evidence = vec![EvidenceItem {
        kind: "vtpm".into(),
        payload: vec![0; 5 << 20],
    }];
    let error = session.unlock(b"body", evidence, later()).await;
    assert!(matches!(error, Err(CallError::RequestTooLarge { .. })));
}

/// Answers without an answer.
struct Empty;

impl Script for Empty {
    async fn unlock(&self, _: wire::UnlockRequest, _: &Keys) -> Result<wire::UnlockAnswer, Status> {
        Ok(wire::UnlockAnswer { answer: None })
    }
}

#[tokio::test]
async fn refuses_answer_that_is_none() {
    let pki = Pki::new();
    let running = serve(&pki, Empty).await;
    let mut session = client(&[running.address], pki.ca_pin())
        .connect(later())
        .await
        .unwrap();
    let error = session.unlock(b"body", evidence(), later()).await;
    assert!(matches!(
        error,
        Err(CallError::Message {
            source: MessageError::Field {
                field: "answer",
                ..
            },
            ..
        })
    ));
}

/// Answers with a gRPC status.
struct Failing(fn(&'static str) -> Status);

impl Script for Failing {
    async fn unlock(&self, _: wire::UnlockRequest, _: &Keys) -> Result<wire::UnlockAnswer, Status> {
        Err((self.0)("because\u{1b}[31m"))
    }
}

#[tokio::test]
async fn tells_a_busy_service_from_a_broken_one() {
    let pki = Pki::new();
    for (status, transport) in [
        (Failing(Status::unavailable), true),
        (Failing(Status::resource_exhausted), true),
        (Failing(Status::internal), false),
        (Failing(Status::unimplemented), false),
    ] {
        let running = serve(&pki, status).await;
        let mut session = client(&[running.address], pki.ca_pin())
            .connect(later())
            .await
            .unwrap();
        let error = session
            .unlock(b"body", evidence(), later())
            .await
            .unwrap_err();
        assert_eq!(error.is_transport(), transport, "{error}");
        assert!(matches!(
            error,
            CallError::Unavailable { .. } | CallError::Status { .. }
        ));
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

#[tokio::test]
async fn refuses_answer_that_is_no_message() {
    let pki = Pki::new();
    let running = support::garbage::serve(&pki).await;
    let mut session = client(&[running.address], pki.ca_pin())
        .connect(later())
        .await
        .unwrap();
    let error = session.unlock(b"body", evidence(), later()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, CallError::Status { .. }), "{error}");
    assert!(!error.is_transport());
}
