//! The exchange itself, against servers that do what no KMS should.
#![allow(clippy::unwrap_used)]

use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a server does with the bytes of one request: what it sends, and whether it goes on with the connection.
type Script = fn(usize) -> (Vec<u8>, bool);

/// A server on loopback.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Plain HTTP. `script` gets the number of the request, over all connections.
    async fn plain(script: Script) -> Self {
        Self::start(script, None).await
    }

    async fn start(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, requests) = (Arc::clone(&connections), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (tls, requests) = (tls.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, script, &requests).await,
                        // A client that does not trust us hangs up.
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => serve(stream, script, &requests).await,
                            Err(_) => Some(()),
                        },
                    }
                });
            }
        });
        Self { port, connections }
    }

    fn rest(&self) -> Rest {
        let base = Base::parse(&format!("http://127.0.0.1:{}/v1", self.port)).unwrap();
        Rest::new(base, &TlsConfig::default()).unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: impl Stream, script: Script, requests: &AtomicUsize) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        assert!(head.starts_with(b"GET /v1/x HTTP/1.1\r\n"));
        let (answer, on) = script(requests.fetch_add(1, Ordering::SeqCst));
        stream.write_all(&answer).await.ok()?;
        stream.flush().await.ok()?;
        if !on {
            return Some(());
        }
    }
}

fn get() -> Request {
    Request::new(Method::GET, "/x")
}

fn ok(length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; length]].concat()
}

/// As a provider would report it.
fn cause(error: RestError) -> Cause {
    error.into_kek("kms", Operation::Unwrap).cause
}

#[tokio::test]
async fn takes_the_largest_answer_and_refuses_one_byte_more_however_it_is_sent() {
    let largest = Server::plain(|_| (ok(MOST), true)).await;
    let answer = largest.rest().call(&get()).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, MOST));
    let larger = Server::plain(|_| (ok(MOST + 1), true)).await;
    let chunks = Server::plain(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..=MOST / 0x1000 {
            answer.extend_from_slice(b"1000\r\n");
            answer.extend_from_slice(&[b'x'; 0x1000]);
            answer.extend_from_slice(b"\r\n");
        }
        (answer, true)
    })
    .await;
    let until_the_end = Server::plain(|_| {
        let head = b"HTTP/1.1 500 Oh\r\n\r\n".to_vec();
        ([head, vec![b'x'; MOST + 1]].concat(), false)
    })
    .await;
    for server in [larger, chunks, until_the_end] {
        let refused = server.rest().call(&get()).await.err().unwrap();
        assert!(matches!(refused, RestError::TooLarge { .. }), "{refused}");
        assert_eq!(cause(refused), Cause::Garbage);
    }
}

#[tokio::test]
async fn gives_a_redirect_back_and_follows_it_nowhere() {
    static ELSEWHERE: AtomicUsize = AtomicUsize::new(0);
    let other = Server::plain(|_| (ok(2), true)).await;
    ELSEWHERE.store(other.port.into(), Ordering::SeqCst);
    let server = Server::plain(|_| {
        let port = ELSEWHERE.load(Ordering::SeqCst);
        let location = format!("http://127.0.0.1:{port}/v1/x");
        let answer =
            format!("HTTP/1.1 307 Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        (answer.into_bytes(), true)
    })
    .await;
    let answer = server.rest().call(&get()).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!((server.connections(), other.connections()), (1, 0));
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pki = Pki::new();
    let began = std::time::Instant::now();
    // The kernel accepts; nobody answers.
    let refused = pki.rest(port, &pki.ca).call(&get()).await.err().unwrap();
    assert!(
        matches!(&refused, RestError::Connect { problem, .. } if problem.contains("within 3 s"))
    );
    assert!(began.elapsed() >= CONNECT && began.elapsed() < Duration::from_secs(30));
    assert_eq!(cause(refused), Cause::Unreachable);
}

#[tokio::test]
async fn calls_that_their_callers_gave_up_leave_their_turn_to_others() {
    let silent = Server::plain(|number| match number {
        0..CALLS => (Vec::new(), true),
        _ => (ok(2), true),
    })
    .await;
    let rest = silent.rest();
    for _ in 0..CALLS {
        let given_up = tokio::time::timeout(Duration::from_millis(50), rest.call(&get())).await;
        assert!(given_up.is_err());
    }
    // On a slow machine some of them were given up before the server had read them.
    let last = async {
        loop {
            let patience = Duration::from_secs(2);
            if let Ok(answered) = tokio::time::timeout(patience, rest.call(&get())).await {
                return answered;
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(120), last).await;
    assert_eq!(answered.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn calls_again_only_where_a_kept_connection_was_closed_and_only_once() {
    // The first request is answered, the second gets the end of the connection, the third an answer.
    let server = Server::plain(|number| match number {
        1 => (Vec::new(), false),
        _ => (ok(2), true),
    })
    .await;
    let rest = server.rest();
    for _ in 0..2 {
        assert_eq!(rest.call(&get()).await.unwrap().status, 200);
    }
    assert_eq!(server.connections(), 2);
    let broken = Server::plain(|_| (Vec::new(), false)).await;
    let refused = broken.rest().call(&get()).await.err().unwrap();
    assert!(matches!(refused, RestError::Broken { .. }), "{refused}");
    assert_eq!(broken.connections(), 1);
    assert_eq!(cause(refused), Cause::Unreachable);
}

#[tokio::test]
async fn what_a_server_says_instead_of_an_answer_is_bounded_and_printable_in_the_error() {
    let garbage = Server::plain(|_| (b"\x1b[2J not http\r\n\r\n".repeat(4096), false)).await;
    let headers = Server::plain(|_| {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(2 * MOST));
        (endless.into_bytes(), true)
    })
    .await;
    for server in [garbage, headers] {
        let refused = server.rest().call(&get()).await.err().unwrap();
        assert!(matches!(refused, RestError::NotHttp { .. }), "{refused}");
        let error = refused.into_kek("kms", Operation::Unwrap);
        assert_eq!(error.cause, Cause::Garbage);
        assert!(error.detail.len() <= 300 && !error.detail.contains(char::is_control));
    }
    let cut = Server::plain(|_| {
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec(),
            false,
        )
    });
    let refused = cut.await.rest().call(&get()).await.err().unwrap();
    assert!(matches!(refused, RestError::Broken { .. }), "{refused}");
}

/// A CA, and a server certificate of it.
struct Pki {
    scratch: tempfile::TempDir,
    ca: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = scratch.path().join("ca.pem");
        std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            ca,
            issuer: Issuer::new(params, key),
            scratch,
        }
    }

    /// A server whose certificate is for `name`; with `clients` it wants one of this CA from clients.
    async fn server(&self, name: &str, clients: bool) -> Server {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = rustls::RootCertStore::empty();
            let pem = std::fs::read(&self.ca).unwrap();
            use rustls_pki_types::{CertificateDer, pem::PemObject};
            roots
                .add(CertificateDer::from_pem_slice(&pem).unwrap())
                .unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(vec![certificate.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        Server::start(|_| (ok(2), true), Some(acceptor)).await
    }

    /// A client of that port that trusts these CAs only.
    fn rest(&self, port: u16, ca: &std::path::Path) -> Rest {
        assert!(self.scratch.path().exists());
        let base = Base::parse(&format!("https://127.0.0.1:{port}/v1")).unwrap();
        let tls = TlsConfig {
            ca: Some(ca.to_owned()),
            ..TlsConfig::default()
        };
        Rest::new(base, &tls).unwrap()
    }
}

#[tokio::test]
async fn speaks_only_with_a_server_of_the_configured_ca_and_name() {
    let (ours, other) = (Pki::new(), Pki::new());
    let good = ours.server("127.0.0.1", false).await;
    let answer = ours.rest(good.port, &ours.ca).call(&get()).await.unwrap();
    assert_eq!(answer.status, 200);
    let stranger = other.server("127.0.0.1", false).await;
    let misnamed = ours.server("kms.test", false).await;
    for server in [stranger, misnamed] {
        let refused = ours.rest(server.port, &ours.ca).call(&get()).await;
        let refused = refused.err().unwrap();
        assert!(matches!(refused, RestError::Untrusted { .. }), "{refused}");
        assert_eq!(cause(refused), Cause::Misconfigured);
    }
}

#[tokio::test]
async fn tells_a_server_that_wants_our_certificate_and_one_that_speaks_no_tls() {
    let pki = Pki::new();
    let server = pki.server("127.0.0.1", true).await;
    let refused = pki
        .rest(server.port, &pki.ca)
        .call(&get())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, RestError::OurCertificate { .. }),
        "{refused}"
    );
    assert_eq!(cause(refused), Cause::Credentials);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await;
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
    });
    let refused = pki.rest(port, &pki.ca).call(&get()).await.err().unwrap();
    assert!(matches!(refused, RestError::NotHttp { .. }), "{refused}");
}
