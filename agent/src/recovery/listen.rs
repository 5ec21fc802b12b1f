//! The network side of a waiting node: a listener, a bounded number of short connections, one question on each.
//!
//! Whoever connects is a stranger. What a connection wants goes to the waiting flow as [`Asked`]; nothing is decided here.

use dawnkey_proto::binding::{Exporter, Role, SpkiDigest};
use dawnkey_proto::recovery::{frame, tls};
use dawnkey_proto::tls::{TlsError, exporter};
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Most connections at once; others wait in the kernel's queue.
const CONNECTIONS: usize = 8;
/// How long a handshake may take, and again the question.
const STEP: Duration = Duration::from_secs(5);
/// How long a connection may live.
const WHOLE: Duration = Duration::from_secs(30);

/// What a connection wants.
pub(super) enum What {
    /// The node's request, bound to this connection.
    Request(Exporter),
    /// To give a grant.
    Grant(Vec<u8>),
    /// Nothing that anybody understands.
    Nonsense(String),
}

/// A question, and where its answer goes.
pub(super) struct Asked {
    pub(super) peer: SocketAddr,
    /// Digest of the key that this node has shown to it.
    pub(super) spki: SpkiDigest,
    pub(super) what: What,
    /// The frame to send.
    pub(super) reply: oneshot::Sender<Vec<u8>>,
    /// Ends when it was sent, or cannot be.
    pub(super) sent: oneshot::Receiver<()>,
}

/// A bound listener with its connections; all end when it is dropped.
pub(super) struct Listener {
    socket: TcpListener,
    tls: TlsAcceptor,
    /// Digest of the key that this listener shows.
    spki: SpkiDigest,
    connections: JoinSet<()>,
    to_flow: mpsc::Sender<Asked>,
    from_connections: mpsc::Receiver<Asked>,
}

/// A listener could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// The address cannot be listened on, at present at least.
    #[error("listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No key for this boot.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Listener {
    /// Listens with a key that is made for it.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let (config, spki) = tls::server()?;
        let socket = TcpListener::bind(address).await;
        let socket = socket.map_err(|source| ListenError::Bind { address, source })?;
        let (to_flow, from_connections) = mpsc::channel(CONNECTIONS);
        let config: Arc<ServerConfig> = Arc::new(config);
        Ok(Self {
            socket,
            tls: config.into(),
            spki,
            connections: JoinSet::new(),
            to_flow,
            from_connections,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// The next question.
    pub(super) async fn next(&mut self) -> Asked {
        loop {
            let room = self.connections.len() < CONNECTIONS;
            tokio::select! {
                Some(asked) = self.from_connections.recv() => return asked,
                Some(_) = self.connections.join_next() => {}
                accepted = self.socket.accept(), if room => {
                    // A connection that is gone already, or no descriptor for it: the next one may fare better.
                    if let Ok((stream, peer)) = accepted {
                        let here = (peer, self.spki);
                        let serving = serve(stream, here, self.tls.clone(), self.to_flow.clone());
                        self.connections.spawn(async move {
                            let _ = timeout(WHOLE, serving).await;
                        });
                    } else {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    }
}

/// One connection: handshake, question, answer, end. Its errors are nobody's business but its own.
async fn serve(
    stream: TcpStream,
    (peer, spki): (SocketAddr, SpkiDigest),
    tls: TlsAcceptor,
    flow: mpsc::Sender<Asked>,
) -> Option<()> {
    let accepting = timeout(STEP, tls.accept(stream)).await;
    let mut stream = accepting.ok()?.ok()?;
    let what = timeout(STEP, question(&mut stream)).await.ok()??;
    let (reply, answer) = oneshot::channel();
    let (done, sent) = oneshot::channel();
    let asked = Asked {
        peer,
        spki,
        what,
        reply,
        sent,
    };
    flow.send(asked).await.ok()?;
    let frame = answer.await.ok()?;
    stream.write_all(&frame).await.ok()?;
    let ended = stream.shutdown().await;
    let _ = done.send(());
    ended.ok()
}

/// Reads the one question of a connection; `None` if the connection ends before it is there.
async fn question(stream: &mut TlsStream<TcpStream>) -> Option<What> {
    let mut head = [0; frame::HEAD_BYTES];
    stream.read_exact(&mut head).await.ok()?;
    Some(match frame::Kind::head(head) {
        Ok((frame::Kind::Ask, _)) => match exporter(stream.get_ref().1, Role::Recovery) {
            Ok(exporter) => What::Request(exporter),
            Err(error) => What::Nonsense(error.to_string()),
        },
        Ok((frame::Kind::Grant, length)) => {
            let mut grant = vec![0; length];
            stream.read_exact(&mut grant).await.ok()?;
            What::Grant(grant)
        }
        Ok((frame::Kind::Request | frame::Kind::Answer, _)) => {
            What::Nonsense("a message that only a node sends".into())
        }
        Err(error) => What::Nonsense(error.to_string()),
    })
}
