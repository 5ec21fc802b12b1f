//! A list of endpoints of which not all are well.

use super::{provisioned, world};
use dawnkey_agent::config::{Pace, ServiceConfig};
use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::discover::{Endpoint, Places};
use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::report::Event;
use dawnkey_agent::unlock::Outcome;
use dawnkey_host_tests::world::node::Node;
use dawnkey_host_tests::world::{VOLUME, World};
use dawnkey_proto::message::Reason;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// An address at which nothing listens.
async fn dead() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A machine that answers no packet of a new connection: its queue is full, and nobody takes from it.
struct Hole {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Hole {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let patience = Duration::from_millis(500);
        while let Ok(tcp) = timeout(patience, TcpStream::connect(address)).await {
            queued.push(tcp.unwrap());
        }
        let _queued = queued;
        Self { listener, _queued }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

fn at(world: &World, addresses: &[SocketAddr]) -> ServiceConfig {
    let endpoint = |address: &SocketAddr| Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
    };
    ServiceConfig {
        places: Places::listed(addresses.iter().map(endpoint).collect()),
        // What an attempt would wait for a silent endpoint if it tried one after the other.
        pace: Pace {
            budget: Duration::from_secs(600),
            attempt: Duration::from_secs(300),
        },
        ..world.service_at(world.address())
    }
}

/// Where the node's connections stood, and how long each took to stand.
fn connections(node: &Node) -> Vec<(String, Duration)> {
    let connected = |event: &Event| match event {
        Event::Connected { endpoint, elapsed } => Some((endpoint.clone(), *elapsed)),
        _ => None,
    };
    node.events.iter().filter_map(connected).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn unlocks_at_the_third_endpoint_without_waiting_for_a_dead_and_a_silent_one() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    let hole = Hole::new().await;
    let service = at(&world, &[dead().await, hole.address(), world.address()]);
    let done = node.unlock_at(&service, VOLUME).await.unwrap();
    assert_eq!(done.outcome, Outcome::Unlocked);
    let connections = connections(&node);
    let [(endpoint, elapsed)] = connections.as_slice() else {
        panic!("expected one attempt, got {connections:?}")
    };
    assert_eq!(endpoint, &world.address().to_string());
    assert!(*elapsed < Duration::from_secs(60), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_of_one_endpoint_is_final_though_others_are_silent() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    node.boot("quiet init=/bin/sh");
    let hole = Hole::new().await;
    let service = at(&world, &[hole.address(), world.address(), dead().await]);
    let refusal = node.refused_at(&world, &service, VOLUME).await;
    assert_eq!(refusal.reason, Reason::PcrMismatch);
    assert_eq!(connections(&node).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_each_of_three_endpoints_when_none_can_be_had() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    let disk = node.disk_bytes();
    let (hole, silent) = (
        Hole::new().await,
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let addresses = [dead().await, hole.address(), silent.local_addr().unwrap()];
    let mut service = at(&world, &addresses);
    let attempt = Duration::from_secs(2);
    service.pace = Pace {
        budget: attempt,
        attempt,
    };
    let error = node.unlock_at(&service, VOLUME).await.unwrap_err();
    assert_eq!(error.exit_code(), 20);
    for address in addresses {
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    let UnlockError::Ask { error, .. } = error else {
        panic!("expected the asking to fail")
    };
    let AskError::Connect(ConnectError::NoneOf { failures }) = *error else {
        panic!("expected no connection, got {error}")
    };
    assert!(
        matches!(
            failures.as_slice(),
            [
                ConnectError::Unreachable { .. },
                ConnectError::TcpTimeout { .. },
                ConnectError::TlsTimeout { .. },
            ]
        ),
        "{failures:?}"
    );
    assert!(node.disk_bytes() == disk, "the disk has changed");
}
