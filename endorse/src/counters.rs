//! Counts and gauges in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::item::Class;
use crate::service::Endorsements;

/// Counts by class and outcome.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    fetches: Mutex<BTreeMap<(Class, &'static str), u64>>,
    missed: Mutex<BTreeMap<Class, u64>>,
}

impl Counters {
    /// A fetch ended, or was not begun.
    pub fn fetched(&self, class: Class, outcome: &'static str) {
        let mut all = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry((class, outcome)).or_default() += 1;
    }

    /// Evidence was judged without an item that it needs.
    pub fn missed(&self, class: Class) {
        let mut all = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry(class).or_default() += 1;
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP dawnkey_{name} {help}\n# TYPE dawnkey_{name} {kind}"
    );
}

impl Endorsements {
    /// Metrics in Prometheus' text format, version 0.0.4, as of the last survey of the store.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut out = String::new();
        let now = self.now();
        let seen = self.surveyed.last();
        head(
            &mut out,
            "endorsement_expiry_seconds",
            "gauge",
            "Time until the first endorsement of a class ends; negative after that.",
        );
        for (class, until) in seen.first_ends() {
            let left = i128::from(until) - i128::from(now);
            let _ = writeln!(
                out,
                "dawnkey_endorsement_expiry_seconds{{class=\"{}\"}} {left}",
                class.name()
            );
        }
        head(
            &mut out,
            "endorsements",
            "gauge",
            "Endorsements in the store, by state.",
        );
        for ((class, state), count) in seen.states(now) {
            let class = class.name();
            let _ = writeln!(
                out,
                "dawnkey_endorsements{{class=\"{class}\",state=\"{state}\"}} {count}"
            );
        }
        let refused = seen.refused.len();
        let _ = writeln!(
            out,
            "dawnkey_endorsements{{class=\"unknown\",state=\"refused\"}} {refused}"
        );
        self.fetch_metrics(&mut out);
        out
    }

    fn fetch_metrics(&self, out: &mut String) {
        let counters = &self.counters;
        head(
            out,
            "endorsement_fetches_total",
            "counter",
            "Fetches from vendors' services, by outcome.",
        );
        let fetches = counters
            .fetches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for ((class, outcome), count) in fetches.iter() {
            let class = class.name();
            let _ = writeln!(
                out,
                "dawnkey_endorsement_fetches_total{{class=\"{class}\",outcome=\"{outcome}\"}} {count}"
            );
        }
        drop(fetches);
        head(
            out,
            "endorsements_missing_total",
            "counter",
            "Endorsements that evidence needed and nobody had.",
        );
        let missed = counters
            .missed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (class, count) in missed.iter() {
            let class = class.name();
            let _ = writeln!(
                out,
                "dawnkey_endorsements_missing_total{{class=\"{class}\"}} {count}"
            );
        }
        drop(missed);
        head(
            out,
            "endorsement_pause_seconds",
            "gauge",
            "Time for which a host is not asked, after it failed.",
        );
        for (host, left) in self.flights.pace.pauses(Instant::now()) {
            let left = left.as_secs();
            let _ = writeln!(
                out,
                "dawnkey_endorsement_pause_seconds{{host=\"{host}\"}} {left}"
            );
        }
    }
}
