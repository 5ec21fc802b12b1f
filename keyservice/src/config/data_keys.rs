//! `[data_keys]`: the listener for callers in a cluster.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The listener for callers in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeysConfig {
    /// Where it listens. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// CA of client certificates, PEM; without it callers need a token.
    pub client_ca: Option<PathBuf>,
    /// How tokens are reviewed; without it callers need a certificate.
    pub kubernetes: Option<KubernetesReview>,
}

/// How tokens of service accounts are reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesReview {
    /// Host of the API server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its name in its certificate.
    pub name: ServerName<'static>,
    /// The cluster's CA.
    pub ca: Vec<CertificateDer<'static>>,
    /// Audience that tokens must have been made for.
    pub audience: String,
    /// File of our own service account's token.
    pub token: PathBuf,
    /// How long a good answer is remembered.
    pub cache: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    listen: SocketAddr,
    client_ca: Option<PathBuf>,
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kubernetes {
    api_server: String,
    ca: PathBuf,
    audience: String,
    #[serde(default = "token_file")]
    token: PathBuf,
    #[serde(default = "ten_seconds")]
    cache_seconds: u32,
}

fn token_file() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

const fn ten_seconds() -> u32 {
    10
}

type Problem = (&'static str, String);

impl Section {
    /// The settings, or the key that cannot be so and why.
    pub(super) fn settings(
        self,
        at: impl Fn(PathBuf) -> PathBuf,
    ) -> Result<DataKeysConfig, Problem> {
        if self.client_ca.is_none() && self.kubernetes.is_none() {
            let problem = "needs `client_ca` or a [data_keys.kubernetes], to know who asks";
            return Err(("data_keys", problem.into()));
        }
        let kubernetes = self.kubernetes.map(|section| section.settings(&at));
        Ok(DataKeysConfig {
            listen: self.listen,
            client_ca: self.client_ca.map(&at),
            kubernetes: kubernetes.transpose()?,
        })
    }
}

impl Kubernetes {
    fn settings(self, at: impl Fn(PathBuf) -> PathBuf) -> Result<KubernetesReview, Problem> {
        let (host, port, name) = server(&self.api_server).ok_or_else(|| {
            let problem = "must be https://HOST[:PORT], as https://kubernetes.default.svc";
            ("data_keys.kubernetes.api_server", problem.to_owned())
        })?;
        let ca = certificates(&at(self.ca)).map_err(|e| ("data_keys.kubernetes.ca", e))?;
        if self.audience.is_empty() {
            let problem = "must name this service, so that no other service's tokens work here";
            return Err(("data_keys.kubernetes.audience", problem.into()));
        }
        if self.cache_seconds > 300 {
            let problem = "must be at most 300: until then a deleted account's token works";
            return Err(("data_keys.kubernetes.cache_seconds", problem.into()));
        }
        Ok(KubernetesReview {
            host,
            port,
            name,
            ca,
            audience: self.audience,
            token: at(self.token),
            cache: Duration::from_secs(self.cache_seconds.into()),
        })
    }
}

fn server(url: &str) -> Option<(String, u16, ServerName<'static>)> {
    let uri: http::Uri = url.parse().ok()?;
    let plain = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
    let authority = uri.authority().filter(|_| plain)?;
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host.clone()).ok()?;
    Some((host, authority.port_u16().unwrap_or(443), name))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let pem = std::fs::read(path).map_err(|e| bad(&e))?;
    let all = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(&e))?;
    match all.is_empty() {
        true => Err(bad(&"there is no certificate in it")),
        false => Ok(all),
    }
}
