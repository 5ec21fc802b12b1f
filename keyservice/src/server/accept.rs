//! The accept loop: limits first, then a handshake in a task of its own, then a stream for gRPC.

use super::guest::Guest;
use super::limits::{ConnectionCap, Place, RateLimit};
use super::stream::{Caller, Operator, PeerStream};
use super::tls::LiveTls;
use crate::desk::Session;
use crate::metrics::{Metrics, Turned};
use crate::report::{self, Event};
use dawnkey_proto::binding::Role;
use dawnkey_proto::tls::exporter;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::codegen::tokio_stream::Stream;

/// Finished connections that wait for the gRPC server.
const BACKLOG: usize = 64;
/// Pause after an accept that failed, for example because the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Whose connections a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Nodes,
    Operators,
    Guests,
}

/// Who may connect, and how.
pub(super) struct Door {
    pub tls: Arc<LiveTls>,
    pub rate: RateLimit,
    pub cap: Arc<ConnectionCap>,
    pub handshake: Duration,
    pub life: Duration,
    /// Whose connections these are.
    pub audience: Audience,
    pub metrics: Arc<Metrics>,
}

/// Connections whose handshake is finished.
pub(super) struct Incoming(mpsc::Receiver<PeerStream>);

impl Stream for Incoming {
    type Item = Result<PeerStream, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|stream| stream.map(Ok))
    }
}

/// Accepts connections until `stop`, and hands those out that shook hands in time.
pub(super) fn accept(listener: TcpListener, door: Door, stop: CancellationToken) -> Incoming {
    let (ready, incoming) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        let door = Arc::new(door);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    report::emit(&Event::AcceptFailed { error: &error });
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let place = match door.admits(peer) {
                Ok(place) => place,
                Err(why) => {
                    door.metrics.turned_away(why);
                    continue;
                }
            };
            door.metrics.accepted();
            let (door, ready, stop) = (Arc::clone(&door), ready.clone(), stop.clone());
            tokio::spawn(async move {
                let shaken = tokio::select! {
                    () = stop.cancelled() => return,
                    shaken = tokio::time::timeout(door.handshake, door.shake(tcp, peer, place)) => shaken,
                };
                match shaken.ok().flatten() {
                    // The server is gone only when everything stops.
                    Some(stream) => drop(ready.send(stream).await),
                    None => door.metrics.turned_away(Turned::Handshake),
                }
            });
        }
    });
    Incoming(incoming)
}

impl Door {
    fn admits(&self, peer: SocketAddr) -> Result<Place, Turned> {
        if !self.rate.allows(peer.ip(), Instant::now()) {
            return Err(Turned::RateLimited);
        }
        self.cap.take(peer.ip()).ok_or(Turned::TooMany)
    }

    async fn shake(&self, tcp: TcpStream, peer: SocketAddr, place: Place) -> Option<PeerStream> {
        tcp.set_nodelay(true).ok()?;
        let identity = self.tls.now();
        let config = match self.audience {
            Audience::Nodes => &identity.unlock,
            Audience::Operators => &identity.admin,
            Audience::Guests => identity.guests.as_ref()?,
        };
        let acceptor = TlsAcceptor::from(Arc::clone(config));
        let tls = acceptor.accept(tcp).await.ok()?;
        let connection = tls.get_ref().1;
        let caller = match self.audience {
            Audience::Operators => Caller::Operator(Operator::of(connection, peer)?),
            Audience::Nodes => {
                let exporter = exporter(connection, Role::Node).ok()?;
                Caller::Node(Arc::new(Session::new(peer, exporter, identity.own_spki)))
            }
            Audience::Guests => Caller::Guest(Arc::new(Guest::at(connection, peer))),
        };
        let metrics = Arc::clone(&self.metrics);
        Some(PeerStream::new(tls, caller, self.life, place, metrics))
    }
}
