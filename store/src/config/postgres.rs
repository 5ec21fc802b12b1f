//! `kind = "postgres"`.

use dawnkey_secret::credential::CredentialSource;
use serde::Deserialize;
use std::path::PathBuf;

/// `kind = "postgres"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// The server's name; or the directory of its Unix socket, which begins with `/`.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role, which owns the table of records.
    pub user: String,
    /// The role's password; without it the server must accept the role by certificate or socket.
    pub password: Option<CredentialSource>,
    /// Whether TLS is used. Over a Unix socket there is none.
    #[serde(default)]
    pub tls: Tls,
    /// CA certificates of the server, PEM; without it the common ones.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// The key of our certificate, PEM.
    pub key: Option<PathBuf>,
    /// Connections at the same time.
    #[serde(default = "connections")]
    pub connections: u32,
    /// Longest time for one call, the wait for a connection included.
    #[serde(default = "super::buckets::deadline")]
    pub deadline_seconds: u32,
}

/// Whether a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// TLS with the server's certificate and name checked.
    #[default]
    VerifyFull,
    /// None: for a server on a loopback address.
    Off,
}

const fn port() -> u16 {
    5432
}

const fn connections() -> u32 {
    8
}

impl PostgresConfig {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self {
            ca,
            certificate,
            key,
            ..
        } = self;
        [ca, certificate, key].into_iter().flatten()
    }
}
