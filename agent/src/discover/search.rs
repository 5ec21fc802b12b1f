//! All sources side by side: each gives what it has when it has it, and nobody waits for another.

use super::message::{Kind, Name, Record, Srv};
use super::resolver::{self, Question};
use super::system::System;
use super::{Address, Endpoint, FindError, MAX_ADDRESSES, MAX_ENDPOINTS, MAX_PER_NAME, Places};
use crate::random;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a source came to.
enum Found {
    /// Endpoints, whose names may have to be resolved.
    Endpoints(Vec<Endpoint>),
    /// Addresses of one endpoint, of one family.
    Addresses(Vec<Address>),
}

/// A search that goes on while addresses of it are tried.
pub struct Search {
    running: JoinSet<Result<Found, FindError>>,
    waiting: VecDeque<Address>,
    /// Everything that was ever waiting.
    seen: Vec<SocketAddr>,
    last: Vec<SocketAddr>,
    /// Names that were looked up, at most twice as many as a source may name.
    names: Vec<Endpoint>,
    failed: Option<FindError>,
    servers: Arc<[SocketAddr]>,
    system: System,
    deadline: Instant,
}

impl Search {
    /// Begins, in every place at once.
    #[must_use]
    pub fn start(places: &Places, deadline: Instant) -> Self {
        Self::on(System::default(), places, deadline)
    }

    /// Begins with what `system` says about names and DNS servers.
    #[must_use]
    pub fn on(system: System, places: &Places, deadline: Instant) -> Self {
        let servers = match places.resolvers.as_slice() {
            [] => system.resolvers(),
            given => given.to_vec(),
        };
        let mut search = Self {
            running: JoinSet::new(),
            waiting: VecDeque::new(),
            seen: Vec::new(),
            last: Vec::new(),
            names: Vec::new(),
            failed: None,
            servers: servers.into(),
            system,
            deadline,
        };
        search.endpoints(places.endpoints.clone());
        if let Some(domain) = places.domain.clone() {
            let servers = Arc::clone(&search.servers);
            search
                .running
                .spawn(async move { services(&servers, &domain, deadline).await });
        }
        if let Some(metadata) = places.metadata.clone() {
            search.running.spawn(async move {
                let found = metadata.endpoints(deadline).await?;
                Ok(Found::Endpoints(found))
            });
        }
        search
    }

    /// Puts these addresses behind all others, the last of them last.
    pub fn put_last(&mut self, addresses: &[SocketAddr]) {
        addresses.clone_into(&mut self.last);
    }

    /// The next address to try, if there is one by now.
    pub fn take(&mut self) -> Option<Address> {
        let rank = |address: &Address| {
            let at = self.last.iter().position(|last| *last == address.socket);
            at.map_or(0, |at| at + 1)
        };
        let all = self.waiting.iter().enumerate();
        let (next, _) = all.min_by_key(|(_, address)| rank(address))?;
        self.waiting.remove(next)
    }

    /// Whether there is an address to try.
    #[must_use]
    pub fn has_next(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a source may still say something.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.running.is_empty()
    }

    /// Waits until one more source has said what it has. May be cancelled without loss.
    pub async fn more(&mut self) {
        match self.running.join_next().await {
            Some(Ok(Ok(Found::Endpoints(endpoints)))) => self.endpoints(endpoints),
            Some(Ok(Ok(Found::Addresses(addresses)))) => self.addresses(addresses),
            Some(Ok(Err(error))) => self.failed = self.failed.take().or(Some(error)),
            // A task that was torn down, or none left.
            Some(Err(_)) | None => {}
        }
    }

    /// Why a source named nothing: the first that failed.
    pub const fn failure(&mut self) -> Option<FindError> {
        self.failed.take()
    }

    /// That no source failed and none named an address.
    #[must_use]
    pub fn nothing(&self) -> FindError {
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        FindError::Nothing(match names.is_empty() {
            true => "no source names an endpoint".into(),
            false => format!("no address is known for {}", names.join(", ")),
        })
    }

    fn endpoints(&mut self, endpoints: Vec<Endpoint>) {
        for endpoint in endpoints.into_iter().take(MAX_ENDPOINTS) {
            if let Some(address) = Address::literal(&endpoint) {
                self.addresses(vec![address]);
            } else if !self.names.contains(&endpoint) && self.names.len() < 2 * MAX_ENDPOINTS {
                self.names.push(endpoint.clone());
                self.look_up(endpoint);
            }
        }
    }

    /// Both families of a name, each on its own.
    fn look_up(&mut self, endpoint: Endpoint) {
        let Some(name) = Name::new(&endpoint.host) else {
            return;
        };
        let known = self.system.hosts(&name);
        if !known.is_empty() {
            return self.addresses(of(&endpoint, known));
        }
        for kind in [Kind::Aaaa, Kind::A] {
            let (servers, deadline) = (Arc::clone(&self.servers), self.deadline);
            let (endpoint, name) = (endpoint.clone(), name.clone());
            self.running.spawn(async move {
                let question = Question { name: &name, kind };
                let records = resolver::ask(&servers, question, deadline).await?;
                let addresses = records.into_iter().filter_map(|record| match record {
                    Record::A(v4) => Some(IpAddr::V4(v4)),
                    Record::Aaaa(v6) => Some(IpAddr::V6(v6)),
                    Record::Srv(_) => None,
                });
                Ok(Found::Addresses(of(&endpoint, addresses)))
            });
        }
    }

    /// Puts addresses of one endpoint to the others of it, in turn of their families, or else at the end.
    fn addresses(&mut self, found: Vec<Address>) {
        let mut new = Vec::new();
        for address in found {
            if self.seen.len() < MAX_ADDRESSES && !self.seen.contains(&address.socket) {
                self.seen.push(address.socket);
                new.push(address);
            }
        }
        let Some(endpoint) = new.first().map(|address| address.endpoint.clone()) else {
            return;
        };
        let mut same = self.waiting.iter().map(|one| one.endpoint == endpoint);
        let at = same.position(|same| same).unwrap_or(self.waiting.len());
        let mut rest = self.waiting.split_off(at);
        while rest.front().is_some_and(|one| one.endpoint == endpoint) {
            new.extend(rest.pop_front());
        }
        self.waiting.extend(in_turn(new));
        self.waiting.append(&mut rest);
    }
}

fn of(endpoint: &Endpoint, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Address> {
    let addresses = addresses.into_iter().take(MAX_PER_NAME);
    addresses
        .map(|ip| Address {
            endpoint: endpoint.clone(),
            socket: SocketAddr::new(ip, endpoint.port),
        })
        .collect()
}

/// IPv6 first, then the families in turn (RFC 8305 §4).
fn in_turn(addresses: Vec<Address>) -> Vec<Address> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.socket.is_ipv6());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [v6.next(), v4.next()];
        if pair.iter().all(Option::is_none) {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// What DNS names for the domain, in the order of RFC 2782.
async fn services(
    servers: &[SocketAddr],
    domain: &Name,
    deadline: Instant,
) -> Result<Found, FindError> {
    let nothing = || FindError::Nothing(format!("_dawnkey._tcp.{domain} has no SRV record"));
    let name = domain.below("_dawnkey._tcp").ok_or_else(nothing)?;
    let question = Question {
        name: &name,
        kind: Kind::Srv,
    };
    let records = resolver::ask(servers, question, deadline).await?;
    let mut found: Vec<Srv> = Vec::new();
    for record in records {
        if let Record::Srv(srv) = record {
            found.push(srv);
        }
    }
    if found.is_empty() {
        return Err(nothing());
    }
    let endpoints = ordered(found).into_iter().take(MAX_ENDPOINTS);
    Ok(Found::Endpoints(
        endpoints
            .map(|srv| Endpoint {
                host: srv.target.as_str().to_owned(),
                port: srv.port,
            })
            .collect(),
    ))
}

/// By priority; within one at random by weight.
fn ordered(mut records: Vec<Srv>) -> Vec<Srv> {
    records.sort_by_key(|srv| srv.priority);
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|srv| srv.priority) {
        let group = records.iter().take_while(|srv| srv.priority == priority);
        // A weight of 0 has a small chance too.
        let weights: Vec<u64> = group.map(|srv| 1 + 16 * u64::from(srv.weight)).collect();
        let mut left = (weights.iter().sum::<u64>() * u64::from(random::number())) >> 16;
        let mut chosen = 0;
        for weight in weights {
            if left < weight {
                break;
            }
            left -= weight;
            chosen += 1;
        }
        ordered.push(records.remove(chosen));
    }
    ordered
}

#[cfg(test)]
mod tests;
