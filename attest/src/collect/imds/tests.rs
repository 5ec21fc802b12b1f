//! The service of the tests: a listener that reads a request and plays an answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Plays `answer` to one request and gives the request back.
struct Fake {
    imds: Imds,
    served: JoinHandle<String>,
}

impl Fake {
    fn serving(serve: impl FnOnce(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let imds = Imds {
            address: listener.local_addr().unwrap(),
            budget: Duration::from_secs(20),
        };
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            serve(&mut stream);
            request
        });
        Self { imds, served }
    }

    fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::serving(move |stream| {
            // Whoever has read enough closes; the rest has nowhere to go.
            let _ = stream.write_all(&answer);
        })
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    let mut byte = [0; 1];
    let length = |request: &str| {
        let value = request.split("Content-Length: ").nth(1)?;
        value.split("\r\n").next()?.parse::<usize>().ok()
    };
    loop {
        if let Some(head) = request.find("\r\n\r\n")
            && request.len() == head + 4 + length(&request).unwrap()
        {
            return request;
        }
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0].into());
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn quote_of(answer: impl Into<Vec<u8>>) -> Result<Vec<u8>, ImdsError> {
    let fake = Fake::answering(answer);
    let got = fake.imds.td_quote(&[1, 2, 3]);
    fake.served.join().unwrap();
    got
}

#[test]
fn posts_the_report_and_takes_the_quote() {
    let fake = Fake::answering(ok("{\"quote\":\"_-8\"}"));
    assert_eq!(fake.imds.td_quote(&[0xfb, 0xff]).unwrap(), [0xff, 0xef]);
    let request = fake.served.join().unwrap();
    assert!(request.starts_with("POST /acc/tdquote HTTP/1.1\r\n"));
    assert!(request.contains("\r\nHost: 127.0.0.1\r\n"));
    assert!(request.contains("\r\nMetadata: true\r\n"));
    assert!(request.ends_with("\r\n\r\n{\"report\":\"-_8\"}"));
}

#[test]
fn takes_padded_base64_chunks_and_an_answer_that_ends_with_the_connection() {
    assert_eq!(quote_of(ok("{\"quote\":\"_-8=\"}")).unwrap(), [0xff, 0xef]);
    let head = "HTTP/1.1 200 OK\r\n";
    let chunks =
        "Transfer-Encoding: chunked\r\n\r\n8;x=1\r\n{\"quote\"\r\n7\r\n:\"_-8\"}\r\n0\r\n\r\n";
    assert_eq!(quote_of(format!("{head}{chunks}")).unwrap(), [0xff, 0xef]);
    assert_eq!(
        quote_of(format!("{head}\r\n{{\"quote\":\"_-8\"}}")).unwrap(),
        [0xff, 0xef]
    );
}

#[test]
fn a_missing_endpoint_is_its_status() {
    let error = quote_of("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(error, Err(ImdsError::Status { status: 404, .. })));
}

#[test]
fn a_slow_answer_is_given_up_at_the_deadline() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let mut fake = Fake::serving(move |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        // Until the client has given up.
        let _ = wait.recv();
    });
    fake.imds.budget = Duration::from_millis(50);
    let error = fake.imds.td_quote(&[1]);
    drop(done);
    fake.served.join().unwrap();
    assert!(
        matches!(error, Err(ImdsError::TimedOut { .. })),
        "{error:?}"
    );
}

#[test]
fn an_answer_drop_by_drop_does_not_outlast_the_deadline() {
    let mut fake = Fake::serving(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
        // Ends when the client closes.
        while stream.write_all(b"x").is_ok() {}
    });
    fake.imds.budget = Duration::from_millis(50);
    let error = fake.imds.td_quote(&[1]);
    fake.served.join().unwrap();
    assert!(matches!(
        error,
        Err(ImdsError::TimedOut { .. } | ImdsError::TooLarge { .. })
    ));
}

#[test]
fn an_oversized_answer_is_not_read_to_its_end() {
    let error = quote_of(vec![b'x'; MAX_ANSWER + 1]);
    assert!(
        matches!(error, Err(ImdsError::TooLarge { .. })),
        "{error:?}"
    );
    let length = MAX_ANSWER + 1;
    let error = quote_of(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
    ));
    assert!(matches!(error, Err(ImdsError::TooLarge { .. })));
}

#[test]
fn refuses_answers_that_are_cut_or_no_http() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}",
        "HTTP/2 200 OK\r\n\r\n{}",
        "nonsense\r\n\r\n",
    ] {
        let error = quote_of(answer);
        assert!(
            matches!(error, Err(ImdsError::Malformed { .. })),
            "{answer:?}: {error:?}"
        );
    }
}

#[test]
fn refuses_content_that_is_no_quote() {
    let long = "A".repeat(100_000);
    let long = format!("{{\"quote\":\"{long}\"}}");
    for body in ["", "{}", "{\"quote\":\"\"}", "{\"quote\":\"?\"}", &long] {
        let error = quote_of(ok(body));
        assert!(matches!(error, Err(ImdsError::Content { .. })), "{error:?}");
    }
}

#[test]
fn nobody_at_the_address_is_a_connection_that_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let imds = Imds {
        address: listener.local_addr().unwrap(),
        budget: Duration::from_secs(20),
    };
    drop(listener);
    let error = imds.snp_certificates();
    assert!(matches!(error, Err(ImdsError::Connect { .. })));
}

#[test]
fn makes_a_certificate_table_of_the_chips_certificates() {
    let pem = |byte: u8| {
        let der = base64::engine::general_purpose::STANDARD.encode([0x30, 1, byte]);
        format!("-----BEGIN CERTIFICATE-----\\n{der}\\n-----END CERTIFICATE-----\\n")
    };
    let (vcek, chain) = (pem(1), [pem(2), pem(3)].concat());
    let body =
        format!("{{\"vcekCert\":\"{vcek}\",\"tcbm\":\"00\",\"certificateChain\":\"{chain}\"}}");
    let fake = Fake::answering(ok(&body));
    let table = fake.imds.snp_certificates().unwrap();
    let request = fake.served.join().unwrap();
    assert!(request.starts_with("GET /metadata/THIM/amd/certification HTTP/1.1\r\n"));
    let table = CertificateTable::parse(&table).unwrap();
    assert_eq!(table.vcek.unwrap(), [0x30, 1, 1]);
    assert_eq!(table.intermediates, [[0x30, 1, 2]]);
    assert_eq!(table.ark.unwrap(), [0x30, 1, 3]);
}

#[test]
fn refuses_certificates_that_are_none() {
    for body in [
        "{}",
        "{\"vcekCert\":\"\",\"certificateChain\":\"\"}",
        "{\"vcekCert\":\"-----BEGIN CERTIFICATE-----\\n!\",\"certificateChain\":\"\"}",
    ] {
        let fake = Fake::answering(ok(body));
        let error = fake.imds.snp_certificates();
        fake.served.join().unwrap();
        assert!(matches!(error, Err(ImdsError::Content { .. })));
    }
}

proptest! {
    #[test]
    fn never_panics_on_any_answer(
        bytes in proptest::collection::vec(any::<u8>(), 0..512),
        headers in "(Content-Length|Transfer-Encoding|X): ?[a-z0-9]{0,9}",
        ended in any::<bool>(),
    ) {
        let _ = parse_response(&bytes, ended, "/");
        let framed = [b"HTTP/1.1 200 OK\r\n", headers.as_bytes(), b"\r\n\r\n", &bytes].concat();
        let _ = parse_response(&framed, ended, "/");
    }
}
