//! How often a vendor's service is asked: a rate for each host, and a pause after it failed.
//!
//! A pause doubles with each failure, from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`], and is drawn from its upper half, so
//! that a fleet of services does not come back in step. A `Retry-After` of the server is waited for in full, up to
//! [`LONGEST_ORDER`].

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// First pause after a failure.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause that is chosen here.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Longest pause that a server may order.
pub const LONGEST_ORDER: Duration = Duration::from_secs(6 * 3600);
/// Requests that may be made at once after a quiet time.
const BURST: u32 = 10;
/// Time after which one more request may be made.
const REFILL: Duration = Duration::from_secs(1);
/// Requests of a burst that are kept for what every node needs; looking up a single chip does not take them.
const KEPT: u32 = 4;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// One chip's certificate: evidence that is not yet verified may have asked for it.
    Chip,
    /// Something that many nodes share.
    Shared,
}

/// Paces of all hosts.
#[derive(Debug, Default)]
pub struct Pace {
    hosts: Mutex<HashMap<String, Host>>,
}

#[derive(Debug)]
struct Host {
    failures: u32,
    paused_until: Option<Instant>,
    tokens: u32,
    refilled: Instant,
}

impl Host {
    fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            paused_until: None,
            tokens: BURST,
            refilled: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        let earned = u32::try_from(passed.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if self.tokens.saturating_add(earned) >= BURST {
            self.tokens = BURST;
            self.refilled = now;
        } else {
            self.tokens += earned;
            self.refilled += REFILL * earned;
        }
    }
}

impl Pace {
    /// Takes leave to ask `host` now.
    ///
    /// # Errors
    /// How long to wait before asking for leave again.
    pub fn admit(&self, host: &str, purpose: Use, now: Instant) -> Result<(), Duration> {
        let mut hosts = self.hosts();
        let state = hosts
            .entry(host.to_owned())
            .or_insert_with(|| Host::new(now));
        if let Some(until) = state.paused_until.filter(|until| *until > now) {
            return Err(until - now);
        }
        state.refill(now);
        let least = match purpose {
            Use::Chip => KEPT,
            Use::Shared => 0,
        };
        if state.tokens <= least {
            return Err(REFILL.saturating_sub(now.saturating_duration_since(state.refilled)));
        }
        state.tokens -= 1;
        Ok(())
    }

    /// The host failed; with what its `Retry-After` says, if anything.
    pub fn failed(&self, host: &str, ordered: Option<Duration>, now: Instant) {
        let mut hosts = self.hosts();
        let state = hosts
            .entry(host.to_owned())
            .or_insert_with(|| Host::new(now));
        let chosen = FIRST_PAUSE
            .saturating_mul(1 << state.failures.min(16))
            .min(LONGEST_PAUSE);
        state.failures = state.failures.saturating_add(1);
        let pause = jittered(chosen).max(ordered.unwrap_or_default().min(LONGEST_ORDER));
        // A pause that was ordered is not cut short by a request that was under way meanwhile.
        let until = now + pause;
        state.paused_until = Some(state.paused_until.map_or(until, |before| before.max(until)));
    }

    /// The host answered.
    pub fn answered(&self, host: &str) {
        if let Some(state) = self.hosts().get_mut(host) {
            state.failures = 0;
            state.paused_until = None;
        }
    }

    /// Hosts that are not asked at the moment, and for how long.
    #[must_use]
    pub fn pauses(&self, now: Instant) -> Vec<(String, Duration)> {
        let hosts = self.hosts();
        let mut pauses: Vec<_> = hosts
            .iter()
            .map(|(host, state)| {
                let left = state
                    .paused_until
                    .map(|until| until.saturating_duration_since(now));
                (host.clone(), left.unwrap_or_default())
            })
            .collect();
        pauses.sort();
        pauses
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time between half of `longest` and `longest`. Chance here only keeps services apart, so a hasher's seed will do.
#[must_use]
pub fn jittered(longest: Duration) -> Duration {
    let half = longest / 2;
    let drawn = RandomState::new().hash_one(0u8) % 1024;
    half + half.mul_f64(f64::from(u32::try_from(drawn).unwrap_or_default()) / 1024.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOST: &str = "vendor.example";

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_limit_and_end_with_an_answer() {
        let pace = Pace::default();
        for exponent in 0..12 {
            let now = Instant::now();
            pace.failed(HOST, None, now);
            let chosen = (FIRST_PAUSE * (1 << exponent)).min(LONGEST_PAUSE);
            let wait = pace.admit(HOST, Use::Shared, now).unwrap_err();
            assert!(wait >= chosen / 2 && wait <= chosen, "{exponent}: {wait:?}");
            tokio::time::advance(wait).await;
        }
        assert_eq!(pace.admit(HOST, Use::Shared, Instant::now()), Ok(()));
        pace.failed(HOST, None, Instant::now());
        pace.answered(HOST);
        assert_eq!(pace.admit(HOST, Use::Shared, Instant::now()), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_orders_is_waited_for() {
        let pace = Pace::default();
        let (now, ordered) = (Instant::now(), Duration::from_secs(900));
        pace.failed(HOST, Some(ordered), now);
        pace.failed(HOST, None, now);
        assert_eq!(pace.admit(HOST, Use::Shared, now), Err(ordered));
        assert_eq!(pace.admit("other.example", Use::Shared, now), Ok(()));
        pace.failed(HOST, Some(Duration::MAX), now);
        assert_eq!(pace.admit(HOST, Use::Shared, now), Err(LONGEST_ORDER));
    }

    #[tokio::test(start_paused = true)]
    async fn looking_up_chips_leaves_requests_for_what_all_need() {
        let pace = Pace::default();
        let now = Instant::now();
        let chips = (0..100).filter(|_| pace.admit(HOST, Use::Chip, now).is_ok());
        assert_eq!(chips.count() as u32, BURST - KEPT);
        let shared = (0..100).filter(|_| pace.admit(HOST, Use::Shared, now).is_ok());
        assert_eq!(shared.count() as u32, KEPT);
        let wait = pace.admit(HOST, Use::Shared, now).unwrap_err();
        tokio::time::advance(wait).await;
        assert_eq!(pace.admit(HOST, Use::Shared, Instant::now()), Ok(()));
        assert!(pace.admit(HOST, Use::Chip, Instant::now()).is_err());
    }
}
