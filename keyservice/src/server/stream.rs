//! A connection after its handshake: the TLS stream, its deadline, and what its requests need to know of it.

use super::guest::Guest;
use super::limits::Place;
use crate::desk::Session;
use crate::metrics::Metrics;
use rustls::ServerConnection;
use sha2::{Digest, Sha256};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// How long a connection may live after a key was released over it: formatting a large disk takes its time.
const LIFE_WITH_KEY: Duration = Duration::from_secs(3600);

/// Proof that somebody holds an admin certificate: made of a finished mutual-TLS handshake only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    certificate: String,
    peer: SocketAddr,
}

impl Operator {
    /// The operator at the other end; `None` when the connection has no client certificate.
    pub(super) fn of(connection: &ServerConnection, peer: SocketAddr) -> Option<Self> {
        let leaf = connection.peer_certificates()?.first()?;
        Some(Self {
            certificate: hex::encode(Sha256::digest(leaf)),
            peer,
        })
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            certificate: "00".repeat(32),
            peer: ([192, 0, 2, 250], 7).into(),
        }
    }

    /// SHA-256 of the admin certificate in hex (`openssl x509 -fingerprint -sha256`).
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Where the call comes from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    Node(Arc<Session>),
    Operator(Operator),
    Guest(Arc<Guest>),
}

/// A TLS stream that ends at its deadline.
pub(super) struct PeerStream {
    tls: TlsStream<TcpStream>,
    caller: Caller,
    opened: Instant,
    deadline: Pin<Box<Sleep>>,
    metrics: Arc<Metrics>,
    _place: Place,
}

impl PeerStream {
    pub(super) fn new(
        tls: TlsStream<TcpStream>,
        caller: Caller,
        life: Duration,
        place: Place,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.open(1);
        Self {
            tls,
            caller,
            opened: Instant::now(),
            deadline: Box::pin(tokio::time::sleep(life)),
            metrics,
            _place: place,
        }
    }

    fn expired(&mut self, context: &mut Context<'_>) -> bool {
        while self.deadline.as_mut().poll(context).is_ready() {
            let extended = self.opened + LIFE_WITH_KEY;
            match &self.caller {
                Caller::Node(session) if session.got_key() && Instant::now() < extended => {
                    self.deadline.as_mut().reset(extended);
                }
                _ => return true,
            }
        }
        false
    }
}

impl Drop for PeerStream {
    fn drop(&mut self) {
        self.metrics.open(-1);
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.expired(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.tls).poll_read(context, into)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(Pin::new(&mut self.tls).poll_shutdown(context));
        Poll::Ready(ended)
    }
}
