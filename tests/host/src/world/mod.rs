//! One key service, its operator, and nodes with software TPMs and disk files.
pub mod guest;
pub mod keyring;
pub mod node;
pub mod operator;
pub mod pki;
pub mod process;
pub mod relay;
pub mod scan;

use dawnkey_agent::config::{Pace, Protocol, ServiceConfig};
use dawnkey_agent::discover::{Endpoint, Places};
use dawnkey_attest::fake::SwtpmCa;
use dawnkey_keyservice::config::{Config, Start};
use dawnkey_keyservice::master::Masters;
use dawnkey_keyservice::server::{Running, Service};
use dawnkey_proto::tls::Pin;
use dawnkey_secret::MasterSecret;
use pki::Pki;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

/// The service of all tests.
pub const SERVICE: Uuid = Uuid::from_u128(0xa000_0000_0000_4000_8000_0000_0000_0001);

/// The volume of all tests.
pub const VOLUME: Uuid = Uuid::from_u128(0x5b1d_1f0e_33b6_4d6e_8f2a_5d1c_0a8f_7e21);

/// A key service with its files.
pub struct World {
    /// Its identities.
    pub pki: Pki,
    /// Whose TPMs its policy accepts.
    pub tpm_ca: SwtpmCa,
    running: Option<Running>,
    address: SocketAddr,
    admin: SocketAddr,
    metrics: SocketAddr,
    dir: Arc<TempDir>,
}

impl World {
    /// Starts a service whose policy accepts the image with these PCRs and TPMs of a new CA, and makes a volume.
    pub async fn new(image: &BTreeMap<u8, Vec<u8>>) -> Self {
        let world = Self::without_volume(image).await;
        world.create_volume(VOLUME).await;
        world
    }

    /// The same without a volume.
    pub async fn without_volume(image: &BTreeMap<u8, Vec<u8>>) -> Self {
        let tpm_ca = SwtpmCa::new();
        // The CA is made with its first TPM.
        drop(dawnkey_attest::fake::Swtpm::start(&tpm_ca, node::KIND));
        let roots = [tpm_ca.root_pem(), tpm_ca.issuer_pem()].concat();
        Self::start(tpm_ca, &policy(image), &[("ek-ca.pem", roots)]).await
    }

    /// The same with further rules for its volumes, and leases of so many seconds.
    pub async fn with_rules(
        image: &BTreeMap<u8, Vec<u8>>,
        rules: &str,
        lease_seconds: u32,
    ) -> Self {
        let tpm_ca = SwtpmCa::new();
        drop(dawnkey_attest::fake::Swtpm::start(&tpm_ca, node::KIND));
        let roots = [tpm_ca.root_pem(), tpm_ca.issuer_pem()].concat();
        let policy = format!("{}{rules}\n", policy(image));
        let config = format!("{CONFIG}[limits]\nlease_seconds = {lease_seconds}\n");
        let files = [("ek-ca.pem", roots)];
        let world = Self::start_with(tpm_ca, &config, &policy, &files).await;
        world.create_volume(VOLUME).await;
        world
    }

    /// Starts a service with a policy that names these files, and makes a volume.
    pub async fn with_policy(policy: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let world = Self::start(SwtpmCa::new(), policy, files).await;
        world.create_volume(VOLUME).await;
        world
    }

    /// Starts a service with a section `[limits]` and a policy that names these files; without any volume.
    pub async fn with_limits(limits: &str, policy: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let config = format!("{CONFIG}{limits}");
        Self::start_with(SwtpmCa::new(), &config, policy, files).await
    }

    async fn start(tpm_ca: SwtpmCa, policy: &str, files: &[(&str, Vec<u8>)]) -> Self {
        Self::start_with(tpm_ca, CONFIG, policy, files).await
    }

    /// Writes what a service reads beside its configuration.
    fn lay_out(dir: &Path, pki: &Pki, policy: &str, files: &[(&str, Vec<u8>)]) {
        pki.write(dir);
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        std::fs::write(dir.join("policy.toml"), policy).unwrap();
    }

    async fn start_with(
        tpm_ca: SwtpmCa,
        config: &str,
        policy: &str,
        files: &[(&str, Vec<u8>)],
    ) -> Self {
        let master = MasterSecret::take(&mut [0x77; 32]).unwrap();
        Self::start_under(tpm_ca, config, policy, files, one(master)).await
    }

    /// A service with this configuration and these master secrets, and without a volume.
    pub async fn with_source(
        image: &BTreeMap<u8, Vec<u8>>,
        config: &str,
        masters: Masters,
        more: &[(&str, Vec<u8>)],
    ) -> Self {
        let tpm_ca = SwtpmCa::new();
        drop(dawnkey_attest::fake::Swtpm::start(&tpm_ca, node::KIND));
        let roots = [tpm_ca.root_pem(), tpm_ca.issuer_pem()].concat();
        let files = [&[("ek-ca.pem", roots)], more].concat();
        Self::start_under(tpm_ca, config, &policy(image), &files, masters).await
    }

    /// A service with this master secret, and a volume.
    pub async fn with_master(image: &BTreeMap<u8, Vec<u8>>, master: MasterSecret) -> Self {
        let tpm_ca = SwtpmCa::new();
        drop(dawnkey_attest::fake::Swtpm::start(&tpm_ca, node::KIND));
        let roots = [tpm_ca.root_pem(), tpm_ca.issuer_pem()].concat();
        let files = [("ek-ca.pem", roots)];
        let world = Self::start_under(tpm_ca, CONFIG, &policy(image), &files, one(master)).await;
        world.create_volume(VOLUME).await;
        world
    }

    /// A service with this section `[[kek.provider]]`, which needs no master secret, and a volume.
    pub async fn with_provider(image: &BTreeMap<u8, Vec<u8>>, provider: &str) -> Self {
        let config = CONFIG.replacen(KEK, provider, 1);
        let world = Self::with_source(image, &config, Masters::default(), &[]).await;
        world.create_volume(VOLUME).await;
        world
    }

    /// Another service with the same policy, and a store, identities and a KEK of its own.
    pub async fn beside(&self, service_id: Uuid, provider: &str) -> Self {
        let config = CONFIG
            .replacen(
                "a0000000-0000-4000-8000-000000000001",
                &service_id.to_string(),
                1,
            )
            .replacen(KEK, provider, 1);
        let read = |name| std::fs::read(self.file(name)).unwrap();
        let policy = String::from_utf8(read("policy.toml")).unwrap();
        let files = [("ek-ca.pem", read("ek-ca.pem"))];
        Self::start_under(SwtpmCa::new(), &config, &policy, &files, Masters::default()).await
    }

    async fn start_under(
        tpm_ca: SwtpmCa,
        config: &str,
        policy: &str,
        files: &[(&str, Vec<u8>)],
        masters: Masters,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        Self::lay_out(dir.path(), &pki, policy, files);
        std::fs::write(dir.path().join("keyservice.toml"), config).unwrap();
        let running = serve(dir.path(), config, masters).await;
        Self {
            pki,
            tpm_ca,
            address: running.addresses.unlock,
            admin: running.addresses.admin,
            metrics: running.addresses.metrics,
            running: Some(running),
            dir: Arc::new(dir),
        }
    }

    /// Where nodes find the service.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the service.
    pub async fn stop(&mut self) {
        assert!(self.running.take().unwrap().shutdown().await);
    }

    /// Starts the service that was stopped, over the same files.
    pub async fn start_again(&mut self, master: MasterSecret) {
        self.start_again_with(CONFIG, one(master)).await;
    }

    /// The same with another configuration.
    pub async fn start_again_with(&mut self, config: &str, masters: Masters) {
        let running = serve(self.path(), config, masters).await;
        (self.address, self.admin) = (running.addresses.unlock, running.addresses.admin);
        self.running = Some(running);
    }

    /// A node's configuration of the service, at `address`.
    pub fn service_at(&self, address: SocketAddr) -> ServiceConfig {
        ServiceConfig {
            places: Places::listed(vec![Endpoint {
                host: address.ip().to_string(),
                port: address.port(),
            }]),
            name: pki::NAME.try_into().unwrap(),
            pin: Pin::Ca(vec![self.pki.ca()]),
            pace: Pace {
                budget: Duration::from_secs(30),
                attempt: Duration::from_secs(20),
            },
            protocol: Protocol::Dawnkey,
        }
    }

    /// The store's file.
    pub fn store(&self) -> Vec<u8> {
        std::fs::read(self.file("dawnkey.redb")).unwrap()
    }

    /// The audit log's file.
    pub fn audit_log(&self) -> PathBuf {
        self.file("audit.log")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The directory of all its files.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn one(master: MasterSecret) -> Masters {
    Masters::one("cluster", master)
}

async fn serve(dir: &Path, config: &str, masters: Masters) -> Running {
    let config = Config::parse(&dir.join("keyservice.toml"), config).unwrap();
    let start = Start { config, masters };
    Service::start(start).await.unwrap()
}

/// Its section `[store]`.
const STORE: &str = r#"[store]
kind = "redb"
path = "dawnkey.redb"
"#;

/// Its KEK.
const KEK: &str = r#"[[kek.provider]]
name = "cluster"
kind = "cluster"
salt = "1111111111111111111111111111111111111111111111111111111111111111"
master_secret = "fd"
"#;

/// A service with one `cluster` provider.
pub const CONFIG: &str = r#"
service_id = "a0000000-0000-4000-8000-000000000001"
[listen]
unlock = "127.0.0.1:0"
admin = "127.0.0.1:0"
metrics = "127.0.0.1:0"
[tls]
certificate = "server.pem"
key = "server.key"
admin_ca = "ca.pem"
[store]
kind = "redb"
path = "dawnkey.redb"
[[kek.provider]]
name = "cluster"
kind = "cluster"
salt = "1111111111111111111111111111111111111111111111111111111111111111"
master_secret = "fd"
[policy]
file = "policy.toml"
[audit]
file = "audit.log"
"#;

fn policy(image: &BTreeMap<u8, Vec<u8>>) -> String {
    let zero = vec![0; 32];
    let pcr = |pcr: u8| hex::encode(image.get(&pcr).unwrap_or(&zero));
    format!(
        r#"
version = 1
[roots]
tpm_ek = ["ek-ca.pem"]
[[image]]
name = "node-2026-11"
[image.pcrs.sha256]
4 = "{}"
11 = "{}"
12 = "{}"
[volume-policy.state]
trust_class = "hypervisor"
images = ["node-2026-11"]
pcrs_pre_cap = [15]
enrol = "endorsed"
rollback = "refuse"
"#,
        pcr(4),
        pcr(11),
        pcr(12)
    )
}
