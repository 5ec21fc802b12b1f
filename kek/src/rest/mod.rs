//! A client for the JSON services of KMSes: HTTP/1.1 over few connections that are kept, answers bounded in size.
//!
//! It follows no redirect, uses no proxy, keeps no cookie, and calls again by itself in one case only: when a kept
//! connection turns out to be closed. Deadlines of whole calls are the caller's; here only connecting has one. Bodies of
//! requests and answers are wiped; the buffers of HTTP and TLS below, which they pass through, are not.

mod base;
#[cfg(test)]
mod tests;
mod tls;

use bytes::Bytes;
use dawnkey_secret::Credential;
use dawnkey_secret::credential::CredentialError;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

pub(crate) use base::Base;
pub use tls::TlsConfig;

use crate::{Cause, KekError, Operation};

/// Largest answer.
const MOST: usize = 256 << 10;
/// Calls at the same time; others wait for their turn.
const CALLS: usize = 16;
/// Connections that are kept.
const KEPT: usize = 8;
/// Time to connect, TLS included.
const CONNECT: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    /// The configuration cannot be right.
    #[error("{0}")]
    Configuration(String),
    /// The key of our certificate cannot be read.
    #[error(transparent)]
    Credential(Box<CredentialError>),
    /// There is no connection.
    #[error("connect to {base}: {problem}")]
    Connect { base: String, problem: String },
    /// The server's certificate is not one that we trust.
    #[error(
        "connect to {base}: {problem}; tls.ca names the CAs that may have issued its certificate"
    )]
    Untrusted { base: String, problem: String },
    /// The server does not accept our certificate, or wants one.
    #[error("connect to {base}: the server refuses our certificate, or wants one: {problem}")]
    OurCertificate { base: String, problem: String },
    /// The connection ended before the answer did.
    #[error("{base}: {problem}")]
    Broken { base: String, problem: String },
    /// What came is not HTTP.
    #[error("{base}: {problem}")]
    NotHttp { base: String, problem: String },
    /// The answer is larger than any that is right.
    #[error("{base}: the answer has more than {MOST} bytes")]
    TooLarge { base: String },
}

impl RestError {
    /// As a provider reports it.
    pub(crate) fn into_kek(self, provider: &str, operation: Operation) -> KekError {
        let cause = match &self {
            Self::Credential(error) => return KekError::credential(provider, error),
            Self::Configuration(_) | Self::Untrusted { .. } => Cause::Misconfigured,
            Self::OurCertificate { .. } => Cause::Credentials,
            Self::Connect { .. } | Self::Broken { .. } => Cause::Unreachable,
            Self::NotHttp { .. } | Self::TooLarge { .. } => Cause::Garbage,
        };
        KekError::new(provider, operation, cause, self)
    }
}

/// A request.
pub(crate) struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// Without a body. `path` begins with a slash; it comes after the path of the service's [`Base`].
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Self {
            method,
            path: path.into(),
            headers,
            body: Bytes::new(),
        }
    }

    /// With a JSON body, which is wiped afterwards.
    pub(crate) fn json(mut self, body: Zeroizing<Vec<u8>>) -> Self {
        self.body = Bytes::from_owner(body);
        let json = HeaderValue::from_static("application/json");
        self.headers.insert(CONTENT_TYPE, json);
        self
    }

    /// With one more header, or another value for it.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// A header value for a credential: wiped when dropped, not shown. `None` when it has bytes that no header can have.
pub(crate) fn secret_header(credential: &Credential) -> Option<HeaderValue> {
    let copy = Bytes::from_owner(Zeroizing::new(credential.expose().to_vec()));
    let mut value = HeaderValue::from_maybe_shared(copy).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// When the server wants to be asked again, if it says so in seconds.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        seconds.parse().ok().map(Duration::from_secs)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Sender = SendRequest<Full<Bytes>>;

/// A client of one service.
pub(crate) struct Rest {
    base: Base,
    tls: Option<TlsConnector>,
    calls: Semaphore,
    kept: Mutex<Vec<Sender>>,
}

impl Rest {
    /// A client; it connects with the first call.
    pub(crate) fn new(base: Base, tls: &TlsConfig) -> Result<Self, RestError> {
        Ok(Self {
            tls: base.tls.then(|| tls.connector()).transpose()?,
            base,
            calls: Semaphore::new(CALLS),
            kept: Mutex::new(Vec::new()),
        })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn call(&self, request: &Request) -> Result<Answer, RestError> {
        // Never closed, so always granted.
        let _turn = self.calls.acquire().await;
        if let Some(sender) = self.take_kept() {
            match self.exchange(sender, request).await {
                Err(RestError::Broken { .. }) => {}
                outcome => return outcome,
            }
        }
        let sender = self.connect().await?;
        self.exchange(sender, request).await
    }

    fn take_kept(&self) -> Option<Sender> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|sender| !sender.is_closed());
        kept.pop()
    }

    fn keep(&self, sender: Sender) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT && !sender.is_closed() {
            kept.push(sender);
        }
    }

    async fn connect(&self) -> Result<Sender, RestError> {
        let problem = |problem: String| RestError::Connect {
            base: self.base.to_string(),
            problem,
        };
        let dialled = tokio::time::timeout(CONNECT, self.dial()).await;
        let stream = dialled
            .map_err(|_| problem(format!("no connection within {} s", CONNECT.as_secs())))?
            .map_err(|error| self.judge(&error))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MOST)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| problem(error.to_string()))?;
        // Ends when the sender is dropped or the server hangs up; what goes wrong, the call in progress hears.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect((self.base.host.as_str(), self.base.port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            // Names may resolve to anything; plain HTTP stays on this machine.
            if !tcp.peer_addr()?.ip().is_loopback() {
                return Err(io::Error::other("plain HTTP is for loopback addresses"));
            }
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(self.base.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, tcp).await?))
    }

    /// What a failed connection means.
    fn judge(&self, error: &io::Error) -> RestError {
        let (base, problem) = (self.base.to_string(), error.to_string());
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidCertificate(_)) => RestError::Untrusted { base, problem },
            Some(rustls::Error::AlertReceived(_)) => RestError::OurCertificate { base, problem },
            Some(rustls::Error::InvalidMessage(_)) => RestError::NotHttp { base, problem },
            _ => RestError::Connect { base, problem },
        }
    }

    async fn exchange(&self, mut sender: Sender, request: &Request) -> Result<Answer, RestError> {
        let base = || self.base.to_string();
        let judge = |error: hyper::Error| {
            let (base, problem) = (base(), describe(&error));
            match error.is_parse() {
                true => RestError::NotHttp { base, problem },
                false => match alert(&error) {
                    // TLS 1.3 refuses our certificate after the handshake, as far as we can see.
                    true => RestError::OurCertificate { base, problem },
                    false => RestError::Broken { base, problem },
                },
            }
        };
        sender.ready().await.map_err(judge)?;
        let response = sender
            .send_request(self.http(request)?)
            .await
            .map_err(judge)?;
        let (head, body) = response.into_parts();
        let body = self.collect(body, judge).await?;
        self.keep(sender);
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    fn http(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, RestError> {
        let mut http = http::Request::builder()
            .method(request.method.clone())
            .uri(format!("{}{}", self.base.prefix, request.path))
            .header(HOST, self.base.authority())
            .header(USER_AGENT, concat!("dawnkey/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(request.body.clone()))
            .map_err(|error| RestError::Configuration(error.to_string()))?;
        let headers = request.headers.iter();
        http.headers_mut()
            .extend(headers.map(|(name, value)| (name.clone(), value.clone())));
        Ok(http)
    }

    async fn collect(
        &self,
        mut body: Incoming,
        judge: impl Fn(hyper::Error) -> RestError,
    ) -> Result<Zeroizing<Vec<u8>>, RestError> {
        // As large as it can get, so that it never moves.
        let mut collected = Zeroizing::new(Vec::with_capacity(MOST));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(&judge)?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            if collected.len() + data.len() > MOST {
                let base = self.base.to_string();
                return Err(RestError::TooLarge { base });
            }
            collected.extend_from_slice(data);
        }
        Ok(collected)
    }
}

/// The message of an error and of what caused it.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Whether a TLS alert of the server ended the connection.
fn alert(error: &hyper::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let io = cause.downcast_ref::<io::Error>();
        let inner = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
        if matches!(inner, Some(rustls::Error::AlertReceived(_))) {
            return true;
        }
        next = cause.source();
    }
    false
}
