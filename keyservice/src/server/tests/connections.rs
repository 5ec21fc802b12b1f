//! What is refused before anybody can ask.

use super::{Ca, Node, Site, connect, http_get};
use dawnkey_proto::wire;
use dawnkey_proto::wire::admin_client::AdminClient;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::HandshakeKind;
use rustls::client::Resumption;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A `ClientHello` of TLS 1.2 (RFC 5246 §7.4.1.2): no `supported_versions`.
fn hello_of_tls_1_2() -> Vec<u8> {
    let extensions = [
        vec![0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d], // supported_groups: x25519
        vec![0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03], // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    let mut body = vec![0x03, 0x03];
    body.extend([7; 32]);
    body.push(0); // no session
    body.extend([0x00, 0x02, 0xc0, 0x2b]); // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    body.extend([0x01, 0x00]); // no compression
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![0x01, 0x00];
    handshake.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    handshake.extend(body);
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend(u16::try_from(handshake.len()).unwrap().to_be_bytes());
    record.extend(handshake);
    record
}

#[tokio::test]
async fn refuses_a_client_of_tls_1_2() {
    let site = Site::new();
    let running = site.start().await;
    for address in [running.addresses.unlock, running.addresses.admin] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(&hello_of_tls_1_2()).await.unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.unwrap();
        // A fatal alert, protocol_version (70).
        assert_eq!(answer, [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 70]);
    }
}

#[tokio::test]
async fn second_handshake_of_a_client_that_would_resume_is_full() {
    let site = Site::new();
    let running = site.start().await;
    let mut config = site.client(None);
    config.resumption = Resumption::in_memory_sessions(8);
    for _ in 0..2 {
        let address = running.addresses.unlock;
        let mut tls = connect(address, config.clone()).await.unwrap();
        // Whatever tickets there were would have come with the server's first bytes: its HTTP/2 settings.
        tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        tls.read_exact(&mut [0; 9]).await.unwrap();
        let connection = tls.get_ref().1;
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connection.tls13_tickets_received(), 0);
        let group = connection.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    }
}

#[tokio::test]
async fn refuses_operator_without_certificate_of_the_admin_ca() {
    let site = Site::new();
    let running = site.start().await;
    for identity in [
        None,
        Some(Ca::new().identity(ClientAuth)),
        Some(site.ca.identity(ClientAuth)),
        Some(site.admin_ca.identity(ServerAuth)),
    ] {
        let address = running.addresses.admin;
        // In TLS 1.3 a client learns that its certificate was refused with the first bytes it reads.
        let Ok(mut tls) = connect(address, site.client(identity)).await else {
            continue;
        };
        let refused = tls.read(&mut [0; 1]).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("received fatal alert"), "{text}");
    }
    let status = site
        .admin(&running)
        .await
        .status(wire::StatusRequest {})
        .await;
    assert_eq!(status.unwrap().into_inner().kek, "cluster");
}

#[tokio::test]
async fn nodes_find_no_admin_service_at_their_listener() {
    let site = Site::new();
    let running = site.start().await;
    let address = running.addresses.unlock;
    let tls = connect(address, site.client(None)).await.unwrap();
    let mut admin = AdminClient::new(super::channel(tls).await);
    let status = admin.status(wire::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn closes_connections_of_a_peer_beyond_its_rate_before_the_handshake() {
    let mut site = Site::new();
    site.limits = "per_peer_per_minute = 2";
    let running = site.start().await;
    let _first = Node::connect(&site, &running).await;
    let _second = Node::connect(&site, &running).await;
    let third = connect(running.addresses.unlock, site.client(None)).await;
    assert!(third.is_err());
    let text = http_get(running.addresses.metrics, "/metrics").await;
    assert!(
        text.contains("dawnkey_turned_away_total{why=\"rate-limited\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn closes_connections_beyond_the_cap_of_a_peer() {
    let mut site = Site::new();
    site.limits = "connections_per_peer = 1";
    let running = site.start().await;
    let _first = Node::connect(&site, &running).await;
    let second = connect(running.addresses.unlock, site.client(None)).await;
    assert!(second.is_err());
    let text = http_get(running.addresses.metrics, "/metrics").await;
    assert!(
        text.contains("dawnkey_turned_away_total{why=\"too-many\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn closes_a_connection_that_never_shakes_hands() {
    let mut site = Site::new();
    site.limits = "handshake_seconds = 1";
    let running = site.start().await;
    let mut tcp = TcpStream::connect(running.addresses.unlock).await.unwrap();
    assert_eq!(tcp.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn closes_a_connection_that_shakes_hands_and_never_asks() {
    let mut site = Site::new();
    site.limits = "connection_seconds = 1";
    let running = site.start().await;
    let mut tls = connect(running.addresses.unlock, site.client(None))
        .await
        .unwrap();
    let mut rest = Vec::new();
    // The end may come as a close or as a reset, but it comes.
    let _ = tls.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn serves_health_and_metrics_and_nothing_else() {
    let site = Site::new();
    let running = site.start().await;
    let address = running.addresses.metrics;
    assert!(
        http_get(address, "/healthz")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert!(
        http_get(address, "/readyz")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert!(http_get(address, "/").await.starts_with("HTTP/1.1 404 "));
    let text = http_get(address, "/metrics").await;
    assert!(text.contains("\ndawnkey_audit_records 1\n"), "{text}");
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "));
}
