//! Looks over the store from time to time: what ends when, and what is to be fetched again before that.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dawnkey_attest::snp::certs::rfc3339;
use tokio::time::Instant;

use crate::item::{Class, Item};
use crate::pace::jittered;
use crate::service::Endorsements;

/// Longest time between two surveys.
const LONGEST_TICK: Duration = Duration::from_secs(600);
/// Most warnings that are told one by one.
const MAX_WARNINGS: usize = 20;

/// What a survey found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Every item and the last second of its validity.
    pub ends: Vec<(Item, u64)>,
    /// Why files are not used.
    pub refused: Vec<String>,
}

impl Survey {
    /// The first end in each class.
    pub fn first_ends(&self) -> BTreeMap<Class, u64> {
        let mut first = BTreeMap::new();
        for (item, until) in &self.ends {
            let end = first.entry(item.class()).or_insert(*until);
            *end = (*end).min(*until);
        }
        first
    }

    /// Items by class and state at `now`.
    pub fn states(&self, now: u64) -> BTreeMap<(Class, &'static str), usize> {
        let mut states = BTreeMap::new();
        for (item, until) in &self.ends {
            let class = item.class();
            let state = match *until {
                until if until < now => "expired",
                until if until - now < class.warn_before() => "ending",
                _ => "usable",
            };
            *states.entry((class, state)).or_default() += 1;
        }
        states
    }
}

/// The last survey, and when items were last asked for.
#[derive(Debug, Default)]
pub(crate) struct Surveyed {
    last: Mutex<Arc<Survey>>,
    asked: Mutex<HashMap<Item, Instant>>,
}

impl Surveyed {
    pub fn last(&self) -> Arc<Survey> {
        Arc::clone(&self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Endorsements {
    /// Surveys the store.
    pub async fn survey(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let surveyed = tokio::task::spawn_blocking(move || {
            let mut survey = Survey::default();
            match this.store.list(this.now()) {
                Ok(listed) => {
                    for file in listed {
                        match file.outcome {
                            Ok(checked) => survey.ends.push((checked.item.clone(), checked.until)),
                            Err(error) => survey.refused.push(error.to_string()),
                        }
                    }
                }
                Err(error) => survey.refused.push(error.to_string()),
            }
            *this
                .surveyed
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(survey);
        });
        // It fails only when the runtime stops.
        let _ = surveyed.await;
    }

    /// Keeps the store fresh, for as long as it is polled: surveys it, and fetches again what is due.
    pub async fn keep_fresh(self: Arc<Self>) {
        let tick = LONGEST_TICK
            .min(self.refresh / 4)
            .max(Duration::from_secs(1));
        loop {
            self.survey().await;
            if self.online.is_some() && self.fetch_due().await {
                self.survey().await;
            }
            tokio::time::sleep(jittered(tick)).await;
        }
    }

    /// Fetches what is due, one after the other; tells whether there was anything.
    async fn fetch_due(self: &Arc<Self>) -> bool {
        let due = self.due(Instant::now());
        for item in &due {
            let outcome = self.begin(item).landed().await;
            // A fetch that failed is due again at the next survey, as its host's pause allows.
            if outcome.is_ok() {
                let again = Instant::now() + jittered(self.refresh);
                self.asked().insert(item.clone(), again);
            }
        }
        !due.is_empty()
    }

    /// Items that their vendor makes anew every few weeks, and certificates near their end.
    fn due(&self, now: Instant) -> Vec<Item> {
        let seen = self.surveyed.last();
        let asked = self.asked();
        let wall = self.now();
        let ends = seen.ends.iter().filter(|(item, until)| {
            let class = item.class();
            class.is_dated() || until.saturating_sub(wall) < class.warn_before()
        });
        ends.map(|(item, _)| item)
            .filter(|item| asked.get(item).is_none_or(|again| *again <= now))
            .filter(|item| {
                let online = self.online.as_ref();
                online.is_some_and(|online| online.services.ask(item).is_some())
            })
            .cloned()
            .collect()
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, HashMap<Item, Instant>> {
        self.surveyed
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What an operator should know, as of the last survey: what ended, what ends soon, which files are refused.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let (seen, now) = (self.surveyed.last(), self.now());
        let mut ends: Vec<_> = seen
            .ends
            .iter()
            .filter(|(item, until)| until.saturating_sub(now) < item.class().warn_before())
            .collect();
        ends.sort_by_key(|(_, until)| *until);
        let ends = ends.into_iter().map(|(item, until)| {
            let (when, days) = (rfc3339(*until), until.abs_diff(now) / 86_400);
            match *until < now {
                true => format!("the {item} ended {when}, {days} days ago"),
                false => format!("the {item} ends {when}, in {days} days"),
            }
        });
        let mut all: Vec<String> = ends.chain(seen.refused.iter().cloned()).collect();
        if all.len() > MAX_WARNINGS {
            let more = all.len() - MAX_WARNINGS;
            all.truncate(MAX_WARNINGS);
            all.push(format!(
                "and {more} more; `dawnkey endorsements list` has all"
            ));
        }
        all
    }
}
