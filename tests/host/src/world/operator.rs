//! What the operator does, over mutual TLS.

use super::{World, pki::NAME};
use dawnkey_proto::one_shot::OneShot;
use dawnkey_proto::seal::seal_master;
use dawnkey_proto::tls::{self, Clock, Pin};
use dawnkey_proto::wire;
use dawnkey_proto::wire::admin_client::AdminClient;
use dawnkey_proto::wire::kek_admin_client::KekAdminClient;
use dawnkey_secret::MasterSecret;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

fn reference() -> wire::VolumeRef {
    wire::VolumeRef {
        volume_id: super::VOLUME.as_bytes().to_vec(),
    }
}

impl World {
    /// Makes a volume under the policy `state`.
    pub async fn create_volume(&self, id: Uuid) {
        let request = wire::CreateVolumeRequest {
            volume_id: id.as_bytes().to_vec(),
            policy: "state".into(),
            label: "test".into(),
        };
        self.admin().await.create_volume(request).await.unwrap();
    }

    /// Writes `admin.toml` and what it names beside the service's files, as `dawnkey` reads them.
    pub fn write_profile(&self) {
        self.pki.write_admin(self.path());
        let profile = format!(
            "endpoint = \"{}\"\nname = \"{NAME}\"\nca = \"ca.pem\"\ncertificate = \"admin.pem\"\nkey = \"admin.key\"\n",
            self.admin
        );
        std::fs::write(self.path().join("admin.toml"), profile).unwrap();
    }

    /// A secret, as `dawnkey volume create --secret` makes it.
    pub async fn create_secret(&self, id: Uuid) {
        self.create_volume(id).await;
        let header = dawnkey_proto::secret::header();
        let request = wire::AdoptVolumeRequest {
            volume_id: id.as_bytes().to_vec(),
            policy: String::new(),
            label: String::new(),
            kind: "adopted".into(),
            epoch: header.epoch,
            generation: header.generation,
            header_digest: header.digest.to_vec(),
        };
        self.admin().await.adopt_volume(request).await.unwrap();
    }

    /// Makes many volumes under a policy over one connection, which takes a few calls at a time.
    pub async fn create_volumes(&self, ids: &[Uuid], policy: &str) {
        let admin = self.admin().await;
        for some in ids.chunks(4) {
            let calls = some.iter().map(|id| {
                let mut admin = admin.clone();
                let request = wire::CreateVolumeRequest {
                    volume_id: id.as_bytes().to_vec(),
                    policy: policy.to_owned(),
                    label: String::new(),
                };
                tokio::spawn(async move { admin.create_volume(request).await })
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.unwrap().unwrap();
            }
        }
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut tcp = TcpStream::connect(self.metrics).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        tcp.write_all(request).await.unwrap();
        let mut text = String::new();
        tcp.read_to_string(&mut text).await.unwrap();
        text
    }

    /// The volume as the service knows it.
    pub async fn volume(&self) -> wire::VolumeRecord {
        self.volume_of(super::VOLUME).await
    }

    /// Another volume as the service knows it.
    pub async fn volume_of(&self, id: Uuid) -> wire::VolumeRecord {
        let volume_id = id.as_bytes().to_vec();
        let mut admin = self.admin().await;
        let shown = admin.show_volume(wire::VolumeRef { volume_id }).await;
        shown.unwrap().into_inner()
    }

    /// Gives the volume its next epoch.
    pub async fn rotate(&self) {
        let mut admin = self.admin().await;
        admin.rotate_volume(reference()).await.unwrap();
    }

    /// Takes the volume's lease away from whoever has it.
    pub async fn break_lease(&self) {
        let mut admin = self.admin().await;
        admin.break_lease(reference()).await.unwrap();
    }

    /// Hands the master secret to the service that waits for it.
    pub async fn give_master(&self, provider: &str, secret: &MasterSecret) {
        let mut keks = KekAdminClient::new(self.admin_channel().await);
        let asked = keks.masters(wire::KekMastersRequest {}).await;
        let key = asked.unwrap().into_inner().hpke_public_key;
        let sealed = seal_master(&key, provider, secret).unwrap();
        let request = wire::KekGiveMasterRequest {
            provider: provider.to_owned(),
            encapsulated_key: sealed.encapsulated_key,
            ciphertext: sealed.ciphertext,
        };
        keks.give_master(request).await.unwrap();
    }

    async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.admin_channel().await)
    }

    async fn admin_channel(&self) -> Channel {
        let pin = Pin::Ca(vec![self.pki.ca()]);
        let settings = tls::client_config(&pin, Clock::Trusted, Some(self.pki.admin())).unwrap();
        let tcp = TcpStream::connect(self.admin).await.unwrap();
        let connector = TlsConnector::from(Arc::new(settings));
        let stream = connector.connect(NAME.try_into().unwrap(), tcp).await;
        let channel = Endpoint::from_static("http://admin.test")
            .connect_with_connector(OneShot::new(stream.unwrap()))
            .await;
        channel.unwrap()
    }
}
