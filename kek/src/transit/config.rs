//! The section of a transit provider.

use crate::rest::TlsConfig;
use dawnkey_secret::credential::CredentialSource;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the transit engine is, which key to use, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server, `https://vault.example:8200`. Plain http is for loopback addresses.
    pub address: String,
    /// Where the engine is mounted.
    #[serde(default = "transit")]
    pub mount: String,
    /// Name of the key.
    pub key: String,
    /// Namespace of the mount and of the login.
    pub namespace: Option<String>,
    /// CAs and our certificate.
    #[serde(default)]
    pub tls: TlsConfig,
    /// How to log in.
    pub login: Login,
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Login {
    /// With a token that somebody else obtains and renews, or that lasts.
    Token {
        /// The token.
        token: CredentialSource,
    },
    /// As an AppRole.
    Approle {
        /// Where the method is mounted.
        #[serde(default = "approle")]
        mount: String,
        /// The role's id, which is no secret.
        role_id: String,
        /// The secret id.
        secret_id: CredentialSource,
    },
    /// With the token of the pod's Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        #[serde(default = "kubernetes")]
        mount: String,
        /// The role at the server.
        role: String,
        /// The file with the service account's token.
        #[serde(default = "service_account_token")]
        service_account_token: PathBuf,
    },
    /// With our TLS certificate (`tls.certificate`, `tls.key`).
    Cert {
        /// Where the method is mounted.
        #[serde(default = "cert")]
        mount: String,
        /// The role at the server; without it, any that the certificate matches.
        role: Option<String>,
    },
}

fn transit() -> String {
    "transit".to_owned()
}

fn approle() -> String {
    "approle".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn cert() -> String {
    "cert".to_owned()
}

fn service_account_token() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

impl Config {
    /// What cannot be right, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let mut paths = vec![("mount", self.mount.as_str())];
        paths.extend(self.namespace.as_deref().map(|path| ("namespace", path)));
        match &self.login {
            Login::Approle { mount, .. }
            | Login::Kubernetes { mount, .. }
            | Login::Cert { mount, .. } => paths.push(("login.mount", mount)),
            Login::Token { .. } => {}
        }
        if matches!(self.login, Login::Cert { .. }) && !self.tls.has_certificate() {
            return Some("login with a certificate needs tls.certificate and tls.key".to_owned());
        }
        if !is_name(&self.key) {
            return Some(format!(
                "key {:?}: expected a name of letters, digits, `-`, `_` and `.`, at most {LONGEST} bytes",
                self.key
            ));
        }
        let (field, path) = paths.into_iter().find(|(_, path)| !is_path(path))?;
        Some(format!(
            "{field} {path:?}: expected names of letters, digits, `-`, `_` and `.` with `/` between them"
        ))
    }
}

/// Longest name and path.
const LONGEST: usize = 120;

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty()
        && name.len() <= LONGEST
        && !name.chars().all(|c| c == '.')
        && name.chars().all(allowed)
}

fn is_path(path: &str) -> bool {
    path.len() <= LONGEST && path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("address = \"https://vault.example:8200\"\n{more}");
        toml::from_str(&text).unwrap()
    }

    const TOKEN: &str = "login = { method = \"token\", token = \"file:/t\" }\n";

    #[test]
    fn reads_every_login_and_refuses_unknown_fields() {
        let approle = config(
            "key = \"k\"\n[login]\nmethod = \"approle\"\nrole_id = \"r\"\nsecret_id = \"systemd:secret-id\"\n",
        );
        assert_eq!(approle.problem(), None);
        assert!(matches!(approle.login, Login::Approle { ref mount, .. } if mount == "approle"));
        let pod = config("key = \"k\"\nlogin = { method = \"kubernetes\", role = \"r\" }\n");
        assert!(matches!(pod.login, Login::Kubernetes { .. }));
        for unknown in [
            "key = \"k\"\npassword = \"x\"\nlogin = { method = \"token\", token = \"file:/t\" }\n",
            "key = \"k\"\nlogin = { method = \"token\", token = \"file:/t\", ttl = 1 }\n",
            "key = \"k\"\nlogin = { method = \"userpass\" }\n",
            "key = \"k\"\nlogin = { method = \"token\", token = \"hvs.secret\" }\n",
        ] {
            let text = format!("address = \"https://vault.example:8200\"\n{unknown}");
            assert!(toml::from_str::<Config>(&text).is_err(), "{unknown}");
        }
    }

    #[test]
    fn refuses_names_that_lead_to_another_path() {
        for wrong in ["", "..", "a/b", "a b", "a?x=1", "a%2fb", "ä"] {
            let config = config(&format!("key = {wrong:?}\n{TOKEN}"));
            assert!(config.problem().is_some(), "{wrong:?}");
        }
        for wrong in ["", "/transit", "transit/", "a//b", "a/../sys"] {
            let config = config(&format!("key = \"k\"\nmount = {wrong:?}\n{TOKEN}"));
            assert!(config.problem().is_some(), "{wrong:?}");
        }
        let nested = config(&format!(
            "key = \"k\"\nmount = \"team/a/transit\"\nnamespace = \"ns1/ns2\"\n{TOKEN}"
        ));
        assert_eq!(nested.problem(), None);
    }

    #[test]
    fn certificate_login_needs_a_certificate() {
        let config = config("key = \"k\"\nlogin = { method = \"cert\" }\n");
        assert!(config.problem().unwrap().contains("tls.certificate"));
    }
}
