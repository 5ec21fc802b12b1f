//! The waiting node at the other end: ask it for its request, give it a grant.

use crate::outcome::{Exit, Failure};
use dawnkey_proto::binding::{Exporter, Role, SpkiDigest};
use dawnkey_proto::recovery::{Answer, ReceivedRecovery, frame, tls};
use dawnkey_proto::tls::exporter;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long one exchange with a node may take: its evidence may take seconds, and others may be before us.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a request came.
#[derive(Debug, Clone)]
pub(super) enum Channel {
    /// Over a connection with this exporter, to a node with this key.
    Connection(Exporter, SpkiDigest),
    /// As text.
    Text,
}

fn unreachable(address: &str, what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("{what}: {error}"),
        address,
        "the address of a node that says `recovery-waiting` on its console",
    )
}

async fn connect(address: &str, known: Option<SpkiDigest>) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let config = tls::client(known).map_err(io::Error::other)?;
    // No name is looked at: nobody can know the node's key, and its evidence will say whose it is.
    let name = "node".try_into().map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

async fn exchange(
    stream: &mut TlsStream<TcpStream>,
    sent: frame::Kind,
    message: &[u8],
    wanted: frame::Kind,
) -> io::Result<Vec<u8>> {
    let frame = sent.frame(message).map_err(io::Error::other)?;
    stream.write_all(&frame).await?;
    stream.flush().await?;
    let mut head = [0; frame::HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let (kind, length) = frame::Kind::head(head).map_err(io::Error::other)?;
    if kind != wanted && kind != frame::Kind::Answer {
        return Err(io::Error::other(
            "another message than the one that was asked for",
        ));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    if kind != wanted {
        let why = match Answer::decode(&message) {
            Ok(Answer::Refused { code, detail }) => format!("the node says {code}: {detail}"),
            _ => "the node answers something else".into(),
        };
        return Err(io::Error::other(why));
    }
    Ok(message)
}

/// Asks a node for its request and evidence.
pub(super) async fn ask(address: &str) -> Result<(ReceivedRecovery, Channel), Failure> {
    let asking = async {
        let mut stream = connect(address, None).await?;
        let connection = stream.get_ref().1;
        let drawn = exporter(connection, Role::Recovery).map_err(io::Error::other)?;
        let key = tls::peer_key(connection).map_err(io::Error::other)?;
        let (ask, request) = (frame::Kind::Ask, frame::Kind::Request);
        let message = exchange(&mut stream, ask, &[], request).await?;
        let received = ReceivedRecovery::decode(&message).map_err(io::Error::other)?;
        Ok::<_, io::Error>((received, Channel::Connection(drawn, key)))
    };
    const WHAT: &str = "ask the node";
    match timeout(PATIENCE, asking).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(error)) => Err(unreachable(address, WHAT, &error)),
        Err(_) => Err(unreachable(address, WHAT, &"no answer within 30 s")),
    }
}

/// Gives a node a grant, over the key that it has proved to be its own.
pub(super) async fn give(
    address: &str,
    known: &SpkiDigest,
    grant: &[u8],
) -> Result<Answer, Failure> {
    let giving = async {
        let mut stream = connect(address, Some(*known)).await?;
        let (kind, answer) = (frame::Kind::Grant, frame::Kind::Answer);
        let message = exchange(&mut stream, kind, grant, answer).await?;
        Answer::decode(&message).map_err(io::Error::other)
    };
    const WHAT: &str = "give the node its grant";
    match timeout(PATIENCE, giving).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unreachable(address, WHAT, &error)),
        Err(_) => Err(unreachable(address, WHAT, &"no answer within 30 s")),
    }
}
