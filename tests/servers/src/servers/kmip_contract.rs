//! A contract server: KMIP 1.4 over TLS 1.3 from the specification, with one key, for what PyKMIP cannot do: TLS 1.3, an
//! earlier version, a user name and password beside the certificate (PyKMIP reads none), and answers that must be refused.

use super::pki::Pki;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use dawnkey_kek::kmip::ttlv::{Item, Value};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The identifier of its key.
pub const KEY: &str = "contract-key";

/// Who may ask with [`Manner::Password`].
pub const USER: &str = "dawnkey";
/// With this password.
pub const PASSWORD: &str = "correct horse battery staple";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As KMIP 1.4 says.
    Honest,
    /// Offers versions 1.0 to 1.2 only.
    Old,
    /// Its answers are about another key.
    OtherKey,
    /// Its answers are cut short within.
    Malformed,
    /// As KMIP 1.4 says, for [`USER`] with [`PASSWORD`] in the request's header only.
    Password,
    /// Its answers announce more than any client should take.
    Huge,
}

/// A running server; ends with the value.
pub struct Contract {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Contract {
    /// Listens on a loopback port with the certificate `server` of a PKI, for its users.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(pki: &Pki, manner: Manner) -> Self {
        let tls = TlsAcceptor::from(Arc::new(tls(pki)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("listen");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, manner).await;
                    }
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Contract {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tls(pki: &Pki) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = |name: &str| CertificateDer::from_pem_file(pki.file(name)).expect("PEM");
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).expect("CA");
    let users = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .expect("verifier");
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(users)
        .with_single_cert(
            vec![certificate("server.pem")],
            PrivateKeyDer::from_pem_file(pki.file("server.key")).expect("key"),
        )
        .expect("certificate and key")
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, manner: Manner) {
    loop {
        let mut head = [0; 8];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let [.., l0, l1, l2, l3] = head;
        let mut body = vec![0; u32::from_be_bytes([l0, l1, l2, l3]) as usize];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let request = [&head[..], &body].concat();
        let request = Item::decode(&request).expect("the client sends TTLV");
        let mut answer = answer(&request, manner).encode().to_vec();
        let discovering = operation(&request) == 0x1e;
        let spoiled = match manner {
            Manner::Malformed if !discovering => answer.get_mut(15),
            Manner::Huge if !discovering => answer.get_mut(4),
            _ => None,
        };
        if let Some(byte) = spoiled {
            *byte ^= 0x40;
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn operation(request: &Item) -> u32 {
    let batch = request.child(0x42_000f).expect("a batch item");
    batch.enumeration_of(0x42_005c).expect("an operation")
}

fn version(minor: i32) -> Item {
    let parts = vec![Item::integer(0x42_006a, 1), Item::integer(0x42_006b, minor)];
    Item::structure(0x42_0069, parts)
}

fn answer(request: &Item, manner: Manner) -> Item {
    let operation = operation(request);
    let batch = request.child(0x42_000f).expect("a batch item");
    let payload = batch.child(0x42_0079).expect("a payload");
    let result = match operation {
        0x1e => Ok(match manner {
            Manner::Old => (0..=2).map(version).collect(),
            _ => (0..=4).map(version).collect(),
        }),
        _ if manner == Manner::Password && !known(request) => Err((3, "who are you")),
        _ if payload.text_of(0x42_0094) != Some(KEY) => Err((1, "no such object")),
        0x1f => Ok(encrypt(payload)),
        0x20 => decrypt(payload).ok_or((0x0a, "the tag is wrong")),
        0x0a => Err((0x16, "the key is sensitive")),
        0x0b => Ok(vec![attribute(payload)]),
        _ => Err((5, "not supported")),
    };
    let mut item = vec![Item::enumeration(0x42_005c, operation)];
    match result {
        Ok(mut payload) => {
            let id = match manner {
                Manner::OtherKey => "another-key",
                _ => KEY,
            };
            if operation != 0x1e {
                payload.insert(0, Item::text(0x42_0094, id));
            }
            item.push(Item::enumeration(0x42_007f, 0));
            item.push(Item::structure(0x42_007c, payload));
        }
        Err((reason, said)) => {
            item.push(Item::enumeration(0x42_007f, 1));
            item.push(Item::enumeration(0x42_007e, reason));
            item.push(Item::text(0x42_007d, said));
        }
    }
    let header = vec![
        version(4),
        Item {
            tag: 0x42_0092,
            value: Value::DateTime(1_700_000_000),
        },
        Item::integer(0x42_000d, 1),
    ];
    let message = vec![
        Item::structure(0x42_007a, header),
        Item::structure(0x42_000f, item),
    ];
    Item::structure(0x42_007b, message)
}

/// Whether the request's header has the user's name and password (KMIP 1.4, clauses 6.6 and 2.1.2).
fn known(request: &Item) -> bool {
    let header = request.child(0x42_0077).expect("a header");
    let credential = || header.child(0x42_000c)?.child(0x42_0023);
    let Some(credential) = credential() else {
        return false;
    };
    let value = credential.child(0x42_0025).expect("a value");
    credential.enumeration_of(0x42_0024) == Some(1)
        && value.text_of(0x42_0099) == Some(USER)
        && value.text_of(0x42_00a1) == Some(PASSWORD)
}

fn attribute(payload: &Item) -> Item {
    let name = payload.text_of(0x42_000a).expect("an attribute's name");
    let value = match name {
        "State" => Item::enumeration(0x42_000b, 2),
        _ => Item::integer(0x42_000b, 12),
    };
    Item::structure(0x42_0008, vec![Item::text(0x42_000a, name), value])
}

fn cipher() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x5a; 32]).expect("a key"))
}

fn parts(payload: &Item) -> (Vec<u8>, Nonce, Aad<Vec<u8>>) {
    let bytes = |tag| payload.bytes_of(tag).expect("a field").to_vec();
    let nonce = Nonce::try_assume_unique_for_key(&bytes(0x42_003d)).expect("12 bytes");
    (bytes(0x42_00c2), nonce, Aad::from(bytes(0x42_00fe)))
}

fn encrypt(payload: &Item) -> Vec<Item> {
    let (mut data, nonce, aad) = parts(payload);
    let tag = cipher()
        .seal_in_place_separate_tag(nonce, aad, &mut data)
        .expect("encrypt");
    vec![
        Item::bytes(0x42_00c2, &data),
        Item::bytes(0x42_00ff, tag.as_ref()),
    ]
}

fn decrypt(payload: &Item) -> Option<Vec<Item>> {
    let (mut data, nonce, aad) = parts(payload);
    data.extend_from_slice(payload.bytes_of(0x42_00ff)?);
    let plain = cipher().open_in_place(nonce, aad, &mut data).ok()?;
    Some(vec![Item::bytes(0x42_00c2, plain)])
}
