//! The section of Azure Key Vault and Managed HSM.

use crate::{CredentialSource, Endpoint};
use http::Uri;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::path::PathBuf;

/// Where the KEK is, and as whom it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The key without a version: `https://NAME.vault.azure.net/keys/KEY` or `https://NAME.managedhsm.azure.net/keys/KEY`.
    pub key: KeyUrl,
    /// As whom.
    #[serde(default)]
    pub identity: Identity,
    /// Tenant (directory) of [`Identity::Certificate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Application (client) id of that, and of a user-assigned managed identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Of [`Identity::Secret`]: a TOML file with `tenant_id`, `client_id` and `client_secret`; of [`Identity::Certificate`]: the
    /// certificate and its private key (RSA, PKCS#8) in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
    /// Where tokens come from, in other clouds than the public one; by default `https://login.microsoftonline.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<Endpoint>,
    /// Address of the vault, where names do not lead to its private endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// PEM file of the only certificate authorities that may vouch for vault and authority; by default the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// As whom we are known to Entra.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// The host's managed identity.
    #[default]
    Managed,
    /// The pod's workload identity, whose webhook says where the token is.
    Workload,
    /// An application with a secret.
    Secret,
    /// An application with a certificate.
    Certificate,
}

/// What kind of service keeps the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Key Vault: RSA keys, no associated data.
    Vault,
    /// Managed HSM: AES keys, associated data.
    ManagedHsm,
}

const VAULTS: [&str; 3] = [
    ".vault.azure.net",
    ".vault.azure.cn",
    ".vault.usgovcloudapi.net",
];
const HSMS: [&str; 3] = [
    ".managedhsm.azure.net",
    ".managedhsm.azure.cn",
    ".managedhsm.usgovcloudapi.net",
];

/// The URL of a key, without a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyUrl {
    base: String,
    host: String,
    port: u16,
    name: String,
    service: Service,
}

/// A text that is no URL of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyUrlError {
    /// Something is missing or too much.
    #[error(
        "a key is named by its URL, `https://NAME.vault.azure.net/keys/KEY`, without a version"
    )]
    Form,
    /// The host is none of Azure's.
    #[error(
        "the host is in none of Azure's domains for keys (vault.azure.net, managedhsm.azure.net, and those of the sovereign clouds)"
    )]
    Domain,
}

impl KeyUrl {
    /// Scheme, host and port.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port, 443 unless it says otherwise.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of service keeps it.
    #[must_use]
    pub const fn service(&self) -> Service {
        self.service
    }

    /// Digest that stands for this key in a wrapped DEK: SHA-256 of its URL in small letters, without a port.
    pub(super) fn digest(&self) -> [u8; 32] {
        let name = self.name.to_ascii_lowercase();
        Sha256::digest(format!("https://{}/keys/{name}", self.host)).into()
    }

    /// Another key of the same vault.
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        let name = name.to_owned();
        Self {
            name,
            ..self.clone()
        }
    }

    /// The version in a key id (`kid`) of this key: `None` when it is the id of another key, or names no version.
    #[must_use]
    pub fn version_in(&self, kid: &str) -> Option<String> {
        let (key, version) = kid.rsplit_once('/')?;
        let key = Self::try_from(key.to_owned()).ok()?;
        let same = key.host == self.host && key.name.eq_ignore_ascii_case(&self.name);
        (same && is_version(version)).then(|| version.to_owned())
    }
}

/// Versions are 32 hexadecimal digits.
pub(super) fn is_version(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl TryFrom<String> for KeyUrl {
    type Error = KeyUrlError;

    fn try_from(text: String) -> Result<Self, KeyUrlError> {
        let uri: Uri = text.parse().map_err(|_| KeyUrlError::Form)?;
        let authority = uri.authority().ok_or(KeyUrlError::Form)?;
        let name = uri.path().strip_prefix("/keys/").ok_or(KeyUrlError::Form)?;
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let plain = uri.scheme_str() == Some("https")
            && uri.query().is_none()
            && !authority.as_str().contains('@')
            && (1..=127).contains(&name.len())
            && name.bytes().all(letter);
        if !plain {
            return Err(KeyUrlError::Form);
        }
        let host = authority.host().to_ascii_lowercase();
        let within = |domains: [&str; 3]| {
            let mut labels = domains
                .iter()
                .filter_map(|domain| host.strip_suffix(domain));
            labels.any(|label| !label.is_empty() && label.bytes().all(letter))
        };
        let service = match (within(VAULTS), within(HSMS)) {
            (true, _) => Service::Vault,
            (_, true) => Service::ManagedHsm,
            _ => return Err(KeyUrlError::Domain),
        };
        Ok(Self {
            base: format!("https://{authority}"),
            port: authority.port_u16().unwrap_or(443),
            name: name.to_owned(),
            host,
            service,
        })
    }
}

impl From<KeyUrl> for String {
    fn from(key: KeyUrl) -> Self {
        format!("{}/keys/{}", key.base, key.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<KeyUrl, KeyUrlError> {
        text.to_owned().try_into()
    }

    #[test]
    fn tells_vaults_from_hsms_by_their_domain() {
        for (text, service) in [
            ("https://prod.vault.azure.net/keys/kek", Service::Vault),
            (
                "https://prod.vault.usgovcloudapi.net:8443/keys/kek-1",
                Service::Vault,
            ),
            (
                "https://prod.managedhsm.azure.net/keys/kek",
                Service::ManagedHsm,
            ),
        ] {
            let key = read(text).unwrap();
            assert_eq!(key.service(), service);
            assert_eq!(String::from(key), text);
        }
    }

    #[test]
    fn refuses_hosts_that_only_look_like_azures() {
        for host in [
            "vault.azure.net.example",
            "vault.azure.net",
            "evilvault.azure.net",
            "a.b.vault.azure.net",
            "127.0.0.1",
        ] {
            assert_eq!(
                read(&format!("https://{host}/keys/kek")),
                Err(KeyUrlError::Domain)
            );
        }
    }

    #[test]
    fn refuses_clear_text_versions_and_trimmings() {
        for text in [
            "http://prod.vault.azure.net/keys/kek",
            "https://prod.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef",
            "https://prod.vault.azure.net/keys/",
            "https://prod.vault.azure.net/secrets/kek",
            "https://u@prod.vault.azure.net/keys/kek",
            "https://prod.vault.azure.net/keys/kek?x=y",
            "kek",
        ] {
            assert_eq!(read(text), Err(KeyUrlError::Form), "{text}");
        }
    }

    #[test]
    fn reads_the_version_of_this_key_only() {
        let key = read("https://prod.vault.azure.net/keys/kek").unwrap();
        let version = "0123456789abcdef0123456789abcdef";
        let kid = |rest: &str| key.version_in(&format!("https://{rest}"));
        assert_eq!(
            kid(&format!("prod.vault.azure.net/keys/KEK/{version}")).as_deref(),
            Some(version)
        );
        assert_eq!(
            kid(&format!("other.vault.azure.net/keys/kek/{version}")),
            None
        );
        assert_eq!(
            kid(&format!("prod.vault.azure.net/keys/other/{version}")),
            None
        );
        assert_eq!(kid("prod.vault.azure.net/keys/kek/../x"), None);
        assert_eq!(kid("prod.vault.azure.net/keys/kek"), None);
    }

    /// What `dawnkey import-uri` prints, without what all kinds have in common.
    #[test]
    fn reads_what_is_made_of_a_constellation_uri() {
        for section in [
            include_str!("../../../cli/tests/imported/azure.toml"),
            include_str!("../../../cli/tests/imported/azure-hsm.toml"),
        ] {
            let (_, fields) = section.split_once("kind = ").unwrap();
            let (_, own) = fields.split_once('\n').unwrap();
            let config: Config = toml::from_str(own).unwrap();
            assert!(config.credentials.is_some());
        }
    }
}
