//! As much HTTP/1.1 as a few requests over one pinned TLS connection take, with a cookie of one name and bounded answers.
//!
//! A server or a balancer before it may end a connection that waits while evidence is made: then, and only where nothing
//! of an answer has come, the request goes over a new connection to the same pinned service.

use crate::connect::{ConnectError, Target, connect};
use crate::service::CallError;
use dawnkey_attest::collect::imds::{Answer, ImdsError, MAX_ANSWER, parse_answer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

/// Bytes read at a time.
const CHUNK: usize = 8 << 10;
/// The cookie that stands for a session.
const COOKIE: &str = "kbs-session-id";
/// Most characters of its value.
const MAX_COOKIE: usize = 512;

/// A status and a body.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// A connection that is made anew where it has ended.
pub(super) struct Http {
    target: Target,
    stream: Option<TlsStream<TcpStream>>,
    cookie: Option<String>,
}

/// How one try at a request ended.
enum Ended {
    Answered(Answer, Box<TlsStream<TcpStream>>),
    /// Before any byte of an answer.
    Unanswered(String),
}

impl Http {
    /// Goes on over a finished connection.
    pub(super) fn over(target: Target, stream: TlsStream<TcpStream>) -> Self {
        Self {
            target,
            stream: Some(stream),
            cookie: None,
        }
    }

    /// Sends a request, and again over a new connection if the old one had ended, before the deadline.
    pub(super) async fn exchange(
        &mut self,
        call: &'static str,
        method: &'static str,
        path: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let began = Instant::now();
        let exchange = self.try_exchange(call, method, path, body, deadline);
        match timeout_at(deadline, exchange).await {
            Ok(ended) => ended,
            Err(_) => {
                let waited = began.elapsed();
                Err(CallError::TimedOut { call, waited })
            }
        }
    }

    async fn try_exchange(
        &mut self,
        call: &'static str,
        method: &'static str,
        path: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let head = self.head(method, path, body.len());
        let mut ended = match self.stream.take() {
            Some(stream) => once(stream, call, head.as_bytes(), body).await?,
            None => Ended::Unanswered("the connection was used up".into()),
        };
        if let Ended::Unanswered(_) = ended {
            let link = connect(&self.target, deadline).await;
            let link = link.map_err(|error| unconnected(call, &error))?;
            ended = once(link.stream, call, head.as_bytes(), body).await?;
        }
        match ended {
            Ended::Unanswered(detail) => Err(CallError::Closed { call, detail }),
            Ended::Answered(answer, stream) => {
                let closes = |line: &String| {
                    let line = line.to_ascii_lowercase();
                    line.starts_with("connection:") && line.contains("close")
                };
                if !answer.headers.iter().any(closes) {
                    self.stream = Some(*stream);
                }
                if let Some(cookie) = answer.headers.iter().find_map(|line| cookie(line)) {
                    self.cookie = Some(cookie.to_owned());
                }
                let Answer { status, body, .. } = answer;
                Ok(Reply { status, body })
            }
        }
    }

    fn head(&self, method: &str, path: &str, length: usize) -> String {
        let host = self.target.name.to_str();
        let cookie = match &self.cookie {
            Some(value) => format!("Cookie: {COOKIE}={value}\r\n"),
            None => String::new(),
        };
        let content = match method {
            "POST" => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
            _ => String::new(),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n{cookie}{content}\r\n"
        )
    }
}

/// No connection where there was one: as the transport's failure it is tried again, as the wrong server's it is not.
fn unconnected(call: &'static str, error: &ConnectError) -> CallError {
    let detail = error.to_string();
    match error.is_transport() {
        true => CallError::Closed { call, detail },
        false => CallError::Broker {
            call,
            problem: detail,
        },
    }
}

async fn once(
    mut stream: TlsStream<TcpStream>,
    call: &'static str,
    head: &[u8],
    body: &[u8],
) -> Result<Ended, CallError> {
    let mut answer = Vec::new();
    let sent = async {
        stream.write_all(head).await?;
        stream.write_all(body).await?;
        stream.flush().await
    };
    // A server that has seen enough may answer and close before it has read everything.
    let sent = sent.await;
    let mut chunk = [0; CHUNK];
    loop {
        let read = match stream.read(&mut chunk).await {
            Ok(read) => read,
            Err(error) if answer.is_empty() => return Ok(Ended::Unanswered(error.to_string())),
            Err(error) => {
                let detail = error.to_string();
                return Err(CallError::Closed { call, detail });
            }
        };
        if read == 0 && answer.is_empty() {
            let detail = match sent {
                Err(error) => error.to_string(),
                Ok(()) => "it ended before an answer".into(),
            };
            return Ok(Ended::Unanswered(detail));
        }
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if answer.len() > MAX_ANSWER {
            return Err(too_large(call));
        }
        match parse_answer(&answer, read == 0, call) {
            Ok(Some(answer)) => return Ok(Ended::Answered(answer, stream.into())),
            Ok(None) => {}
            Err(ImdsError::TooLarge { .. }) => return Err(too_large(call)),
            Err(ImdsError::Malformed { problem, .. }) => {
                let problem = format!("the answer is no HTTP/1.1: {problem}");
                return Err(CallError::Broker { call, problem });
            }
            Err(error) => {
                let problem = error.to_string();
                return Err(CallError::Broker { call, problem });
            }
        }
    }
}

const fn too_large(call: &'static str) -> CallError {
    CallError::TooLarge {
        call,
        limit: MAX_ANSWER,
    }
}

/// The session's cookie, if this header sets it to something that can stand in a request.
fn cookie(line: &str) -> Option<&str> {
    let (name, value) = line.split_once(':')?;
    if !name.eq_ignore_ascii_case("set-cookie") {
        return None;
    }
    let (pair, _) = value.split_once(';').unwrap_or((value, ""));
    let (name, value) = pair.trim().split_once('=')?;
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
    let good = name == COOKIE && (1..=MAX_COOKIE).contains(&value.len());
    (good && value.bytes().all(plain)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_sessions_cookie_and_nothing_that_could_not_stand_in_a_request() {
        for (line, wanted) in [
            (
                "Set-Cookie: kbs-session-id=8a2f; Path=/; HttpOnly",
                Some("8a2f"),
            ),
            ("set-cookie:kbs-session-id=8a2f", Some("8a2f")),
            ("Set-Cookie: other=8a2f", None),
            ("Set-Cookie: kbs-session-id=", None),
            ("Set-Cookie: kbs-session-id=a b", None),
            ("Set-Cookie: kbs-session-id=a\nX: y", None),
            ("Cookie: kbs-session-id=8a2f", None),
        ] {
            assert_eq!(cookie(line), wanted, "{line}");
        }
        let long = format!("Set-Cookie: {COOKIE}={}", "a".repeat(MAX_COOKIE + 1));
        assert_eq!(cookie(&long), None);
    }
}
