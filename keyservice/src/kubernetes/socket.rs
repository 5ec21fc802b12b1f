//! The plugin's socket: mode 0600, and every peer's user id is read from the kernel (`SO_PEERCRED`).

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::UdsConnectInfo;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 16;
/// Pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The plugin cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error(
        "listen on {0} (kubernetes_kms.socket): another process answers there; stop it, or configure another path"
    )]
    InUse(PathBuf),
    /// Something that is not a socket is in the way.
    #[error(
        "listen on {0} (kubernetes_kms.socket): there is a file that is not a socket; remove it, or configure another path"
    )]
    NotASocket(PathBuf),
    /// The socket cannot be made.
    #[error("listen on {path} (kubernetes_kms.socket): {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Proof that a process of an allowed user is at the other end of the plugin's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalPeer {
    uid: u32,
}

impl LocalPeer {
    /// The peer of a connection that [`accept`] let in.
    pub(super) fn of(info: &UdsConnectInfo) -> Option<Self> {
        let uid = info.peer_cred?.uid();
        Some(Self { uid })
    }

    /// Its user id.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// Binds the socket. One that a dead process left is replaced; the mode is set before anybody can connect.
pub(super) async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let io = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(SocketError::InUse(path.to_owned()));
        }
        Ok(_) => std::fs::remove_file(path).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let socket = UnixSocket::new_stream().map_err(io)?;
    socket.bind(path).map_err(io)?;
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).map_err(io)?;
    socket.listen(BACKLOG).map_err(io)
}

/// Connections of allowed users.
pub(super) struct Incoming(mpsc::Receiver<UnixStream>);

impl Stream for Incoming {
    type Item = Result<UnixStream, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|stream| stream.map(Ok))
    }
}

/// Accepts connections until `stop`; those of other users are closed at once.
pub(super) fn accept(
    listener: UnixListener,
    uids: BTreeSet<u32>,
    stop: CancellationToken,
) -> Incoming {
    let (ready, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let allowed = |uid: u32| uids.contains(&uid);
            if !stream.peer_cred().is_ok_and(|peer| allowed(peer.uid())) {
                continue;
            }
            if ready.send(stream).await.is_err() {
                return;
            }
        }
    });
    Incoming(incoming)
}
