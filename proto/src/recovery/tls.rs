//! TLS of a recovery connection: 1.3 only, nothing resumed, and the node shows a raw public key (RFC 7250) that was made for
//! this boot. Nobody can know that key before; what makes it the node's is the evidence, which is bound to it.

use super::ALPN;
use crate::binding::SpkiDigest;
use crate::tls::{self, TlsError, provider};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Settings of a node that listens, with a key made for it, and that key's digest.
pub fn server() -> Result<(ServerConfig, SpkiDigest), TlsError> {
    let failed = |_| rustls::Error::General("make a key for this boot: it failed".into());
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    let pair = PrivatePkcs8KeyDer::from(pair.map_err(failed)?.as_ref().to_vec());
    let provider = provider();
    let key = provider
        .key_provider
        .load_private_key(PrivateKeyDer::Pkcs8(pair))?;
    let spki = key
        .public_key()
        .ok_or_else(|| rustls::Error::General("the key has no public half".into()))?;
    let digest = digest(spki.as_ref());
    let shown = vec![CertificateDer::from(spki.as_ref().to_vec())];
    let shown = Arc::new(CertifiedKey::new(shown, key));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(shown)));
    Ok((tls::without_resumption(config, ALPN), digest))
}

/// Settings of an operator's tool. Any key is accepted where none is `known` yet: evidence will say whose it is.
pub fn client(known: Option<SpkiDigest>) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = AnyKey {
        known,
        provider: Arc::clone(&provider),
    };
    tls::client(Arc::new(verifier), provider, None, ALPN)
}

/// Digest of the raw key that the node has shown.
pub fn peer_key<Data>(connection: &rustls::ConnectionCommon<Data>) -> Result<SpkiDigest, TlsError> {
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    shown
        .map(|spki| digest(spki.as_ref()))
        .ok_or(TlsError::PeerCertificate)
}

fn digest(spki: &[u8]) -> SpkiDigest {
    SpkiDigest(Sha256::digest(spki).into())
}

#[derive(Debug)]
struct AnyKey {
    known: Option<SpkiDigest>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.known {
            Some(known) if known != digest(shown) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
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
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
