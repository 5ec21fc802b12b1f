//! One request to a metadata service, and its bounded answer: no redirect, no reuse.

use super::MetadataError;
use dawnkey_attest::collect::imds::{ImdsError, MAX_ANSWER, parse_response};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes read at a time.
const CHUNK: usize = 8 << 10;

/// A request without a body.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Names and values; they hold no line's end.
    pub(super) headers: &'a [(&'a str, &'a str)],
}

/// Sends a request and gives the body of an answer with status 200. The caller has the deadline.
pub(super) async fn exchange(
    address: SocketAddr,
    request: &Request<'_>,
) -> Result<Vec<u8>, MetadataError> {
    let path = request.path;
    let failed = |source| MetadataError::Transport {
        address,
        path,
        source,
    };
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream
        .write_all(&head(address, request))
        .await
        .map_err(failed)?;
    let (mut answer, mut chunk) = (Vec::new(), [0; CHUNK]);
    loop {
        let read = stream.read(&mut chunk).await.map_err(failed)?;
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if answer.len() > MAX_ANSWER {
            return Err(ImdsError::TooLarge { path }.into());
        }
        if let Some(body) = parse_response(&answer, read == 0, path)? {
            return Ok(body);
        }
    }
}

fn head(address: SocketAddr, request: &Request<'_>) -> Vec<u8> {
    let host = match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let Request {
        method,
        path,
        headers,
    } = request;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in *headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if *method == "PUT" {
        text.push_str("Content-Length: 0\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}
