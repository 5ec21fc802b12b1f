//! A key service at work for tests of the real binary.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::{Run, dawnkey, dawnkey_init_with_roots, edit};
use dawnkey_kek::ProviderConfig;
use dawnkey_keyservice::config::{Config, Start};
use dawnkey_keyservice::master::Masters;
use dawnkey_keyservice::server::{Running, Service};
use dawnkey_secret::{Dek, MasterSecret};
use serde_json::Value;
use std::path::Path;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// The service's master secret.
pub const MASTER: [u8; 32] = [0x5a; 32];
/// A volume.
pub const VOLUME: Uuid = Uuid::from_u128(0x5f3c_2f0e_8c1b_4f86_9d0e_2f6f_1f0a_7b11);

/// A directory as `dawnkey init` makes it, with the service that it configures at work.
pub struct Scene {
    /// The directory.
    pub dir: tempfile::TempDir,
    /// The service's salt.
    pub salt: [u8; 32],
    /// Where the service runs.
    pub runtime: Runtime,
    /// The service.
    pub service: Running,
}

impl Scene {
    /// Starts a service as `dawnkey init` configures it.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same, with a change to the directory before the start.
    pub fn start_with(change: impl FnOnce(&Path)) -> Self {
        let secret = MasterSecret::take(&mut MASTER.to_vec()).unwrap();
        Self::start_under(change, Masters::one("cluster", secret))
    }

    /// The same without a master secret.
    pub fn start_waiting(change: impl FnOnce(&Path)) -> Self {
        Self::start_under(change, Masters::default())
    }

    fn start_under(change: impl FnOnce(&Path), masters: Masters) -> Self {
        let dir = tempfile::tempdir().unwrap();
        dawnkey_init_with_roots(dir.path());
        change(dir.path());
        let file = dir.path().join("keyservice.toml");
        for port in ["127.0.0.1:8443", "127.0.0.1:8444", "127.0.0.1:9464"] {
            edit(&file, port, "127.0.0.1:0");
        }
        let config = Config::load(&file).unwrap();
        let ProviderConfig::Cluster(cluster) = &config.kek.providers[0].config else {
            panic!("not a cluster provider");
        };
        let salt = cluster.salt;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let start = Start { config, masters };
        let service = runtime.block_on(Service::start(start)).unwrap();
        let admin = service.addresses.admin.to_string();
        edit(&dir.path().join("admin.toml"), "127.0.0.1:8444", &admin);
        Self {
            dir,
            salt,
            runtime,
            service,
        }
    }

    /// Runs a command.
    pub fn run(&self, args: &[&str]) -> Run {
        dawnkey(self.dir.path(), args)
    }

    /// Runs a command that must succeed and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let run = self.run(&[args, &["--json"]].concat());
        assert_eq!(run.code, 0, "{args:?}: {}", run.err);
        serde_json::from_str(&run.out).unwrap()
    }

    /// Creates the volume.
    pub fn create(&self) -> Value {
        let id = VOLUME.to_string();
        self.json(&[
            "volume", "create", "--policy", "state", "--id", &id, "--label", "node-1",
        ])
    }

    /// The volume's DEK, derived here from master secret and salt as docs/protocol.md says.
    pub fn dek(&self) -> Dek {
        let info = format!("key-{VOLUME}");
        Dek::fill(|key| {
            hkdf::Hkdf::<sha2::Sha256>::new(Some(&self.salt), &MASTER).expand(info.as_bytes(), key)
        })
        .unwrap()
    }

    /// Stops the service and leaves the directory.
    pub fn stop(self) -> tempfile::TempDir {
        assert!(self.runtime.block_on(self.service.shutdown()));
        self.dir
    }
}
