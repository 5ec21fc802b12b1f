//! The section of a Barbican provider.

use crate::rest::TlsConfig;
use dawnkey_secret::credential::CredentialSource;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where Keystone is, who we are there, and which secret of Barbican is the KEK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keystone's identity API of version 3, `https://keystone.example:5000/v3`. Plain http is for loopback addresses.
    pub auth_url: String,
    /// Id of the application credential, which is no secret.
    pub application_credential_id: String,
    /// Secret of the application credential.
    pub application_credential_secret: CredentialSource,
    /// Region of the key manager, where the catalog has several.
    pub region: Option<String>,
    /// Which of the key manager's endpoints in the catalog to use.
    #[serde(default = "public")]
    pub interface: String,
    /// The key manager, `https://barbican.example:9311`, instead of the one in the catalog.
    pub endpoint: Option<String>,
    /// Id of the secret that is the KEK.
    pub secret: Uuid,
    /// Ids of secrets that were the KEK before: what they wrapped still unwraps.
    #[serde(default)]
    pub previous: Vec<Uuid>,
    /// CAs and our certificate.
    #[serde(default)]
    pub tls: TlsConfig,
}

fn public() -> String {
    "public".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WHOLE: &str = "auth_url = \"https://keystone.example/v3\"\n\
        application_credential_id = \"21dced0fd20347869b93710d2b98aae0\"\n\
        application_credential_secret = \"systemd:barbican\"\n\
        secret = \"8b7a1e0c-5b1c-4b11-a86c-6a5d0c4f2f8e\"\n";

    #[test]
    fn reads_a_section_and_refuses_unknown_fields_and_secrets_in_clear() {
        let config: Config = toml::from_str(WHOLE).unwrap();
        assert_eq!(config.interface, "public");
        assert!(config.previous.is_empty());
        for wrong in [
            format!("{WHOLE}password = \"x\"\n"),
            WHOLE.replace("systemd:barbican", "hunter2"),
            WHOLE.replace("8b7a1e0c-5b1c", "no-uuid"),
        ] {
            assert!(toml::from_str::<Config>(&wrong).is_err(), "{wrong}");
        }
    }
}
