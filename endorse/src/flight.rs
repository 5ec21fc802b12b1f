//! Fetching an item: once at a time for each, in a task of its own, within the pace of its host.
//!
//! Whoever waits may give up; the fetch goes on and the store has the item for the next one who asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::item::Item;
use crate::pace::{Pace, jittered};
use crate::service::Endorsements;
use crate::store::{Put, StoreError};
use crate::vendor::{FetchError, fetch};

/// Most items that are fetched at the same time.
const MAX_FLIGHTS: usize = 32;
/// Most items remembered that their vendor did not have.
const MAX_DENIED: usize = 4096;
/// How long an item is not asked for again after its vendor did not have it, or answered nonsense.
const DENIED_FOR: Duration = Duration::from_secs(900);

/// What became of a fetch.
pub type Fetched = Result<Put, FetchError>;

/// Fetches under way, and what was learnt from those before.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    pub pace: Pace,
    under_way: Mutex<HashMap<Item, watch::Receiver<Option<Fetched>>>>,
    denied: Mutex<HashMap<Item, Instant>>,
}

impl Flights {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Item, watch::Receiver<Option<Fetched>>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn denied(&self) -> MutexGuard<'_, HashMap<Item, Instant>> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the item is not asked for again, if it was not to be had.
    fn denial(&self, item: &Item, now: Instant) -> Option<Duration> {
        let mut denied = self.denied();
        denied.retain(|_, until| *until > now);
        denied
            .get(item)
            .map(|until| until.saturating_duration_since(now))
    }

    fn deny(&self, item: &Item, now: Instant) {
        let mut denied = self.denied();
        if denied.len() < MAX_DENIED {
            denied.insert(item.clone(), now + jittered(DENIED_FOR));
        }
    }
}

/// A fetch that was begun, by whomever.
pub(crate) struct Flight(Result<watch::Receiver<Option<Fetched>>, FetchError>);

impl Flight {
    /// Waits for its end.
    pub async fn landed(self) -> Fetched {
        let mut receiver = self.0?;
        let landed = receiver.wait_for(Option::is_some).await;
        let broken = || FetchError::Store("the fetch broke off".into());
        landed
            .ok()
            .and_then(|outcome| outcome.clone())
            .unwrap_or_else(|| Err(broken()))
    }
}

impl Endorsements {
    /// Begins to fetch an item, or joins those who wait for it already.
    pub(crate) fn begin(self: &Arc<Self>, item: &Item) -> Flight {
        let mut under_way = self.flights.under_way();
        if let Some(receiver) = under_way.get(item) {
            return Flight(Ok(receiver.clone()));
        }
        if let Err(error) = self.may_fetch(item, under_way.len()) {
            self.counters.fetched(item.class(), error.name());
            return Flight(Err(error));
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(item.clone(), receiver.clone());
        let (this, item) = (Arc::clone(self), item.clone());
        tokio::spawn(async move {
            let landing = Landing {
                of: Arc::clone(&this),
                item: item.clone(),
            };
            let fetched = this.fetch_now(&item).await;
            let name = fetched
                .as_ref()
                .map_or_else(FetchError::name, |_| "fetched");
            this.counters.fetched(item.class(), name);
            // Taken off first: whoever comes now begins anew.
            drop(landing);
            sender.send_replace(Some(fetched));
        });
        Flight(Ok(receiver))
    }

    /// Takes leave for one request.
    fn may_fetch(&self, item: &Item, under_way: usize) -> Result<(), FetchError> {
        let item = || item.clone();
        let Some(online) = &self.online else {
            return Err(FetchError::Offline { item: item() });
        };
        let Some(ask) = online.services.ask(&item()) else {
            return Err(FetchError::NotPublished { item: item() });
        };
        let paused = |wait| FetchError::Paused {
            item: item(),
            host: ask.base.host().to_owned(),
            wait,
        };
        let now = Instant::now();
        if let Some(wait) = self.flights.denial(&item(), now) {
            return Err(paused(wait));
        }
        if under_way >= MAX_FLIGHTS {
            return Err(paused(Duration::from_secs(1)));
        }
        let admitted = self.flights.pace.admit(ask.base.host(), ask.purpose, now);
        admitted.map_err(paused)
    }

    async fn fetch_now(self: &Arc<Self>, item: &Item) -> Fetched {
        let Some(online) = &self.online else {
            return Err(FetchError::Offline { item: item.clone() });
        };
        let Some(ask) = online.services.ask(item) else {
            return Err(FetchError::NotPublished { item: item.clone() });
        };
        let helpers = self.store.all_helpers().unwrap_or_default();
        let (host, trust) = (ask.base.host(), self.store.trust());
        let now = (self.clock)();
        let found = fetch(&online.client, &ask, item, &trust, helpers, now).await;
        let flights = &self.flights;
        match &found {
            Err(error) if error.is_of_host() => {
                flights
                    .pace
                    .failed(host, error.retry_after(), Instant::now());
            }
            Err(_) => {
                flights.pace.answered(host);
                flights.deny(item, Instant::now());
            }
            Ok(_) => flights.pace.answered(host),
        }
        let (this, item, found) = (Arc::clone(self), item.clone(), found?);
        let stored = tokio::task::spawn_blocking(move || {
            let now = this.now();
            let mut put = Put::Unchanged;
            // What came along, an ARK beside its ASK, is kept too; only the item itself decides the outcome.
            for checked in &found {
                match this.store.put(checked, now) {
                    Ok(done) if checked.item == item => put = done,
                    Err(error) if checked.item == item => return Err(error),
                    _ => {}
                }
            }
            Ok(put)
        });
        match stored.await {
            Ok(Ok(put)) => Ok(put),
            Ok(Err(error @ StoreError::Older { .. })) => Err(FetchError::Older(error.to_string())),
            Ok(Err(error)) => Err(FetchError::Store(error.to_string())),
            Err(error) => Err(FetchError::Store(error.to_string())),
        }
    }
}

/// Takes a flight off the list, however its task ends.
struct Landing {
    of: Arc<Endorsements>,
    item: Item,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.of.flights.under_way().remove(&self.item);
    }
}
