//! The configuration file: read once, strictly, into typed values with absolute paths.

mod data_keys;
mod endorsements;
mod kek;
mod kubernetes;

pub use data_keys::{DataKeysConfig, KubernetesReview};
pub use kek::{KekConfig, ProviderSection};
pub use kubernetes::KubernetesKms;

use crate::audit;
use crate::master::Masters;
use dawnkey_endorse::Settings;
use dawnkey_store::StoreConfig;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// The configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a field that does not exist, or lacks one.
    #[error("configuration {path}: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong.
        problem: String,
    },
    /// A value is not one that the key can have.
    #[error("configuration {path}: `{key}`: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, `kek.provider`.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Addresses to listen on. Port 0 lets the system choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Nodes.
    pub unlock: SocketAddr,
    /// Operators, with a client certificate.
    pub admin: SocketAddr,
    /// Health and metrics in plain HTTP; a loopback address, unless `metrics_on_network = true` says otherwise.
    pub metrics: SocketAddr,
    /// A file that receives the actual addresses once they are bound.
    pub addresses_file: Option<PathBuf>,
}

/// Files of the service's TLS identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The leaf's private key, PEM, not accessible to group and others.
    pub key: PathBuf,
    /// CA of admin certificates, PEM.
    pub admin_ca: PathBuf,
}

/// Bounds on what strangers can make the service do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Evidence verified at the same time.
    pub concurrent_unlocks: usize,
    /// Requests that may wait for that.
    pub queue: usize,
    /// Longest wait in the queue.
    pub queue_seconds: u32,
    /// Connections that one peer may open in a minute (IPv6: one /64).
    pub per_peer_per_minute: u32,
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one peer.
    pub connections_per_peer: usize,
    /// Longest TLS handshake.
    pub handshake_seconds: u32,
    /// How long a connection may live that has not got a key; one that has may stay for an hour to confirm it.
    pub connection_seconds: u32,
    /// How long a lease lives without Confirm.
    pub lease_seconds: u32,
    /// How far the clocks of services over one store may be apart; without it 120 where the store can be shared, else 0.
    pub clock_skew_seconds: Option<u32>,
    /// How long a stopping service waits for what it is doing.
    pub shutdown_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_unlocks: std::thread::available_parallelism().map_or(2, usize::from),
            queue: 128,
            queue_seconds: 5,
            per_peer_per_minute: 120,
            connections: 1024,
            connections_per_peer: 64,
            handshake_seconds: 5,
            connection_seconds: 60,
            lease_seconds: 600,
            clock_skew_seconds: None,
            shutdown_seconds: 20,
        }
    }
}

/// The configuration of one key service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names the service in answers, PCR 15 and audit.
    pub service_id: Uuid,
    /// Where it listens.
    pub listen: Listen,
    /// Its TLS identity.
    pub tls: TlsFiles,
    /// Where the records are.
    pub store: StoreConfig,
    /// The key-encryption keys.
    pub kek: KekConfig,
    /// The policy file.
    pub policy: PathBuf,
    /// The audit log.
    pub audit: audit::Settings,
    /// Bounds.
    pub limits: Limits,
    /// Where vendors' certificates and statements are kept. Without it, evidence must bring all that it needs.
    pub endorsements: Option<Settings>,
    /// The listener for callers in a cluster, if there is one.
    pub data_keys: Option<DataKeysConfig>,
    /// The Kubernetes KMS plugin, if it is served.
    pub kubernetes_kms: Option<KubernetesKms>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    service_id: Uuid,
    listen: ListenSection,
    tls: TlsSection,
    store: StoreConfig,
    kek: kek::Section,
    policy: FileSection,
    audit: audit::Settings,
    #[serde(default)]
    limits: Limits,
    endorsements: Option<endorsements::Section>,
    kubernetes_kms: Option<kubernetes::Section>,
    data_keys: Option<data_keys::Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenSection {
    unlock: SocketAddr,
    admin: SocketAddr,
    metrics: SocketAddr,
    #[serde(default)]
    metrics_on_network: bool,
    addresses_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    certificate: PathBuf,
    key: PathBuf,
    admin_ca: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSection {
    file: PathBuf,
}

impl Config {
    /// Reads a configuration file. Paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a configuration file that stands at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|e| ConfigError::Syntax {
            path: path.to_owned(),
            problem: e.to_string().trim_end().to_owned(),
        })?;
        let value = |key: &'static str, problem: &str| ConfigError::Value {
            path: path.to_owned(),
            key,
            problem: problem.to_owned(),
        };
        if file.service_id.is_nil() {
            return Err(value("service_id", "the nil UUID names nothing"));
        }
        if !file.listen.metrics.ip().is_loopback() && !file.listen.metrics_on_network {
            let problem = "health and metrics are plain HTTP: a loopback address, or metrics_on_network = true where a firewall says who may read them";
            return Err(value("listen.metrics", problem));
        }
        let base = path.parent().unwrap_or(Path::new("."));
        let kek = file.kek.settings(base);
        let kek = kek.map_err(|(key, problem)| value(key, &problem))?;
        check(&file.limits).map_err(|(key, problem)| value(key, problem))?;
        let audit = file.audit.at(base);
        let audit = audit.map_err(|(key, problem)| value(key, problem))?;
        let at = |relative: PathBuf| base.join(relative);
        let endorsements = file.endorsements.map(|section| section.settings(at));
        let endorsements = endorsements
            .transpose()
            .map_err(|(key, problem)| value(key, &problem))?;
        let kubernetes_kms = file.kubernetes_kms.map(|section| section.settings(at));
        let kubernetes_kms = kubernetes_kms
            .transpose()
            .map_err(|(key, problem)| value(key, &problem))?;
        let data_keys = file.data_keys.map(|section| section.settings(at));
        let data_keys = data_keys
            .transpose()
            .map_err(|(key, problem)| value(key, &problem))?;
        Ok(Self {
            service_id: file.service_id,
            listen: Listen {
                unlock: file.listen.unlock,
                admin: file.listen.admin,
                metrics: file.listen.metrics,
                addresses_file: file.listen.addresses_file.map(at),
            },
            tls: TlsFiles {
                certificate: at(file.tls.certificate),
                key: at(file.tls.key),
                admin_ca: at(file.tls.admin_ca),
            },
            store: file.store.at(base),
            kek,
            policy: at(file.policy.file),
            audit,
            limits: file.limits,
            endorsements,
            data_keys,
            kubernetes_kms,
        })
    }
}

fn check(limits: &Limits) -> Result<(), (&'static str, &'static str)> {
    const POSITIVE: &str = "must be at least 1";
    for (key, zero) in [
        ("limits.concurrent_unlocks", limits.concurrent_unlocks == 0),
        (
            "limits.per_peer_per_minute",
            limits.per_peer_per_minute == 0,
        ),
        ("limits.connections", limits.connections == 0),
        (
            "limits.connections_per_peer",
            limits.connections_per_peer == 0,
        ),
        ("limits.handshake_seconds", limits.handshake_seconds == 0),
        ("limits.connection_seconds", limits.connection_seconds == 0),
        ("limits.lease_seconds", limits.lease_seconds == 0),
    ] {
        if zero {
            return Err((key, POSITIVE));
        }
    }
    // Bounds of the semaphores behind them.
    if limits.connections > 1 << 20 {
        return Err(("limits.connections", "must be at most 1048576"));
    }
    if limits.clock_skew_seconds.is_some_and(|skew| skew > 3600) {
        return Err(("limits.clock_skew_seconds", "must be at most 3600"));
    }
    if limits.concurrent_unlocks > 1024 {
        return Err(("limits.concurrent_unlocks", "must be at most 1024"));
    }
    Ok(())
}

/// Largest difference of clocks that is allowed for by itself where a store can be shared.
const SHARED_SKEW: u32 = 120;

impl Config {
    /// How far the clocks of services over the store may be apart, in seconds.
    #[must_use]
    pub fn skew_seconds(&self) -> u32 {
        let usual = if self.store.shared() { SHARED_SKEW } else { 0 };
        self.limits.clock_skew_seconds.unwrap_or(usual)
    }
}

impl Limits {
    /// A number of seconds as a duration.
    pub(crate) fn seconds(seconds: u32) -> Duration {
        Duration::from_secs(seconds.into())
    }
}

/// A configuration with the secrets that go with it: all that a service needs to start.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// The master secrets of `cluster` providers.
    pub masters: Masters,
}

#[cfg(test)]
mod tests;
