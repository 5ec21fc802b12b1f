//! The configuration of a KMIP provider.

use crate::CredentialSource;
use serde::Deserialize;
use std::path::PathBuf;

/// Where the server is, who we are there, and which key is the KEK.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `host:port`; KMIP's port is 5696.
    pub address: String,
    /// The name in the server's certificate, where it is not the host of `address`.
    pub server_name: Option<String>,
    /// CA of the server's certificate, PEM.
    pub ca: PathBuf,
    /// Our certificate chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The leaf's private key, PEM.
    pub key: CredentialSource,
    /// A user name, where the server wants one beside the certificate.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<CredentialSource>,
    /// Unique identifier of the KEK.
    pub key_id: Option<String>,
    /// Name of the KEK, in place of its identifier; one key must have it.
    pub key_name: Option<String>,
    /// Identifiers of keys that still unwrap what they wrapped.
    #[serde(default)]
    pub older_key_ids: Vec<String>,
    /// Most connections at a time, from 1 to 64.
    #[serde(default = "connections")]
    pub connections: u8,
}

const fn connections() -> u8 {
    8
}

impl Config {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.host().is_none() {
            return Some("`address` must be host:port, `kms.example:5696`");
        }
        if self.key_id.is_some() == self.key_name.is_some() {
            return Some("give one of `key_id` and `key_name`");
        }
        if self.username.is_some() != self.password.is_some() {
            return Some("`username` and `password` belong together");
        }
        let ids = self.older_key_ids.iter().chain(&self.key_id);
        if ids.into_iter().any(|id| !super::blob::is_id(id)) {
            return Some("a key identifier has 1 to 128 printable characters");
        }
        if !(1..=64).contains(&self.connections) {
            return Some("`connections` must be from 1 to 64");
        }
        None
    }

    /// The host of the address.
    pub(super) fn host(&self) -> Option<&str> {
        let (host, port) = self.address.rsplit_once(':')?;
        let good = !host.is_empty() && port.parse::<u16>().is_ok();
        good.then(|| host.trim_start_matches('[').trim_end_matches(']'))
    }
}
