//! An operator's tool that says what it is told to, right or wrong.

use super::{DEK, VOLUME};
use dawnkey_proto::binding::{Role, SpkiDigest};
use dawnkey_proto::recovery::{Answer, BootId, Grant, GrantKey, ReceivedRecovery, frame, tls};
use dawnkey_proto::seal::{Purpose, seal_recovery};
use dawnkey_proto::tls::exporter;
use dawnkey_secret::Dek;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

/// An operator with one grant key.
pub struct Operator {
    pub key: GrantKey,
    grants: u128,
}

/// What a node said, and the key over which it did.
pub struct Told {
    pub received: ReceivedRecovery,
    pub spki: SpkiDigest,
    /// What the evidence should be bound to.
    pub binder: [u8; 64],
}

impl Operator {
    pub fn new() -> Self {
        Self {
            key: GrantKey::generate().unwrap(),
            grants: 0,
        }
    }

    /// Another with the same key.
    pub fn same(&self) -> Self {
        let text = self.key.text().unwrap();
        Self {
            key: GrantKey::parse(&text).unwrap(),
            grants: 0,
        }
    }

    async fn connect(node: SocketAddr, known: Option<SpkiDigest>) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(node).await.unwrap();
        let connector = TlsConnector::from(Arc::new(tls::client(known).unwrap()));
        connector
            .connect("node".try_into().unwrap(), tcp)
            .await
            .unwrap()
    }

    /// Asks a node for its request.
    pub async fn ask(&self, node: SocketAddr) -> Told {
        let mut stream = Self::connect(node, None).await;
        let connection = stream.get_ref().1;
        let drawn = exporter(connection, Role::Recovery).unwrap();
        let spki = tls::peer_key(connection).unwrap();
        let (kind, message) = exchange(&mut stream, &frame::Kind::Ask.frame(&[]).unwrap()).await;
        assert_eq!(kind, frame::Kind::Request);
        let received = ReceivedRecovery::decode(&message).unwrap();
        let binder = received.binder(&drawn, &spki).0;
        Told {
            received,
            spki,
            binder,
        }
    }

    /// The right grant for the volume of all tests, in the boot that told.
    pub fn grant(&mut self, told: &Told) -> Grant {
        self.grant_for(told, VOLUME, DEK)
    }

    /// A grant of this DEK for this volume.
    pub fn grant_for(&mut self, told: &Told, volume: Uuid, dek: [u8; 32]) -> Grant {
        self.grants += 1;
        let request = &told.received.request;
        let seen = request.volumes[0].seen;
        let purpose = Purpose {
            volume,
            epoch: seen.epoch,
            generation: seen.generation,
        };
        let dek = Dek::take(&mut dek.clone()).unwrap();
        let (key, nonce) = (&request.hpke_public_key, &request.boot_nonce);
        Grant {
            id: Uuid::from_u128(self.grants),
            volume,
            epoch: seen.epoch,
            generation: seen.generation,
            boot: BootId(request.boot().0),
            not_before: request.clock_seconds,
            not_after: request.clock_seconds + 600,
            sealed: seal_recovery(key, &purpose, nonce, &dek).unwrap(),
        }
    }

    /// Sends a grant over the key that told.
    pub async fn give(&self, node: SocketAddr, told: &Told, grant: &Grant) -> Answer {
        let bytes = grant.sign(&self.key).unwrap();
        self.send(node, told, &frame::Kind::Grant.frame(&bytes).unwrap())
            .await
    }

    /// Sends bytes that should be a frame.
    pub async fn send(&self, node: SocketAddr, told: &Told, bytes: &[u8]) -> Answer {
        let mut stream = Self::connect(node, Some(told.spki)).await;
        let (kind, message) = exchange(&mut stream, bytes).await;
        assert_eq!(kind, frame::Kind::Answer);
        Answer::decode(&message).unwrap()
    }
}

/// Sends a frame and reads one.
async fn exchange(stream: &mut TlsStream<TcpStream>, out: &[u8]) -> (frame::Kind, Vec<u8>) {
    stream.write_all(out).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = [0; frame::HEAD_BYTES];
    stream.read_exact(&mut head).await.unwrap();
    let (kind, length) = frame::Kind::head(head).unwrap();
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.unwrap();
    (kind, message)
}

/// The code of a refusal.
pub fn code(answer: Answer) -> String {
    match answer {
        Answer::Refused { code, .. } => code,
        Answer::Opened(volume) => panic!("{volume} was opened"),
    }
}
