//! Asks DNS servers: over UDP, and over TCP what does not fit. One question at a time, the servers in turn.
//!
//! It is no `getaddrinfo`: that blocks a thread for as long as the C library likes, so that no budget holds, and wants
//! NSS modules in the initramfs. Search lists are not used, names are complete.

use super::message::{self, Kind, Name, Record, Reply};
use crate::random;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// How long the first round waits for each server; each further round twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Largest datagram that is read. Without EDNS no answer may be longer than 512 bytes.
const MAX_DATAGRAM: usize = 1232;
/// Most servers that are asked.
pub const MAX_SERVERS: usize = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nobody can be asked.
    #[error(
        "resolve {name}: no DNS server is known; name one in `service.resolvers`, or let DHCP do it"
    )]
    NoServer {
        /// The name.
        name: Name,
    },
    /// No server answered before the deadline.
    #[error("resolve {name} ({kind}): no answer from {servers} within {} ms", waited.as_millis())]
    TimedOut {
        /// The name.
        name: Name,
        /// What was asked for.
        kind: Kind,
        /// The servers.
        servers: String,
        /// How long.
        waited: Duration,
    },
    /// A server cannot be asked.
    #[error("resolve {name}: ask DNS server {server}: {source}")]
    Transport {
        /// The name.
        name: Name,
        /// The server.
        server: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A server knows that there is no such name.
    #[error("resolve {name}: DNS server {server} says that there is no such name")]
    NoSuchName {
        /// The name.
        name: Name,
        /// The server.
        server: SocketAddr,
    },
    /// A server did not answer the question.
    #[error("resolve {name}: DNS server {server} did not answer the question (RCODE {code})")]
    Failed {
        /// The name.
        name: Name,
        /// The server.
        server: SocketAddr,
        /// RCODE: 2 server failure, 5 refused.
        code: u8,
    },
    /// An answer over TCP is not one.
    #[error("resolve {name}: DNS server {server} gave a malformed answer")]
    Malformed {
        /// The name.
        name: Name,
        /// The server.
        server: SocketAddr,
    },
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name.
    pub name: &'a Name,
    /// What is asked for.
    pub kind: Kind,
}

/// Gives the records of a name, possibly none; asks until the deadline.
///
/// # Errors
/// A server that says that there is no such name is believed; of all other failures the last, when no server gave an answer.
pub async fn ask(
    servers: &[SocketAddr],
    question: Question<'_>,
    deadline: Instant,
) -> Result<Vec<Record>, ResolveError> {
    let began = Instant::now();
    let servers = servers.get(..MAX_SERVERS).unwrap_or(servers);
    let name = || question.name.clone();
    if servers.is_empty() {
        return Err(ResolveError::NoServer { name: name() });
    }
    let mut wait = FIRST_WAIT;
    let mut failed = None;
    loop {
        let mut all_failed = true;
        for server in servers.iter().copied() {
            let until = (Instant::now() + wait).min(deadline);
            match timeout_at(until, one(server, question)).await {
                Ok(Ok(Reply::Records(records))) => return Ok(records),
                Ok(Ok(Reply::NoSuchName)) => {
                    let name = name();
                    return Err(ResolveError::NoSuchName { name, server });
                }
                Ok(Ok(Reply::Failed(code))) => {
                    let name = name();
                    failed = Some(ResolveError::Failed { name, server, code });
                }
                Ok(Ok(Reply::Truncated)) => {
                    let name = name();
                    failed = Some(ResolveError::Malformed { name, server });
                }
                Ok(Err(source)) => {
                    let name = name();
                    failed = Some(ResolveError::Transport {
                        name,
                        server,
                        source,
                    });
                }
                Err(_) => all_failed = false,
            }
            if Instant::now() >= deadline {
                return Err(failed.unwrap_or_else(|| timed_out(servers, question, began)));
            }
        }
        // Every server has said something, and would say it again.
        if let Some(failed) = failed.take().filter(|_| all_failed) {
            return Err(failed);
        }
        wait *= 2;
    }
}

fn timed_out(servers: &[SocketAddr], question: Question<'_>, began: Instant) -> ResolveError {
    let names: Vec<_> = servers.iter().map(ToString::to_string).collect();
    ResolveError::TimedOut {
        name: question.name.clone(),
        kind: question.kind,
        servers: names.join(", "),
        waited: began.elapsed(),
    }
}

/// One server's answer. What comes and is no answer to the question is waited past.
async fn one(server: SocketAddr, question: Question<'_>) -> io::Result<Reply> {
    let Question { name, kind } = question;
    let id = random::number();
    let query = message::query(id, name, kind);
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: the kernel lets only this server's datagrams through, and reports that nothing listens.
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut datagram).await?;
        let bytes = datagram.get(..length).unwrap_or_default();
        match message::parse(bytes, id, name, kind) {
            Some(Reply::Truncated) => return over_tcp(server, &query, id, question).await,
            Some(reply) => return Ok(reply),
            None => {}
        }
    }
}

/// The same question over TCP, where an answer has at most 65535 bytes.
async fn over_tcp(
    server: SocketAddr,
    query: &[u8],
    id: u16,
    question: Question<'_>,
) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    message::parse(&answer, id, question.name, question.kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed answer"))
}
