//! TLS to a KMS: which CAs its certificate may come from, and our own certificate where the KMS asks for one.

use super::RestError;
use dawnkey_secret::credential::CredentialSource;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// The CAs of the system.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The section `tls` of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// CA certificates in PEM that alone may have issued the server's; without it, the CAs of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate and those between it and its CA, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    pub key: Option<CredentialSource>,
}

impl TlsConfig {
    /// Whether we have a certificate of our own.
    #[cfg(feature = "transit")]
    pub(crate) fn has_certificate(&self) -> bool {
        self.certificate.is_some() && self.key.is_some()
    }

    /// TLS 1.3 or 1.2 with these CAs and certificates; the files are read now.
    pub(super) fn connector(&self) -> Result<TlsConnector, RestError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| RestError::Configuration(error.to_string()))?
            .with_root_certificates(self.roots()?);
        let config = match (&self.certificate, &self.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(chain), Some(key)) => {
                let chain = certificates(chain)?;
                let key = key
                    .read()
                    .map_err(|error| RestError::Credential(Box::new(error)))?;
                let key = PrivateKeyDer::from_pem_slice(key.expose())
                    .map_err(|error| RestError::Configuration(format!("tls.key: {error}")))?;
                config.with_client_auth_cert(chain, key).map_err(|error| {
                    RestError::Configuration(format!("tls.certificate: {error}"))
                })?
            }
            _ => {
                let problem = "tls.certificate and tls.key belong together: one of them is missing";
                return Err(RestError::Configuration(problem.to_owned()));
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, RestError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| {
                        RestError::Configuration(format!("{}: {error}", path.display()))
                    })?;
                }
            }
            None => {
                let pem = read(Path::new(SYSTEM_CAS))?;
                // A distribution's bundle may have a certificate that this library does not read.
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
            }
        }
        Ok(roots)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RestError> {
    std::fs::read(path)
        .map_err(|error| RestError::Configuration(format!("read {}: {error}", path.display())))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RestError> {
    let wrong =
        |problem: String| RestError::Configuration(format!("{}: {problem}", path.display()));
    let all: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    match all.is_empty() {
        true => Err(wrong("no certificate in PEM".to_owned())),
        false => Ok(all),
    }
}
