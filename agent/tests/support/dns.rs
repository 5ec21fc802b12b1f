//! A DNS server on loopback that says what it is told to, over UDP and TCP.

use super::Stopping;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// Address of the question's name in a message.
const QUESTION: [u8; 2] = [0xc0, 12];

/// What is asked, as it stands in the message: `name.example/28`.
pub type Asked<'a> = &'a str;

/// What to answer.
pub enum Say {
    /// These records of the name.
    Records(Vec<Vec<u8>>),
    /// This code and no record.
    Code(u8),
    /// The same, but over UDP only that it is too long.
    OverTcp(Vec<Vec<u8>>),
    /// These bytes, whatever they are; then the records.
    After(Vec<Vec<u8>>, Vec<Vec<u8>>),
    /// Nothing.
    Silence,
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    /// Questions so far.
    pub asked: Arc<AtomicUsize>,
    _tasks: [Stopping; 2],
}

/// Data of an address record, with its kind.
pub fn address(ip: &str) -> Vec<u8> {
    match ip.parse().unwrap() {
        IpAddr::V4(v4) => record(1, &v4.octets()),
        IpAddr::V6(v6) => record(28, &v6.octets()),
    }
}

/// A service record.
pub fn service(priority: u16, port: u16, host: &str) -> Vec<u8> {
    let mut data = [priority.to_be_bytes(), [0, 0], port.to_be_bytes()].concat();
    for label in host.split('.') {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend(label.as_bytes());
    }
    data.push(0);
    record(33, &data)
}

fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [
        &QUESTION[..],
        &kind.to_be_bytes(),
        &[0, 1, 0, 0, 0, 60],
        &length.to_be_bytes(),
        data,
    ]
    .concat()
}

/// Starts a server.
pub async fn serve(say: impl Fn(Asked<'_>) -> Say + Send + Sync + 'static) -> Server {
    let (udp, tcp) = bind().await;
    let (say, asked) = (Arc::new(say), Arc::new(AtomicUsize::new(0)));
    let address = udp.local_addr().unwrap();
    let (over_udp, count) = (Arc::clone(&say), Arc::clone(&asked));
    let datagrams = async move {
        let mut query = [0; 512];
        loop {
            let (length, peer) = udp.recv_from(&mut query).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            for message in messages(&query[..length], &over_udp(&name(&query)), true) {
                let _ = udp.send_to(&message, peer).await;
            }
        }
    };
    let streams = async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            for message in messages(&query, &say(&name(&query)), false) {
                let length = u16::try_from(message.len()).unwrap();
                let _ = stream.write_u16(length).await;
                let _ = stream.write_all(&message).await;
            }
        }
    };
    let _tasks = [
        Stopping(tokio::spawn(datagrams)),
        Stopping(tokio::spawn(streams)),
    ];
    Server {
        address,
        asked,
        _tasks,
    }
}

/// Both sockets on one port.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

/// The question of a query.
fn name(query: &[u8]) -> String {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    format!("{}/{kind}", labels.join("."))
}

fn messages(query: &[u8], say: &Say, udp: bool) -> Vec<Vec<u8>> {
    match say {
        Say::Silence => Vec::new(),
        Say::Records(records) => vec![message(query, [0x81, 0x80], records)],
        Say::Code(code) => vec![message(query, [0x81, 0x80 | code], &[])],
        Say::OverTcp(_) if udp => vec![message(query, [0x83, 0x80], &[])],
        Say::OverTcp(records) => vec![message(query, [0x81, 0x80], records)],
        Say::After(before, records) => {
            let answer = message(query, [0x81, 0x80], records);
            before.iter().cloned().chain([answer]).collect()
        }
    }
}

fn message(query: &[u8], flags: [u8; 2], records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2..4].copy_from_slice(&flags);
    let count = u16::try_from(records.len()).unwrap();
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message.extend(records.concat());
    message
}
