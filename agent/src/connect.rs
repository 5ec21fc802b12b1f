//! One connection: TCP and a full TLS 1.3 handshake with the pinned service, before a deadline.

mod stagger;

use crate::discover::{Address, FindError, Places, Search};
use dawnkey_proto::binding::{Exporter, Role, SpkiDigest};
use dawnkey_proto::tls;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpMaxSeg;
use rustls::{AlertDescription, ClientConfig, Error as Rustls};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What gRPC is called in a handshake.
const H2: &[u8] = b"h2";

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No source names an address.
    #[error(transparent)]
    NotFound(#[from] FindError),
    /// Nothing listens, or the network does not reach it.
    #[error("connect to {endpoint}: {source}")]
    Unreachable {
        /// Where.
        endpoint: Box<Address>,
        /// Why.
        source: std::io::Error,
    },
    /// TCP did not connect in time.
    #[error("connect to {endpoint}: no TCP connection within {} ms", waited.as_millis())]
    TcpTimeout {
        /// Where.
        endpoint: Box<Address>,
        /// How long.
        waited: Duration,
    },
    /// TCP is connected, but the TLS handshake did not end in time.
    #[error("TLS with {endpoint}: connected, but no handshake within {} ms", waited.as_millis())]
    TlsTimeout {
        /// Where.
        endpoint: Box<Address>,
        /// How long.
        waited: Duration,
    },
    /// The other end closed or broke off the handshake, or does not speak TLS.
    #[error("TLS with {endpoint}: handshake broken off: {source}")]
    Handshake {
        /// Where.
        endpoint: Box<Address>,
        /// Why.
        source: std::io::Error,
    },
    /// The other end is not the pinned service.
    #[error("TLS with {endpoint}: not the pinned key service: {detail}")]
    NotPinned {
        /// Where.
        endpoint: Box<Address>,
        /// What is wrong with its certificate.
        detail: String,
    },
    /// The other end does not speak TLS 1.3 with our parameters.
    #[error("TLS with {endpoint}: it does not speak TLS 1.3 as required: {detail}")]
    NoTls13 {
        /// Where.
        endpoint: Box<Address>,
        /// What it said.
        detail: String,
    },
    /// The pinned service does not speak gRPC here.
    #[error(
        "TLS with {endpoint}: the service did not agree on HTTP/2; is this its unlock address?"
    )]
    NoHttp2 {
        /// Where.
        endpoint: Box<Address>,
    },
    /// The connection stands, but its keys cannot be had.
    #[error("TLS with {endpoint}: {source}")]
    Tls {
        /// Where.
        endpoint: Box<Address>,
        /// Why.
        source: tls::TlsError,
    },
    /// Of several addresses and sources of addresses none led to the service.
    #[error("none of {} places answers as the key service: {}", failures.len(), list(failures))]
    NoneOf {
        /// How each failed, in the order in which they were tried.
        failures: Vec<ConnectError>,
    },
}

impl ConnectError {
    /// Whether waiting may help. The wrong server stays the wrong server; of several addresses one that may come back is
    /// enough.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        match self {
            Self::NotFound(_)
            | Self::Unreachable { .. }
            | Self::TcpTimeout { .. }
            | Self::TlsTimeout { .. }
            | Self::Handshake { .. } => true,
            Self::NotPinned { .. }
            | Self::NoTls13 { .. }
            | Self::NoHttp2 { .. }
            | Self::Tls { .. } => false,
            Self::NoneOf { failures } => failures.iter().any(Self::is_transport),
        }
    }
}

fn list(failures: &[ConnectError]) -> String {
    let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
    failures.join("; ")
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where to look.
    pub places: Places,
    /// Addresses that are tried after all others, the last of them last.
    pub last: Vec<SocketAddr>,
    /// The name in the service's certificate.
    pub name: ServerName<'static>,
    /// TLS settings with the pin.
    pub tls: Arc<ClientConfig>,
}

/// A finished, pinned connection.
#[derive(Debug)]
pub struct Link {
    /// The stream.
    pub stream: TlsStream<TcpStream>,
    /// The other end.
    pub endpoint: Box<Address>,
    /// The connection's own keying material.
    pub exporter: Exporter,
    /// The service's key.
    pub spki: SpkiDigest,
}

/// Connects to the address that first finishes a handshake; each begins 250 ms after the one before it, or at
/// once when one has failed. Addresses are tried as they are found: none waits for a source that is slow.
///
/// # Errors
/// What is wrong with the only address, or [`ConnectError::NoneOf`] several and the first source that failed.
pub async fn connect(target: &Target, deadline: Instant) -> Result<Link, ConnectError> {
    let mut search = Search::start(&target.places, deadline);
    search.put_last(&target.last);
    let attempt = |address: Address| handshake(target.clone(), address.into(), deadline);
    let mut failures = match stagger::first(&mut search, attempt).await {
        Ok(link) => return Ok(link),
        Err(failures) => failures,
    };
    failures.extend(search.failure().map(ConnectError::from));
    Err(match failures.pop() {
        None => search.nothing().into(),
        Some(only) if failures.is_empty() => only,
        Some(last) => {
            failures.push(last);
            ConnectError::NoneOf { failures }
        }
    })
}

async fn handshake(
    target: Target,
    endpoint: Box<Address>,
    deadline: Instant,
) -> Result<Link, ConnectError> {
    let began = Instant::now();
    let tcp = match timeout_at(deadline, dial(endpoint.socket)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(source)) => return Err(ConnectError::Unreachable { endpoint, source }),
        Err(_) => {
            let waited = began.elapsed();
            return Err(ConnectError::TcpTimeout { endpoint, waited });
        }
    };
    // Without it the small messages of the exchange may wait for acknowledgements; the exchange works either way.
    let _ = tcp.set_nodelay(true);
    let grpc = target.tls.alpn_protocols.iter().any(|one| one == H2);
    let tls = TlsConnector::from(target.tls).connect(target.name, tcp);
    match timeout_at(deadline, tls).await {
        Ok(Ok(stream)) => finished(stream, endpoint, grpc),
        Ok(Err(source)) => Err(broken(source, endpoint)),
        Err(_) => {
            let waited = began.elapsed();
            Err(ConnectError::TlsTimeout { endpoint, waited })
        }
    }
}

/// Largest TCP segment: with it every packet, in both directions, fits the least MTU that a path of IPv6 may have (1280). A
/// path that loses larger packets without a word still carries the exchange, which is too short to be slower for it.
const LARGEST_SEGMENT: u32 = 1220;

async fn dial(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Only a help for bad paths; the exchange works on good ones without it.
    let _ = setsockopt(&socket, TcpMaxSeg, &LARGEST_SEGMENT);
    socket.connect(to).await
}

/// Gives the connection with its keys. gRPC needs HTTP/2 to be agreed on; HTTP/1.1 is what is spoken without agreement.
fn finished(
    stream: TlsStream<TcpStream>,
    endpoint: Box<Address>,
    grpc: bool,
) -> Result<Link, ConnectError> {
    let (_, connection) = stream.get_ref();
    if grpc && connection.alpn_protocol() != Some(H2) {
        return Err(ConnectError::NoHttp2 { endpoint });
    }
    let keys = tls::exporter(connection, Role::Node)
        .and_then(|exporter| Ok((exporter, tls::peer_spki(connection)?)));
    match keys {
        Ok((exporter, spki)) => Ok(Link {
            stream,
            endpoint,
            exporter,
            spki,
        }),
        Err(source) => Err(ConnectError::Tls { endpoint, source }),
    }
}

/// Names what went wrong in a handshake.
fn broken(source: std::io::Error, endpoint: Box<Address>) -> ConnectError {
    let cause = source.get_ref().and_then(|e| e.downcast_ref::<Rustls>());
    let detail = cause.map(ToString::to_string).unwrap_or_default();
    match cause {
        Some(Rustls::InvalidCertificate(_) | Rustls::NoCertificatesPresented) => {
            ConnectError::NotPinned { endpoint, detail }
        }
        Some(
            Rustls::PeerIncompatible(_)
            | Rustls::AlertReceived(
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity,
            ),
        ) => ConnectError::NoTls13 { endpoint, detail },
        Some(
            Rustls::NoApplicationProtocol
            | Rustls::AlertReceived(AlertDescription::NoApplicationProtocol),
        ) => ConnectError::NoHttp2 { endpoint },
        _ => ConnectError::Handshake { endpoint, source },
    }
}
