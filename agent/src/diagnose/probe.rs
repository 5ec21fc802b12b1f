//! What the network says: each source of addresses by itself, and each address by itself.

use crate::config::ServiceConfig;
use crate::connect::{ConnectError, Target, connect};
use crate::discover::{Address, Endpoint, FindError, Places, Search};
use crate::report::millis;
use dawnkey_proto::tls::{self, Clock, Shown, Watch};
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Most addresses that are tried.
const MOST: usize = 16;

/// What a source of addresses came to.
#[derive(Debug, Serialize)]
pub struct SourceFound {
    /// The source, as people know it.
    pub source: String,
    /// How many addresses it gave.
    pub addresses: usize,
    /// Why it gave none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub problem: Option<FindError>,
}

/// What became of an address.
#[derive(Debug, Serialize)]
pub struct Probe {
    /// The endpoint with its address.
    pub address: String,
    /// Time it took.
    pub ms: u64,
    /// Why it is not the service; absent when it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub problem: Option<ConnectError>,
    /// What it showed, be it the service or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// A certificate that was shown. Nothing of it has to be true.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// SHA-256 of its key, hexadecimal.
    pub spki_sha256: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// Whether the machine's clock is between the two. The agent does not ask for that: the clock is the host's.
    pub valid_by_clock: bool,
}

fn text<T: ToString, S: Serializer>(error: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&error.as_ref().map(ToString::to_string))
}

/// Asks each source alone, all at once.
pub(super) async fn sources(
    places: &Places,
    deadline: Instant,
) -> Vec<(SourceFound, Vec<Address>)> {
    let alone = |endpoints: Vec<Endpoint>| Places {
        endpoints,
        resolvers: places.resolvers.clone(),
        ..Places::default()
    };
    let mut each = Vec::new();
    for endpoint in &places.endpoints {
        each.push((endpoint.to_string(), alone(vec![endpoint.clone()])));
    }
    if let Some(domain) = places.domain.clone() {
        let name = format!("SRV _dawnkey._tcp.{domain}");
        let domain = Some(domain);
        each.push((
            name,
            Places {
                domain,
                ..alone(Vec::new())
            },
        ));
    }
    if let Some(metadata) = places.metadata.clone() {
        let name = format!(
            "metadata of {} at {}",
            metadata.cloud.name(),
            metadata.address
        );
        let metadata = Some(metadata);
        each.push((
            name,
            Places {
                metadata,
                ..alone(Vec::new())
            },
        ));
    }
    let mut running = JoinSet::new();
    for (number, (source, places)) in each.into_iter().enumerate() {
        running.spawn(async move { (number, search(source, &places, deadline).await) });
    }
    let mut found = running.join_all().await;
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, found)| found).collect()
}

async fn search(source: String, places: &Places, deadline: Instant) -> (SourceFound, Vec<Address>) {
    let mut search = Search::start(places, deadline);
    while search.goes_on() {
        search.more().await;
    }
    let mut addresses = Vec::new();
    while let Some(address) = search.take() {
        addresses.push(address);
    }
    let problem = match addresses.is_empty() {
        true => Some(search.failure().unwrap_or_else(|| search.nothing())),
        false => None,
    };
    let found = SourceFound {
        source,
        addresses: addresses.len(),
        problem,
    };
    (found, addresses)
}

/// Tries each address alone, all at once.
pub(super) async fn all(
    service: &ServiceConfig,
    addresses: Vec<Address>,
    clock: i64,
    deadline: Instant,
) -> Vec<Probe> {
    let mut different: Vec<Address> = Vec::new();
    for address in addresses {
        if different.len() < MOST && different.iter().all(|one| one.socket != address.socket) {
            different.push(address);
        }
    }
    let mut running = JoinSet::new();
    for (number, address) in different.into_iter().enumerate() {
        let service = service.clone();
        running.spawn(async move { (number, one(&service, &address, clock, deadline).await) });
    }
    let mut probes = running.join_all().await;
    probes.sort_by_key(|(number, _)| *number);
    probes.into_iter().map(|(_, probe)| probe).collect()
}

async fn one(service: &ServiceConfig, address: &Address, clock: i64, deadline: Instant) -> Probe {
    let began = Instant::now();
    let watch = Watch::default();
    let problem = match tls::watched_client_config(&service.pin, Clock::Host, watch.clone()) {
        Err(source) => Some(ConnectError::Tls {
            endpoint: address.clone().into(),
            source,
        }),
        Ok(mut tls) => {
            tls.alpn_protocols = service.protocol.alpn();
            let target = Target {
                places: Places::listed(vec![Endpoint {
                    host: address.socket.ip().to_string(),
                    port: address.socket.port(),
                }]),
                last: Vec::new(),
                name: service.name.clone(),
                tls: Arc::new(tls),
            };
            // A little beyond its own deadline, so that it can say what it waited for.
            let bound = deadline + std::time::Duration::from_secs(1);
            let connected = timeout_at(bound, connect(&target, deadline)).await;
            connected.ok().and_then(Result::err)
        }
    };
    Probe {
        address: address.to_string(),
        ms: millis(began.elapsed()),
        problem,
        certificate: watch.shown().map(|shown| certificate(&shown, clock)),
    }
}

fn certificate(shown: &Shown, clock: i64) -> Certificate {
    let mut spki_sha256 = String::new();
    for byte in shown.spki.0 {
        let _ = write!(spki_sha256, "{byte:02x}");
    }
    Certificate {
        spki_sha256,
        not_before: shown.not_before,
        not_after: shown.not_after,
        valid_by_clock: (shown.not_before..=shown.not_after).contains(&clock),
    }
}
