//! The TLS settings, two ends in memory: what is negotiated, what is refused, what the exporter ties together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod handshake;

use dawnkey_proto::binding::{Role, SpkiDigest};
use dawnkey_proto::tls::{
    Clock, Identity, Pin, TlsError, client_config, exporter, peer_spki, server_config,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ServerConfig, ServerConnection,
};
use std::sync::Arc;

const NAME: &str = "keyservice.test";

struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    Ca {
        der: certificate.der().clone(),
        issuer: Issuer::new(params, key),
    }
}

fn leaf(ca: &Ca, years: (i32, i32)) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let certificate = params.signed_by(&key, &ca.issuer).unwrap();
    Identity {
        chain: vec![certificate.der().clone()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}

struct Ends {
    client: ClientConnection,
    server: ServerConnection,
}

fn connect(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Ends, rustls::Error> {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    handshake::finish(&mut client, &mut server)?;
    Ok(Ends { client, server })
}

fn pinned(pin: &Pin, clock: Clock) -> Arc<ClientConfig> {
    Arc::new(client_config(pin, clock, None).unwrap())
}

fn serving(identity: Identity) -> Arc<ServerConfig> {
    Arc::new(server_config(identity, None).unwrap())
}

#[test]
fn both_ends_draw_the_same_exporter_and_each_role_another() {
    let ca = ca();
    let server = serving(leaf(&ca, (2024, 2034)));
    let client = pinned(&Pin::Ca(vec![ca.der.clone()]), Clock::Trusted);
    let ends = connect(&client, &server).unwrap();
    let node = exporter(&ends.client, Role::Node).unwrap();
    assert_eq!(node, exporter(&ends.server, Role::Node).unwrap());
    assert_ne!(node, exporter(&ends.client, Role::Service).unwrap());
}

#[test]
fn a_second_connection_has_another_exporter_and_resumes_nothing() {
    let ca = ca();
    let server = serving(leaf(&ca, (2024, 2034)));
    let client = pinned(&Pin::Ca(vec![ca.der.clone()]), Clock::Trusted);
    let first = connect(&client, &server).unwrap();
    let second = connect(&client, &server).unwrap();
    assert_ne!(
        exporter(&first.client, Role::Node).unwrap(),
        exporter(&second.client, Role::Node).unwrap()
    );
    assert_eq!(second.client.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(second.client.tls13_tickets_received(), 0);
}

#[test]
fn key_exchange_is_the_post_quantum_hybrid_and_version_is_tls13() {
    let ca = ca();
    let server = serving(leaf(&ca, (2024, 2034)));
    let ends = connect(
        &pinned(&Pin::Ca(vec![ca.der.clone()]), Clock::Trusted),
        &server,
    )
    .unwrap();
    let group = ends.client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(
        ends.client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(ends.client.alpn_protocol(), Some(b"h2".as_slice()));
}

#[test]
fn refuses_server_of_another_ca() {
    let (ours, theirs) = (ca(), ca());
    let server = serving(leaf(&theirs, (2024, 2034)));
    let refused = connect(
        &pinned(&Pin::Ca(vec![ours.der.clone()]), Clock::Host),
        &server,
    );
    assert!(matches!(
        refused.err(),
        Some(rustls::Error::InvalidCertificate(_))
    ));
}

#[test]
fn refuses_server_with_another_key_than_the_pinned_one() {
    let ca = ca();
    let (good, other) = (leaf(&ca, (2024, 2034)), leaf(&ca, (2024, 2034)));
    let pin = Pin::Spki(SpkiDigest::of_certificate(&good.chain[0]).unwrap());
    let refused = connect(&pinned(&pin, Clock::Host), &serving(other));
    assert!(matches!(
        refused.err(),
        Some(rustls::Error::InvalidCertificate(_))
    ));
    let ends = connect(&pinned(&pin, Clock::Host), &serving(good)).unwrap();
    let Pin::Spki(expected) = pin else {
        panic!("made above")
    };
    assert_eq!(peer_spki(&ends.client).unwrap(), expected);
}

#[test]
fn expired_certificate_is_refused_by_a_trusted_clock_only() {
    let ca = ca();
    let pin = Pin::Ca(vec![ca.der.clone()]);
    let refused = connect(
        &pinned(&pin, Clock::Trusted),
        &serving(leaf(&ca, (2021, 2022))),
    );
    assert!(matches!(
        refused.err(),
        Some(rustls::Error::InvalidCertificate(_))
    ));
    assert!(
        connect(
            &pinned(&pin, Clock::Host),
            &serving(leaf(&ca, (2021, 2022)))
        )
        .is_ok()
    );
}

#[test]
fn refuses_server_without_tls13() {
    let ca = ca();
    let identity = leaf(&ca, (2024, 2034));
    let old = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS12])
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(identity.chain, identity.key)
    .unwrap();
    let client = pinned(&Pin::Ca(vec![ca.der.clone()]), Clock::Host);
    let refused = connect(&client, &Arc::new(old));
    assert!(matches!(
        refused.err(),
        Some(rustls::Error::PeerIncompatible(_))
    ));
}

#[test]
fn refuses_client_without_a_certificate_where_one_is_needed() {
    let ca = ca();
    let server =
        server_config(leaf(&ca, (2024, 2034)), Some(std::slice::from_ref(&ca.der))).unwrap();
    let client = pinned(&Pin::Ca(vec![ca.der.clone()]), Clock::Trusted);
    let refused = connect(&client, &Arc::new(server));
    assert!(matches!(
        refused.err(),
        Some(rustls::Error::NoCertificatesPresented)
    ));
}

#[test]
fn exporter_before_the_handshake_is_an_error() {
    let ca = ca();
    let client = pinned(&Pin::Ca(vec![ca.der.clone()]), Clock::Host);
    let connection = ClientConnection::new(client, ServerName::try_from(NAME).unwrap()).unwrap();
    assert!(matches!(
        exporter(&connection, Role::Node),
        Err(TlsError::Exporter(_))
    ));
    assert!(matches!(
        peer_spki(&connection),
        Err(TlsError::PeerCertificate)
    ));
}
