//! A whole key service on loopback, with its own PKI and files, asked over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod administration;
mod connections;
mod data_keys;
mod exchange;
mod keks;
mod life;
mod lifecycle;
mod masters;

use super::{Running, Service, StartError};
use crate::config::{Config, Start};
use crate::evidence::FORGED;
use crate::master::Masters;
use crate::policy::testing::{FILE, claims};
use dawnkey_attest::claims::Claims;
use dawnkey_proto::binding::{Bound, Role, SpkiDigest, binder};
use dawnkey_proto::message::{Answer, Ask, Request};
use dawnkey_proto::seal::Recipient;
use dawnkey_proto::tls::{Clock, Identity, Pin, client_config, exporter};
use dawnkey_proto::wire;
use dawnkey_proto::wire::admin_client::AdminClient;
use dawnkey_proto::wire::key_service_client::KeyServiceClient;
use dawnkey_secret::MasterSecret;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

const NAME: &str = "keyservice.test";

/// A CA with what it has issued.
struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self {
            certificate: made.der().clone(),
            pem: made.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn identity(&self, usage: ExtendedKeyUsagePurpose) -> Identity {
        let (certificate, key) = self.issue(usage);
        Identity {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// The files of a key service.
struct Site {
    scratch: tempfile::TempDir,
    ca: Ca,
    admin_ca: Ca,
    limits: &'static str,
    /// Further sections of the configuration.
    more: String,
}

impl Site {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (ca, admin_ca) = (Ca::new(), Ca::new());
        let (certificate, key) = ca.issue(ExtendedKeyUsagePurpose::ServerAuth);
        let write = |name: &str, text: &str| {
            let path = scratch.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        };
        write("server.pem", &certificate.pem());
        write("server.key", &key.serialize_pem());
        write("admin-ca.pem", &admin_ca.pem);
        write("ek-ca.pem", &ca.pem);
        write("policy.toml", FILE);
        Self {
            scratch,
            ca,
            admin_ca,
            limits: "",
            more: String::new(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }

    fn config(&self) -> Config {
        let text = format!(
            r#"
service_id = "a0000000-0000-4000-8000-000000000001"
[listen]
unlock = "127.0.0.1:0"
admin = "127.0.0.1:0"
metrics = "127.0.0.1:0"
addresses_file = "addresses.toml"
[tls]
certificate = "server.pem"
key = "server.key"
admin_ca = "admin-ca.pem"
[store]
kind = "redb"
path = "dawnkey.redb"
[[kek.provider]]
name = "cluster"
kind = "cluster"
salt = "{}"
master_secret = "fd"
[policy]
file = "policy.toml"
[audit]
file = "audit.log"
[limits]
{}
{}
"#,
            "00".repeat(32),
            self.limits,
            self.more
        );
        Config::parse(&self.path("keyservice.toml"), &text).unwrap()
    }

    async fn try_start(&self) -> Result<Running, StartError> {
        let master_secret = MasterSecret::take(&mut [1; 32]).unwrap();
        Service::start(Start {
            config: self.config(),
            masters: Masters::one("cluster", master_secret),
        })
        .await
    }

    async fn start(&self) -> Running {
        self.try_start().await.unwrap()
    }

    fn client(&self, identity: Option<Identity>) -> ClientConfig {
        let pin = Pin::Ca(vec![self.ca.certificate.clone()]);
        client_config(&pin, Clock::Trusted, identity).unwrap()
    }

    async fn admin(&self, running: &Running) -> AdminClient<Channel> {
        let identity = self.admin_ca.identity(ExtendedKeyUsagePurpose::ClientAuth);
        let config = self.client(Some(identity));
        let tls = connect(running.addresses.admin, config).await.unwrap();
        AdminClient::new(channel(tls).await)
    }

    /// Without the calls at providers.
    fn audit_events(&self) -> Vec<String> {
        let bytes = std::fs::read(self.path("audit.log")).unwrap();
        let mut events = Vec::new();
        crate::audit::read(bytes.as_slice(), |record| events.push(record.event)).unwrap();
        events.retain(|event| event != "kek-wrap" && event != "kek-unwrap");
        events
    }
}

async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(NAME).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// gRPC over this one connection.
async fn channel(tls: TlsStream<TcpStream>) -> Channel {
    let once = Arc::new(Mutex::new(Some(TokioIo::new(tls))));
    Endpoint::from_static("http://one-connection")
        .connect_with_connector(tower::service_fn(move |_: http::Uri| {
            let stream = once.lock().unwrap().take();
            async move { stream.ok_or_else(|| std::io::Error::other("used up")) }
        }))
        .await
        .unwrap()
}

/// A node on one connection, with forged evidence.
struct Node {
    client: KeyServiceClient<Channel>,
    exporter: dawnkey_proto::binding::Exporter,
    spki: SpkiDigest,
    recipient: Recipient,
    claims: Claims,
    binder: [u8; 64],
}

impl Node {
    async fn connect(site: &Site, running: &Running) -> Self {
        let tls = connect(running.addresses.unlock, site.client(None))
            .await
            .unwrap();
        let connection = tls.get_ref().1;
        let drawn = exporter(connection, Role::Node).unwrap();
        let spki = dawnkey_proto::tls::peer_spki(connection).unwrap();
        Self {
            exporter: drawn,
            spki,
            client: KeyServiceClient::new(channel(tls).await),
            recipient: Recipient::generate().unwrap(),
            claims: claims(1),
            binder: [0; 64],
        }
    }

    fn request(&mut self, volume: Uuid, ask: Ask) -> wire::UnlockRequest {
        let body = Request {
            ask,
            volume,
            node_name: "node-1".into(),
            agent_version: "0.1.0".into(),
            hpke_public_key: self.recipient.public_key().try_into().unwrap(),
        }
        .encode();
        self.binder = binder(&Bound {
            role: Role::Node,
            exporter: &self.exporter,
            service_spki: &self.spki,
            hpke_public_key: self.recipient.public_key(),
            request: &body,
        })
        .0;
        let mut payload = self.binder.to_vec();
        payload.extend(serde_json::to_vec(&self.claims).unwrap());
        wire::UnlockRequest {
            body,
            evidence: vec![wire::Evidence {
                kind: FORGED.into(),
                payload,
            }],
        }
    }

    async fn ask(&mut self, volume: Uuid, ask: Ask) -> Answer {
        let request = self.request(volume, ask);
        let answer = self.client.unlock(request).await.unwrap();
        answer.into_inner().try_into().unwrap()
    }
}

async fn new_volume(site: &Site, running: &Running) -> Uuid {
    let request = wire::CreateVolumeRequest {
        volume_id: vec![],
        policy: "state".into(),
        label: "test".into(),
    };
    let made = site.admin(running).await.create_volume(request).await;
    Uuid::from_slice(&made.unwrap().into_inner().volume_id).unwrap()
}

async fn http_get(address: SocketAddr, path: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}
