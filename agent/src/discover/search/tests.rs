#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use std::time::Duration;

fn address(host: &str, ip: &str) -> Address {
    let endpoint = Endpoint {
        host: host.into(),
        port: 8443,
    };
    let socket = SocketAddr::new(ip.parse().unwrap(), 8443);
    Address { endpoint, socket }
}

fn idle() -> Search {
    let nowhere = System::below("/nonexistent");
    Search::on(nowhere, &Places::default(), Instant::now())
}

fn order(search: &mut Search) -> Vec<String> {
    let mut ips = Vec::new();
    while let Some(address) = search.take() {
        ips.push(address.socket.ip().to_string());
    }
    ips
}

#[tokio::test]
async fn families_of_a_name_are_tried_in_turn_whichever_comes_first() {
    let mut search = idle();
    search.addresses(vec![address("a", "10.0.0.1"), address("a", "10.0.0.2")]);
    search.addresses(vec![address("10.0.0.9", "10.0.0.9")]);
    search.addresses(vec![address("a", "fd00::1"), address("a", "10.0.0.1")]);
    assert_eq!(
        order(&mut search),
        ["fd00::1", "10.0.0.1", "10.0.0.2", "10.0.0.9"]
    );
}

#[tokio::test]
async fn a_list_keeps_its_order() {
    let listed = "10.0.0.1:1 [fd00::1]:1 10.0.0.2:1 10.0.0.1:1";
    let places = Places::listed(Endpoint::list(listed));
    let nowhere = System::below("/nonexistent");
    let mut search = Search::on(nowhere, &places, Instant::now());
    assert_eq!(order(&mut search), ["10.0.0.1", "fd00::1", "10.0.0.2"]);
}

#[tokio::test]
async fn thousands_of_addresses_become_thirty_two() {
    let mut search = idle();
    for net in 0..=255 {
        let one = |host| address("flood", &format!("10.0.{net}.{host}"));
        search.addresses((0..=255).map(one).collect());
    }
    assert_eq!(order(&mut search).len(), MAX_ADDRESSES);
    let names = (0..5000).map(|number| Endpoint {
        host: format!("h{number}.example"),
        port: 1,
    });
    search.endpoints(names.collect());
    assert_eq!(search.names.len(), MAX_ENDPOINTS);
}

#[tokio::test]
async fn a_name_without_a_server_to_ask_is_named() {
    let places = Places::listed(Endpoint::list("keys.example:8443"));
    let nowhere = System::below("/nonexistent");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut search = Search::on(nowhere, &places, deadline);
    while search.goes_on() {
        search.more().await;
    }
    let error = search.failure().unwrap();
    assert!(
        matches!(
            error,
            FindError::Dns(resolver::ResolveError::NoServer { .. })
        ),
        "{error}"
    );
}

fn srv(priority: u16, weight: u16, host: &str) -> Srv {
    Srv {
        priority,
        weight,
        port: 1,
        target: Name::new(host).unwrap(),
    }
}

#[test]
fn smaller_priorities_come_first_and_heavier_records_more_often() {
    let records = || vec![srv(2, 0, "c"), srv(1, 0, "a"), srv(1, 1000, "b")];
    let first: Vec<String> = (0..200)
        .map(|_| {
            let ordered = ordered(records());
            assert_eq!(ordered[2].target.as_str(), "c");
            ordered[0].target.to_string()
        })
        .collect();
    let heavy = first.iter().filter(|host| *host == "b").count();
    assert!(heavy > 190, "{heavy}");
}
