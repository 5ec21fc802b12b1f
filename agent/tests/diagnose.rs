//! Each kind of breakage that loopback can show, and what is said about it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use dawnkey_agent::config::ServiceConfig;
use dawnkey_agent::diagnose::{Cause, Diagnosis, Link, LinkState, Machine, diagnose};
use dawnkey_agent::discover::metadata::{Cloud, Metadata};
use dawnkey_agent::discover::{Endpoint, Places, message::Name};
use dawnkey_proto::wire;
use std::net::SocketAddr;
use support::dns::{self, Say};
use support::{Keys, Pki, Script, config, raw, serve, web};
use tokio::io::AsyncWriteExt;
use tonic::Status;

/// A service that is connected to and not asked.
struct Silent;

impl Script for Silent {
    async fn unlock(&self, _: wire::UnlockRequest, _: &Keys) -> Result<wire::UnlockAnswer, Status> {
        Err(Status::unavailable("not asked"))
    }
}

/// A machine with a network, at a time when certificates made today are valid.
fn machine() -> Machine {
    Machine {
        links: vec![Link {
            name: "eth0".into(),
            state: LinkState::Up,
            addresses: vec!["10.0.2.15".parse().unwrap()],
        }],
        clock: Machine::here().clock,
        ..Machine::default()
    }
}

/// As [`config`], for these places.
fn at(pki: &Pki, places: Places) -> ServiceConfig {
    ServiceConfig {
        places,
        ..config(&[], pki.ca_pin())
    }
}

fn text(diagnosis: &Diagnosis) -> String {
    let lines = diagnosis.lines().into_iter();
    lines
        .map(|(about, found)| format!("{about}: {found}\n"))
        .collect()
}

async fn cause_at(pki: &Pki, address: SocketAddr, machine: Machine) -> (Cause, String) {
    let diagnosis = diagnose(&config(&[address], pki.ca_pin()), machine).await;
    (diagnosis.cause, text(&diagnosis))
}

/// Where nothing listens.
fn closed() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn service_that_can_be_reached_is_said_to_be() {
    let pki = Pki::new();
    let running = serve(&pki, Silent).await;
    let (cause, text) = cause_at(&pki, running.address, machine()).await;
    assert_eq!(cause, Cause::None, "{text}");
    assert!(text.contains("the pinned service"), "{text}");
    assert!(text.contains("link: eth0 up, 10.0.2.15"), "{text}");
}

#[tokio::test]
async fn wrong_server_is_named_by_the_key_it_showed() {
    let (pki, other) = (Pki::new(), Pki::new());
    let running = serve(&other, Silent).await;
    let diagnosis = diagnose(&config(&[running.address], pki.ca_pin()), machine()).await;
    assert_eq!(diagnosis.cause, Cause::NotPinned);
    let shown = diagnosis.addresses_tried[0].certificate.as_ref().unwrap();
    let digest: String = other.spki().0.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(shown.spki_sha256, digest);
    assert!(diagnosis.advice.contains(&digest), "{}", diagnosis.advice);
}

#[tokio::test]
async fn clock_that_is_years_off_is_told_and_stops_nothing() {
    let pki = Pki::new();
    let running = serve(&pki, Silent).await;
    for clock in [0, 99_999_999_999] {
        let machine = Machine { clock, ..machine() };
        let (cause, text) = cause_at(&pki, running.address, machine).await;
        assert_eq!(cause, Cause::None, "{text}");
        assert_eq!(text.contains("RTC"), clock == 0, "{text}");
        assert_eq!(
            text.contains("not now by this machine's clock"),
            clock != 0 || text.contains("not now")
        );
    }
}

#[tokio::test]
async fn what_speaks_no_tls_is_told_from_what_does_not_listen() {
    let pki = Pki::new();
    let plain = raw(|mut tcp| async move {
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let (cause, text) = cause_at(&pki, plain.address, machine()).await;
    assert_eq!(cause, Cause::Tls, "{text}");
    let (cause, text) = cause_at(&pki, closed(), machine()).await;
    assert_eq!(cause, Cause::Refused, "{text}");
}

#[tokio::test]
async fn machine_without_link_or_address_is_told_before_what_is_far() {
    let pki = Pki::new();
    let nowhere = || {
        at(
            &pki,
            Places::listed(vec![Endpoint {
                host: "k.example".into(),
                port: 1,
            }]),
        )
    };
    let mut service = nowhere();
    let silent = dns::serve(|_| Say::Code(2)).await;
    service.places.resolvers = vec![silent.address];
    let mut broken = machine();
    broken.links[0].addresses = vec!["fe80::1".parse().unwrap()];
    assert_eq!(
        diagnose(&service, broken.clone()).await.cause,
        Cause::Address
    );
    broken.links[0].state = LinkState::Down;
    assert_eq!(diagnose(&service, broken.clone()).await.cause, Cause::Link);
    broken.links.clear();
    assert_eq!(diagnose(&service, broken).await.cause, Cause::Link);
    let diagnosis = diagnose(&service, machine()).await;
    assert_eq!(diagnosis.cause, Cause::Dns);
    assert!(text(&diagnosis).contains("RCODE 2"), "{}", text(&diagnosis));
}

#[tokio::test]
async fn each_source_of_addresses_is_told() {
    let pki = Pki::new();
    let running = serve(&pki, Silent).await;
    let dns = dns::serve(|_| Say::Code(3)).await;
    let empty = web::serve(|_| web::answer(404, "")).await;
    let places = Places {
        endpoints: vec![support::endpoint(&running.address)],
        domain: Name::new("fleet.example"),
        resolvers: vec![dns.address],
        metadata: Some(Metadata {
            cloud: Cloud::Gcp,
            address: empty.address,
        }),
    };
    let diagnosis = diagnose(&at(&pki, places.clone()), machine()).await;
    let told = text(&diagnosis);
    assert_eq!(diagnosis.cause, Cause::None, "{told}");
    assert!(
        told.contains("SRV _dawnkey._tcp.fleet.example: resolve"),
        "{told}"
    );
    assert!(told.contains("metadata of gcp"), "{told}");
    assert!(diagnosis.advice.contains("2 of 3 sources"), "{told}");
    let places = Places {
        endpoints: Vec::new(),
        domain: None,
        ..places
    };
    let diagnosis = diagnose(&at(&pki, places), machine()).await;
    assert_eq!(diagnosis.cause, Cause::Metadata);
    let json = serde_json::to_value(&diagnosis).unwrap();
    assert_eq!(json["cause"], "metadata");
    assert!(
        json["sources"][0]["problem"]
            .as_str()
            .unwrap()
            .contains("dawnkey-endpoints")
    );
    assert_eq!(json["links"][0]["name"], "eth0");
}
