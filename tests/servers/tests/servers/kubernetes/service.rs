//! A key service with the plugin, and its operator.

use dawnkey_host_tests::world::CONFIG;
use dawnkey_host_tests::world::pki::{NAME, Pki};
use dawnkey_keyservice::config::{Config, Start};
use dawnkey_keyservice::master::Masters;
use dawnkey_keyservice::server::{Running, Service};
use dawnkey_proto::one_shot::OneShot;
use dawnkey_proto::tls::{Clock, Pin, client_config};
use dawnkey_proto::wire::KubernetesKeyRequest;
use dawnkey_proto::wire::admin_client::AdminClient;
use dawnkey_secret::MasterSecret;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// No node takes part.
const POLICY: &str = "version = 1\n[roots]\n";

/// The files of the service.
pub(super) struct Site {
    dir: tempfile::TempDir,
    pki: Pki,
}

impl Site {
    pub(super) fn new() -> Self {
        let (dir, pki) = (tempfile::tempdir().unwrap(), Pki::new());
        pki.write(dir.path());
        std::fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
        Self { dir, pki }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path().join("kms.sock")
    }

    pub(super) async fn start(&self) -> Running {
        let own = std::fs::metadata(self.path()).unwrap().uid();
        let text = format!(
            r#"{CONFIG}
[kubernetes_kms]
socket = "kms.sock"
uids = [{own}]
"#
        );
        let config = Config::parse(&self.path().join("keyservice.toml"), &text).unwrap();
        let master_secret = MasterSecret::take(&mut [0x77; 32]).unwrap();
        let start = Start {
            config,
            masters: Masters::one("cluster", master_secret),
        };
        Service::start(start).await.unwrap()
    }

    pub(super) async fn create_key(&self, running: &Running) {
        let mut admin = self.admin(running).await;
        let made = admin.create_kubernetes_key(KubernetesKeyRequest {}).await;
        made.unwrap();
    }

    pub(super) async fn rotate_key(&self, running: &Running) {
        let mut admin = self.admin(running).await;
        let rotated = admin.rotate_kubernetes_key(KubernetesKeyRequest {}).await;
        rotated.unwrap();
    }

    async fn admin(&self, running: &Running) -> AdminClient<Channel> {
        let pin = Pin::Ca(vec![self.pki.ca()]);
        let settings = client_config(&pin, Clock::Trusted, Some(self.pki.admin())).unwrap();
        let tcp = TcpStream::connect(running.addresses.admin).await.unwrap();
        let connector = TlsConnector::from(Arc::new(settings));
        let stream = connector.connect(NAME.try_into().unwrap(), tcp).await;
        let channel = Endpoint::from_static("http://admin.test")
            .connect_with_connector(OneShot::new(stream.unwrap()))
            .await;
        AdminClient::new(channel.unwrap())
    }
}
