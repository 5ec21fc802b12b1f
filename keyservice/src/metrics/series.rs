//! The kinds of series, and how each is written in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram's buckets, in milliseconds.
const BUCKETS_MS: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 250, 1000, 5000];

/// Values of labels. They come from enums, from configured names and from nothing else, so that the number of series
/// is bounded.
type Values<const N: usize> = [String; N];

/// A name and a line of help.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// Without `dawnkey_`.
    pub name: &'static str,
    pub help: &'static str,
}

impl About {
    fn head(self, out: &mut String, kind: &str) {
        let Self { name, help } = self;
        let _ = writeln!(
            out,
            "# HELP dawnkey_{name} {help}\n# TYPE dawnkey_{name} {kind}"
        );
    }

    /// One number.
    pub(super) fn single(self, out: &mut String, kind: &str, value: impl std::fmt::Display) {
        self.head(out, kind);
        let _ = writeln!(out, "dawnkey_{} {value}", self.name);
    }
}

/// Numbers by labels: counters, or gauges when they are set.
#[derive(Debug)]
pub(super) struct Labelled<const N: usize>(Mutex<BTreeMap<Values<N>, u64>>);

impl<const N: usize> Default for Labelled<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<const N: usize> Labelled<N> {
    fn change(&self, values: [&str; N], change: impl FnOnce(&mut u64)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(values.map(str::to_owned)).or_default());
    }

    /// Counts `more`.
    pub(super) fn add(&self, values: [&str; N], more: u64) {
        self.change(values, |count| *count += more);
    }

    /// Sets a gauge.
    pub(super) fn set(&self, values: [&str; N], value: u64) {
        self.change(values, |now| *now = value);
    }

    /// Writes all of them as a `counter` or `gauge`; an empty value leaves its label out.
    pub(super) fn render(&self, out: &mut String, kind: &str, about: About, labels: [&str; N]) {
        about.head(out, kind);
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (values, number) in all.iter() {
            let labels = pairs(&labels, values);
            let _ = writeln!(out, "dawnkey_{}{{{labels}}} {number}", about.name);
        }
    }
}

fn pairs(labels: &[&str], values: &[String]) -> String {
    let given = labels.iter().zip(values).filter(|(_, v)| !v.is_empty());
    let pairs: Vec<String> = given.map(|(l, v)| format!("{l}=\"{v}\"")).collect();
    pairs.join(",")
}

#[derive(Debug, Default, Clone, Copy)]
struct Times {
    buckets: [u64; BUCKETS_MS.len()],
    count: u64,
    sum: Duration,
}

/// Times by labels.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize>(Mutex<BTreeMap<Values<N>, Times>>);

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<const N: usize> Histogram<N> {
    /// Something took so long.
    pub(super) fn observe(&self, values: [&str; N], took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = all.entry(values.map(str::to_owned)).or_default();
        for (bucket, bound) in times.buckets.iter_mut().zip(BUCKETS_MS) {
            *bucket += u64::from(took <= Duration::from_millis(bound));
        }
        times.count += 1;
        times.sum += took;
    }

    /// Writes all of them; without labels also before the first observation.
    pub(super) fn render(&self, out: &mut String, about: About, labels: [&str; N]) {
        about.head(out, "histogram");
        let mut all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if N == 0 && all.is_empty() {
            all.insert(std::array::from_fn(|_| String::new()), Times::default());
        }
        for (values, times) in &all {
            one(out, about.name, &pairs(&labels, values), times);
        }
    }
}

fn one(out: &mut String, name: &str, labels: &str, times: &Times) {
    let (before, alone) = match labels {
        "" => (String::new(), String::new()),
        some => (format!("{some},"), format!("{{{some}}}")),
    };
    for (count, bound) in times.buckets.iter().zip(BUCKETS_MS) {
        let (whole, rest) = (bound / 1000, bound % 1000);
        let _ = writeln!(
            out,
            "dawnkey_{name}_bucket{{{before}le=\"{whole}.{rest:03}\"}} {count}"
        );
    }
    let (count, sum) = (times.count, times.sum.as_secs_f64());
    let _ = writeln!(
        out,
        "dawnkey_{name}_bucket{{{before}le=\"+Inf\"}} {count}\n\
         dawnkey_{name}_sum{alone} {sum}\n\
         dawnkey_{name}_count{alone} {count}"
    );
}
