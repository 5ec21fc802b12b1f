//! TLS settings of every connection: 1.3 only, X25519MLKEM768 first, nothing resumed, the peer pinned.

mod watch;

pub use watch::{Shown, Watch};

use crate::binding::{Exporter, Role, SpkiDigest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use watch::Watched;

/// ALPN protocol of gRPC.
const ALPN: &[u8] = b"h2";

/// The settings could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A CA certificate is not usable.
    #[error("use the pinned CA certificate: {0}")]
    Ca(String),
    /// Certificate and key do not fit or are not usable.
    #[error("use the certificate and its key: {0}")]
    Identity(#[from] rustls::Error),
    /// The exporter was asked for before the handshake ended.
    #[error("draw the TLS exporter: {0}")]
    Exporter(rustls::Error),
    /// The peer showed no certificate that parses.
    #[error("read the service's certificate: absent or malformed")]
    PeerCertificate,
}

/// How a client knows its server. It comes from measured configuration, never from the network.
#[derive(Debug, Clone)]
pub enum Pin {
    /// Certificates of this CA for the server's name.
    Ca(Vec<CertificateDer<'static>>),
    /// This key and no other, whatever certificate carries it.
    Spki(SpkiDigest),
}

/// Whose clock judges the dates of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// This machine's clock is its owner's.
    Trusted,
    /// The clock belongs to the host, so that dates judged by it would prove nothing and could only
    /// lock the node out: the certificate is judged at the start of its own validity.
    Host,
}

/// A certificate chain with its key.
pub struct Identity {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

/// The cryptography of every connection: key exchange X25519MLKEM768, then X25519.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
    ];
    Arc::new(provider)
}

/// Settings of a client that accepts the pinned server only.
pub fn client_config(
    pin: &Pin,
    clock: Clock,
    identity: Option<Identity>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = PinnedServer::new(pin, clock, Arc::clone(&provider))?;
    client(Arc::new(verifier), provider, identity, ALPN)
}

/// The same, with an eye on what the server shows.
pub fn watched_client_config(
    pin: &Pin,
    clock: Clock,
    watch: Watch,
) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let pinned = PinnedServer::new(pin, clock, Arc::clone(&provider))?;
    client(Arc::new(Watched { pinned, watch }), provider, None, ALPN)
}

/// TLS 1.3 only, nothing resumed, no early data.
pub(crate) fn client(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
    identity: Option<Identity>,
    protocol: &[u8],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(own) => builder.with_client_auth_cert(own.chain, own.key)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// Settings of a server; with `client_ca`, clients need a certificate of that CA.
pub fn server_config(
    identity: Identity,
    client_ca: Option<&[CertificateDer<'static>]>,
) -> Result<ServerConfig, TlsError> {
    server(identity, client_ca, false)
}

/// Settings of a server whose clients may show a certificate of that CA, and are accepted without one.
pub fn server_config_offering(
    identity: Identity,
    client_ca: &[CertificateDer<'static>],
) -> Result<ServerConfig, TlsError> {
    server(identity, Some(client_ca), true)
}

fn server(
    identity: Identity,
    client_ca: Option<&[CertificateDer<'static>]>,
    without_too: bool,
) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match client_ca {
        Some(ca) => {
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider);
            if without_too {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|e| TlsError::Ca(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(identity.chain, identity.key)?;
    Ok(without_resumption(config, ALPN))
}

/// No session is kept, no ticket sent, no early data read: every connection is a full handshake.
pub(crate) fn without_resumption(mut config: ServerConfig, protocol: &[u8]) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

fn roots(ca: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in ca {
        store
            .add(certificate.clone())
            .map_err(|e| TlsError::Ca(e.to_string()))?;
    }
    Ok(store)
}

/// Draws the role's exporter from a finished connection (RFC 8446 §7.5, RFC 5705).
pub fn exporter<Data>(
    connection: &rustls::ConnectionCommon<Data>,
    role: Role,
) -> Result<Exporter, TlsError> {
    connection
        .export_keying_material([0; 32], role.exporter_label(), None)
        .map(Exporter)
        .map_err(TlsError::Exporter)
}

/// Digest of the key of the server at the other end.
pub fn peer_spki<Data>(
    connection: &rustls::ConnectionCommon<Data>,
) -> Result<SpkiDigest, TlsError> {
    connection
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(|leaf| SpkiDigest::of_certificate(leaf))
        .ok_or(TlsError::PeerCertificate)
}

/// Accepts exactly the pinned server.
#[derive(Debug)]
struct PinnedServer {
    rule: Rule,
    clock: Clock,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Rule {
    Ca(Arc<WebPkiServerVerifier>),
    Spki(SpkiDigest),
}

impl PinnedServer {
    fn new(pin: &Pin, clock: Clock, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let rule = match pin {
            Pin::Spki(digest) => Rule::Spki(*digest),
            Pin::Ca(ca) => Rule::Ca(
                WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots(ca)?),
                    Arc::clone(&provider),
                )
                .build()
                .map_err(|e| TlsError::Ca(e.to_string()))?,
            ),
        };
        Ok(Self {
            rule,
            clock,
            provider,
        })
    }
}

fn start_of_validity(certificate: &CertificateDer<'_>) -> Result<UnixTime, rustls::Error> {
    let bad = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| bad.clone())?;
    let seconds = u64::try_from(parsed.validity().not_before.timestamp()).map_err(|_| bad)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.rule {
            Rule::Ca(webpki) => {
                let now = match self.clock {
                    Clock::Trusted => now,
                    Clock::Host => start_of_validity(leaf)?,
                };
                webpki.verify_server_cert(leaf, intermediates, name, ocsp, now)
            }
            Rule::Spki(pinned) => match SpkiDigest::of_certificate(leaf) {
                Some(found) if found == *pinned => Ok(ServerCertVerified::assertion()),
                Some(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
                None => Err(CertificateError::BadEncoding.into()),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
