//! One TLS connection to a KMIP server, authenticated on both sides.

use super::Failure;
use super::config::Config;
use super::message::{self, Call, Refused, VERSION, tag};
use super::ttlv::MAX;
use crate::{Cause, KekError, Operation};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

/// Longest wait for TCP and TLS.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection on which nothing is under way.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
}

impl Connection {
    /// Connects, with the files as they are now, and asks for the server's versions.
    pub(super) async fn open(config: &Config) -> Result<Self, Failure> {
        let connected = tokio::time::timeout(CONNECT, Self::connect(config)).await;
        let mut connection = connected
            .map_err(|_| Failure::new(Cause::Deadline, "no TLS connection within 10 s"))??;
        connection.discover().await?;
        Ok(connection)
    }

    async fn connect(config: &Config) -> Result<Self, Failure> {
        let tls = TlsConnector::from(Arc::new(tls(config)?));
        let host = config.server_name.as_deref().or_else(|| config.host());
        let name = ServerName::try_from(host.unwrap_or_default().to_owned())
            .map_err(|e| Failure::new(Cause::Misconfigured, format!("`server_name`: {e}")))?;
        let tcp = TcpStream::connect(&config.address).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let stream = tls.connect(name, tcp).await.map_err(failed)?;
        Ok(Self { stream })
    }

    /// Below version 1.4, Encrypt and Decrypt have no field for associated data: a server would leave ours out, and a
    /// wrapped DEK would open for any volume.
    async fn discover(&mut self) -> Result<(), Failure> {
        let ask = vec![message::version(VERSION)];
        let request = message::request(Call::DiscoverVersions, ask, None);
        let answer = self.exchange(&request).await?;
        let offered = match message::payload(&answer, Call::DiscoverVersions) {
            Ok(payload) => message::versions(&payload),
            Err(Refused::Server(_, said)) => return Err(too_old(&said)),
            Err(Refused::Garbage(what)) => return Err(Failure::new(Cause::Garbage, what)),
        };
        if offered.contains(&VERSION) {
            return Ok(());
        }
        let listed: Vec<_> = offered.iter().map(|(a, b)| format!("{a}.{b}")).collect();
        Err(too_old(&format!("it offers {}", listed.join(", "))))
    }

    /// Sends a request and reads one answer.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let lost = |e| Failure {
            lost: true,
            ..failed(e)
        };
        self.stream.write_all(request).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).await.map_err(lost)?;
        let [t0, t1, t2, kind, l0, l1, l2, l3] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if u32::from_be_bytes([0, t0, t1, t2]) != tag::RESPONSE || kind != 1 || length > MAX - 8 {
            return Err(Failure::new(Cause::Garbage, "no KMIP response"));
        }
        let mut answer = Zeroizing::new(vec![0; 8 + length]);
        let (first, rest) = answer.split_at_mut(8);
        first.copy_from_slice(&head);
        self.stream.read_exact(rest).await.map_err(failed)?;
        Ok(answer)
    }
}

fn too_old(said: &str) -> Failure {
    let why = "KMIP 1.4 is needed: below it a request has no field for associated data";
    Failure::new(Cause::Unsupported, format!("{why}; the server: {said}"))
}

fn tls(config: &Config) -> Result<ClientConfig, Failure> {
    let wrong = |what: String| Failure::new(Cause::Misconfigured, what);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.ca)? {
        roots
            .add(certificate)
            .map_err(|e| wrong(format!("`ca`: {e}")))?;
    }
    let key = config.key.read().map_err(|e| Failure::credential(&e))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose())
        .map_err(|e| wrong(format!("`key` has no private key in PEM: {e}")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| wrong(e.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&config.certificate)?, key)
        .map_err(|e| wrong(format!("`certificate` and `key`: {e}")))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |e: rustls::pki_types::pem::Error| {
        Failure::new(Cause::Misconfigured, format!("{}: {e}", path.display()))
    };
    let read = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() {
        let problem = format!("{} has no certificate in PEM", path.display());
        return Err(Failure::new(Cause::Misconfigured, problem));
    }
    Ok(found)
}

/// What a transport error means.
fn failed(error: io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    let cause = match tls {
        Some(rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure,
        )) => Cause::Credentials,
        Some(rustls::Error::InvalidCertificate(_)) => Cause::Misconfigured,
        Some(_) => Cause::Garbage,
        None => Cause::Unreachable,
    };
    Failure::new(cause, error)
}

impl Failure {
    /// A credential that cannot be read.
    pub(super) fn credential(error: &crate::CredentialError) -> Self {
        let KekError { cause, detail, .. } = KekError::credential("", error);
        Self::new(cause, detail)
    }

    /// The server said no to `operation`.
    pub(super) fn refused(operation: Operation, call: Call, reason: u32, said: &str) -> Self {
        let cause = match reason {
            // Item not found; object not found.
            0x01 | 0x37 => Cause::NoSuchKey,
            0x36 => Cause::Deleted,
            0x0d | 0x43 => Cause::Disabled,
            0x03 => Cause::Credentials,
            0x0a if operation == Operation::Unwrap => Cause::NotAuthentic,
            0x0c | 0x29 | 0x39 => Cause::Denied {
                permission: Some(format!("{call:?}")),
            },
            0x1a | 0x3a => Cause::Throttled { after: None },
            0x05 | 0x07 | 0x08 | 0x24 | 0x3e | 0x3f => Cause::Unsupported,
            0x100 | 0x2a => Cause::Unreachable,
            _ => Cause::Garbage,
        };
        Self {
            // PyKMIP answers a wrong tag as it answers its own breakdown.
            ambiguous: call == Call::Decrypt && matches!(reason, 0x100 | 0x2a),
            ..Self::new(cause, format!("result reason {reason:#x}: {said}"))
        }
    }
}
