//! Finding the service: DNS and metadata services of ours on loopback, as they should be and as they should not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use dawnkey_agent::client::Client;
use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::discover::message::{Kind, Name};
use dawnkey_agent::discover::metadata::{Cloud, Metadata, MetadataError};
use dawnkey_agent::discover::resolver::{self, Question, ResolveError};
use dawnkey_agent::discover::{Endpoint, FindError, Places};
use dawnkey_agent::service::{KeyService, Session};
use dawnkey_attest::collect::imds::ImdsError;
use dawnkey_proto::wire;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::dns::{self, Say};
use support::{Keys, Pki, Script, config, serve, web};
use tokio::time::Instant;
use tonic::Status;

fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Long enough for a connection on a machine that is busy.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

/// A service that is connected to and not asked.
struct Silent;

impl Script for Silent {
    async fn unlock(&self, _: wire::UnlockRequest, _: &Keys) -> Result<wire::UnlockAnswer, Status> {
        Err(Status::unavailable("not asked"))
    }
}

async fn connected(pki: &Pki, places: Places) -> Result<String, ConnectError> {
    let mut config = config(&[], pki.ca_pin());
    config.places = places;
    let session = Client::new(&config).unwrap().connect(later()).await?;
    Ok(session.peer())
}

/// The domain's only service is this.
fn zone(target: SocketAddr) -> impl Fn(&str) -> Say + Send + Sync + 'static {
    move |asked| match asked {
        "_dawnkey._tcp.example/33" => {
            let port = target.port();
            Say::Records(vec![dns::service(1, port, "k.example")])
        }
        "k.example/1" => Say::Records(vec![dns::address(&target.ip().to_string())]),
        "k.example/28" => Say::Records(Vec::new()),
        _ => Say::Code(3),
    }
}

fn domain(server: SocketAddr) -> Places {
    Places {
        domain: Name::new("example"),
        resolvers: vec![server],
        ..Places::default()
    }
}

#[tokio::test]
async fn service_of_a_domain_is_found_and_the_pin_decides() {
    let (pki, other) = (Pki::new(), Pki::new());
    let running = serve(&pki, Silent).await;
    let dns = dns::serve(zone(running.address)).await;
    let peer = connected(&pki, domain(dns.address)).await.unwrap();
    let port = running.address.port();
    assert_eq!(peer, format!("k.example:{port} (127.0.0.1)"));
    let error = connected(&other, domain(dns.address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotPinned { .. }), "{error}");
    assert!(!error.is_transport());
}

#[tokio::test]
async fn a_listed_endpoint_does_not_wait_for_dns_that_is_silent() {
    let pki = Pki::new();
    let running = serve(&pki, Silent).await;
    let dns = dns::serve(|_| Say::Silence).await;
    let places = Places {
        endpoints: vec![support::endpoint(&running.address)],
        ..domain(dns.address)
    };
    let began = Instant::now();
    connected(&pki, places).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn wrong_server_is_not_the_last_word_while_another_source_is_silent() {
    let (pki, other) = (Pki::new(), Pki::new());
    let rogue = serve(&other, Silent).await;
    let dns = dns::serve(|_| Say::Code(2)).await;
    let places = Places {
        endpoints: vec![support::endpoint(&rogue.address)],
        ..domain(dns.address)
    };
    let error = connected(&pki, places).await.unwrap_err();
    let ConnectError::NoneOf { failures } = &error else {
        panic!("{error}")
    };
    let both = matches!(
        failures.as_slice(),
        [
            ConnectError::NotPinned { .. },
            ConnectError::NotFound(FindError::Dns(ResolveError::Failed { code: 2, .. }))
        ]
    );
    assert!(both && error.is_transport(), "{error}");
}

async fn ask(server: SocketAddr, deadline: Instant) -> Result<usize, ResolveError> {
    let name = Name::new("k.example").unwrap();
    let question = Question {
        name: &name,
        kind: Kind::A,
    };
    let found = resolver::ask(&[server], question, deadline).await?;
    Ok(found.len())
}

#[tokio::test]
async fn names_what_a_dns_server_did() {
    for (code, name) in [(3, "no such name"), (5, "RCODE 5")] {
        let server = dns::serve(move |_| Say::Code(code)).await;
        let error = ask(server.address, later()).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let silent = dns::serve(|_| Say::Silence).await;
    let began = Instant::now();
    let error = ask(silent.address, soon()).await.unwrap_err();
    assert!(matches!(error, ResolveError::TimedOut { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
    let nobody = {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        taken.local_addr().unwrap()
    };
    let error = ask(nobody, later()).await.unwrap_err();
    assert!(matches!(error, ResolveError::Transport { .. }), "{error}");
}

#[tokio::test]
async fn asks_over_tcp_what_does_not_fit_and_keeps_what_is_bounded() {
    let many = || (0..3000).map(|_| dns::address("127.0.0.1")).collect();
    let server = dns::serve(move |_| Say::OverTcp(many())).await;
    assert_eq!(ask(server.address, later()).await.unwrap(), 256);
}

#[tokio::test]
async fn waits_past_datagrams_that_are_no_answer() {
    let garbage = vec![Vec::new(), vec![0; 12], vec![0xff; 1232], vec![0xc0; 600]];
    let say = move |_: &str| Say::After(garbage.clone(), vec![dns::address("10.0.0.1")]);
    let server = dns::serve(say).await;
    assert_eq!(ask(server.address, later()).await.unwrap(), 1);
}

#[tokio::test]
async fn next_server_is_asked_when_one_is_silent() {
    let silent = dns::serve(|_| Say::Silence).await;
    let good = dns::serve(|_| Say::Records(vec![dns::address("10.0.0.1")])).await;
    let name = Name::new("k.example").unwrap();
    let question = Question {
        name: &name,
        kind: Kind::A,
    };
    let servers = [silent.address, good.address];
    let found = resolver::ask(&servers, question, later()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(silent.asked.load(Ordering::SeqCst), 1);
}

async fn endpoints(cloud: Cloud, address: SocketAddr) -> Result<Vec<Endpoint>, MetadataError> {
    Metadata { cloud, address }.endpoints(later()).await
}

fn texts(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(ToString::to_string).collect()
}

/// AWS as documented: without the token of a PUT there is nothing.
fn aws(head: &str) -> Vec<u8> {
    let first = head.lines().next().unwrap();
    let token = head.contains("X-aws-ec2-metadata-token: abc==\r\n");
    match first {
        "PUT /latest/api/token HTTP/1.1"
            if head.contains("X-aws-ec2-metadata-token-ttl-seconds: 60\r\n") =>
        {
            web::answer(200, "abc==")
        }
        _ if !token => web::answer(401, ""),
        "GET /latest/user-data HTTP/1.1" => {
            web::answer(200, "#!/bin/sh\n# dawnkey-endpoints=10.1.0.1:8443\n")
        }
        _ => web::answer(404, ""),
    }
}

#[tokio::test]
async fn aws_is_asked_with_a_token_for_the_tag_and_then_for_user_data() {
    let server = web::serve(aws).await;
    let found = endpoints(Cloud::Aws, server.address).await.unwrap();
    assert_eq!(texts(&found), ["10.1.0.1:8443"]);
    assert_eq!(
        server.requests(),
        [
            "PUT /latest/api/token HTTP/1.1",
            "GET /latest/meta-data/tags/instance/dawnkey-endpoints HTTP/1.1",
            "GET /latest/user-data HTTP/1.1",
        ]
    );
}

#[tokio::test]
async fn aws_token_that_would_break_a_request_is_refused() {
    for token in ["", "a\r\nX: y", "\u{e4}", &"a".repeat(513)] {
        let token = token.to_owned();
        let server = web::serve(move |_| web::answer(200, &token)).await;
        let error = endpoints(Cloud::Aws, server.address).await.unwrap_err();
        assert!(matches!(error, MetadataError::Token { .. }), "{error}");
    }
}

#[tokio::test]
async fn azure_is_asked_for_the_tag_and_then_for_user_data() {
    // Base64 of `dawnkey-endpoints=keys.example:1`.
    let data = "ZGF3bmtleS1lbmRwb2ludHM9a2V5cy5leGFtcGxlOjE=";
    for (tags, found) in [
        (
            r#"[{"name":"a","value":"b"},{"name":"dawnkey-endpoints","value":"10.2.0.1:8443, 10.2.0.2:1"}]"#,
            vec!["10.2.0.1:8443", "10.2.0.2:1"],
        ),
        ("[]", vec!["keys.example:1"]),
    ] {
        let server = web::serve(move |head| match head {
            _ if !head.contains("Metadata: true\r\n") => web::answer(400, ""),
            _ if head.starts_with("GET /metadata/instance/compute/tagsList?") => {
                web::answer(200, tags)
            }
            _ if head.starts_with("GET /metadata/instance/compute/userData?") => {
                web::answer(200, data)
            }
            _ => web::answer(404, ""),
        })
        .await;
        let endpoints = endpoints(Cloud::Azure, server.address).await.unwrap();
        assert_eq!(texts(&endpoints), found);
    }
}

#[tokio::test]
async fn google_is_asked_for_the_attribute_of_instance_and_project() {
    let server = web::serve(|head| match head {
        _ if !head.contains("Metadata-Flavor: Google\r\n") => web::answer(403, ""),
        _ if head.contains("/computeMetadata/v1/project/attributes/dawnkey-endpoints ") => {
            web::answer(200, "[fd00::1]:8443\n")
        }
        _ => web::answer(404, ""),
    })
    .await;
    let found = endpoints(Cloud::Gcp, server.address).await.unwrap();
    assert_eq!(texts(&found), ["[fd00::1]:8443"]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn openstack_is_asked_for_the_property() {
    let server = web::serve(|head| match head {
        _ if head.starts_with("GET /openstack/latest/meta_data.json ") => web::answer(
            200,
            r#"{"uuid":"x","meta":{"dawnkey-endpoints":"10.3.0.1:8443"}}"#,
        ),
        _ => web::answer(404, ""),
    })
    .await;
    let found = endpoints(Cloud::OpenStack, server.address).await.unwrap();
    assert_eq!(texts(&found), ["10.3.0.1:8443"]);
}

#[tokio::test]
async fn metadata_that_names_nothing_says_where_it_was_looked_for() {
    let server = web::serve(|_| web::answer(404, "")).await;
    let error = endpoints(Cloud::OpenStack, server.address).await;
    let error = error.unwrap_err();
    assert!(matches!(error, MetadataError::Nothing { .. }), "{error}");
    assert!(error.to_string().contains("user data"), "{error}");
}

#[tokio::test]
async fn hostile_metadata_is_refused_within_its_bounds() {
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", "10.0.0.1:1 ".repeat(60_000));
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n";
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    for (answer, wanted) in [
        (huge.as_str(), "larger than"),
        (redirect, "status 302"),
        (endless, "larger than"),
        ("SSH-2.0-x\r\n\r\n", "malformed"),
    ] {
        let bytes = answer.as_bytes().to_vec();
        let server = web::serve(move |_| bytes.clone()).await;
        let error = endpoints(Cloud::Gcp, server.address).await.unwrap_err();
        let bounded = matches!(
            error,
            MetadataError::Answer(
                ImdsError::TooLarge { .. } | ImdsError::Status { .. } | ImdsError::Malformed { .. }
            )
        );
        assert!(bounded && error.to_string().contains(wanted), "{error}");
        assert_eq!(server.requests().len(), 1, "a redirect is not followed");
    }
    let many = "10.0.0.1:1 ".repeat(5000);
    let server = web::serve(move |_| web::answer(200, &many)).await;
    let found = endpoints(Cloud::Gcp, server.address).await.unwrap();
    assert_eq!(found.len(), 16);
}

#[tokio::test]
async fn metadata_that_never_answers_ends_with_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = Metadata {
        cloud: Cloud::Aws,
        address: listener.local_addr().unwrap(),
    };
    let error = service.endpoints(soon()).await.unwrap_err();
    assert!(matches!(error, MetadataError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn service_that_metadata_names_is_connected_to() {
    let pki = Pki::new();
    let running = serve(&pki, Silent).await;
    let port = running.address.port();
    let value = format!("127.0.0.1:{port}");
    let server = web::serve(move |_| web::answer(200, &value)).await;
    let places = Places {
        metadata: Some(Metadata {
            cloud: Cloud::Gcp,
            address: server.address,
        }),
        ..Places::default()
    };
    let peer = connected(&pki, places).await.unwrap();
    assert_eq!(peer, format!("127.0.0.1:{port}"));
}
