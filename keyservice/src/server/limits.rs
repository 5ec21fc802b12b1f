//! What a stranger may do before the service has spent anything on him: a rate and a number of connections per peer.
//!
//! A peer is an IPv4 address or an IPv6 /64.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Most peers that are told apart; beyond them strangers share one bucket.
const MAX_PEERS: usize = 1 << 14;

/// Who connects, as far as limits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    V4([u8; 4]),
    V6([u8; 8]),
    Everybody,
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// A token bucket per peer, bounded in memory.
#[derive(Debug)]
pub struct RateLimit {
    per_minute: f64,
    buckets: Mutex<HashMap<Peer, Bucket>>,
}

impl RateLimit {
    /// Lets every peer through so many times a minute, all of them at once if it likes.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute: per_minute.into(),
            buckets: Mutex::default(),
        }
    }

    /// Whether the peer may connect now.
    pub fn allows(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut peer = Peer::from(address);
        if !buckets.contains_key(&peer) && buckets.len() >= MAX_PEERS {
            let full = |b: &Bucket| self.level(b, now) >= self.per_minute;
            buckets.retain(|_, bucket| !full(bucket));
            if buckets.len() >= MAX_PEERS {
                peer = Peer::Everybody;
            }
        }
        let bucket = buckets.entry(peer).or_insert(Bucket {
            tokens: self.per_minute,
            filled: now,
        });
        bucket.tokens = self.level(bucket, now);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn level(&self, bucket: &Bucket, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        (bucket.tokens + elapsed * self.per_minute / 60.0).min(self.per_minute)
    }
}

/// Caps on open connections, in all and per peer.
#[derive(Debug)]
pub struct ConnectionCap {
    total: usize,
    per_peer: usize,
    open: Mutex<HashMap<Peer, usize>>,
}

/// A place among the open connections; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    cap: Arc<ConnectionCap>,
    peer: Peer,
}

impl ConnectionCap {
    /// At most `total` open connections, of which any peer has at most `per_peer`.
    #[must_use]
    pub fn new(total: usize, per_peer: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_peer,
            open: Mutex::default(),
        })
    }

    /// Takes a place, if there is one.
    #[must_use]
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = Peer::from(address);
        if open.values().sum::<usize>() >= self.total {
            return None;
        }
        let own = open.entry(peer).or_default();
        if *own >= self.per_peer {
            return None;
        }
        *own += 1;
        Some(Place {
            cap: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.cap.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.peer) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn refuses_a_peer_beyond_its_rate_and_lets_it_in_later() {
        let (limit, now) = (RateLimit::new(60), Instant::now());
        assert_eq!(
            (0..100)
                .filter(|_| limit.allows(ip("10.0.0.1"), now))
                .count(),
            60
        );
        assert!(limit.allows(ip("10.0.0.2"), now));
        let later = now + Duration::from_secs(2);
        assert_eq!(
            (0..100)
                .filter(|_| limit.allows(ip("10.0.0.1"), later))
                .count(),
            2
        );
    }

    #[test]
    fn counts_an_ipv6_network_and_a_mapped_address_as_one_peer() {
        let (limit, now) = (RateLimit::new(1), Instant::now());
        assert!(limit.allows(ip("2001:db8::1"), now));
        assert!(!limit.allows(ip("2001:db8::ffff:2"), now));
        assert!(limit.allows(ip("2001:db8:0:1::1"), now));
        assert!(limit.allows(ip("10.0.0.1"), now));
        assert!(!limit.allows(ip("::ffff:10.0.0.1"), now));
    }

    #[test]
    fn memory_is_bounded_however_many_strangers_come() {
        let (limit, now) = (RateLimit::new(2), Instant::now());
        for n in 0..u32::try_from(MAX_PEERS).unwrap() + 100 {
            limit.allows(IpAddr::V4(n.into()), now);
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_PEERS + 1);
        assert!(
            !limit.allows(ip("200.0.0.1"), now),
            "strangers share a bucket"
        );
        let later = now + Duration::from_secs(120);
        assert!(limit.allows(ip("200.0.0.1"), later));
    }

    #[test]
    fn caps_open_connections_per_peer_and_in_all() {
        let cap = ConnectionCap::new(3, 2);
        let first = cap.take(ip("10.0.0.1")).unwrap();
        let _second = cap.take(ip("10.0.0.1")).unwrap();
        assert!(cap.take(ip("10.0.0.1")).is_none());
        let _third = cap.take(ip("10.0.0.2")).unwrap();
        assert!(cap.take(ip("10.0.0.3")).is_none());
        drop(first);
        assert!(cap.take(ip("10.0.0.3")).is_some());
        assert_eq!(cap.open.lock().unwrap().len(), 2);
    }
}
