//! Counters of the service in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram's buckets, in milliseconds.
const BUCKETS_MS: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 250, 1000, 5000];

/// Counts by one or two labels. The labels come from enums, so the number of series is bounded.
#[derive(Debug, Default)]
struct Labelled(Mutex<BTreeMap<(String, String), u64>>);

impl Labelled {
    fn add(&self, first: &str, second: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry((first.to_owned(), second.to_owned()))
            .or_default() += 1;
    }

    fn snapshot(&self) -> BTreeMap<(String, String), u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS_MS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let millis = took.as_secs_f64() * 1e3;
        for (bucket, bound) in self.buckets.iter().zip(BUCKETS_MS) {
            #[allow(clippy::cast_precision_loss)] // bounds are small
            if millis <= bound as f64 {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Why a connection was closed before it could ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// Its peer opened too many in a minute.
    RateLimited,
    /// Its peer, or everybody together, has too many open.
    TooMany,
    /// Its TLS handshake failed or took too long.
    Handshake,
}

impl Turned {
    const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate-limited",
            Self::TooMany => "too-many",
            Self::Handshake => "handshake",
        }
    }
}

/// All counters.
#[derive(Debug, Default)]
pub struct Metrics {
    answers: Labelled,
    turned: Labelled,
    admin: Labelled,
    accepted: AtomicU64,
    open: AtomicI64,
    waiting: AtomicI64,
    verify: Histogram,
    answer: Histogram,
}

impl Metrics {
    /// An answer left: `release`, or `refuse` with its reason.
    pub fn answered(&self, answer: &str, reason: &str, took: Duration) {
        self.answers.add(answer, reason);
        self.answer.observe(took);
    }

    /// Evidence was verified, with either outcome.
    pub fn verified(&self, took: Duration) {
        self.verify.observe(took);
    }

    /// A connection was closed before it could ask.
    pub fn turned_away(&self, why: Turned) {
        self.turned.add(why.name(), "");
    }

    /// An operator's call was answered.
    pub fn administered(&self, call: &str, outcome: &str) {
        self.admin.add(call, outcome);
    }

    /// A connection passed the limits.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// One connection more or less is open.
    pub fn open(&self, change: i64) {
        self.open.fetch_add(change, Ordering::Relaxed);
    }

    /// One request more or less waits for verification.
    pub fn waiting(&self, change: i64) {
        self.waiting.fetch_add(change, Ordering::Relaxed);
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn render(&self, audit_records: Option<u64>) -> String {
        let mut out = String::new();
        let (a, t, m) = (&self.answers, &self.turned, &self.admin);
        labelled(
            &mut out,
            "answers_total",
            "Answers to nodes.",
            a,
            ["answer", "reason"],
        );
        labelled(
            &mut out,
            "turned_away_total",
            "Connections closed before they could ask.",
            t,
            ["why", ""],
        );
        labelled(
            &mut out,
            "admin_calls_total",
            "Calls of operators.",
            m,
            ["call", "outcome"],
        );
        let accepted = self.accepted.load(Ordering::Relaxed);
        single(
            &mut out,
            "connections_total",
            "counter",
            "Connections that passed the limits.",
            accepted,
        );
        let open = self.open.load(Ordering::Relaxed);
        single(
            &mut out,
            "connections_open",
            "gauge",
            "Open connections.",
            open,
        );
        let waiting = self.waiting.load(Ordering::Relaxed);
        single(
            &mut out,
            "queue_waiting",
            "gauge",
            "Requests that wait for verification.",
            waiting,
        );
        let writable = u8::from(audit_records.is_some());
        single(
            &mut out,
            "audit_writable",
            "gauge",
            "1 while verdicts can be recorded.",
            writable,
        );
        if let Some(records) = audit_records {
            single(
                &mut out,
                "audit_records",
                "gauge",
                "Number of the newest audit record.",
                records,
            );
        }
        histogram(
            &mut out,
            "verify_seconds",
            "Time to verify evidence.",
            &self.verify,
        );
        histogram(
            &mut out,
            "answer_seconds",
            "Time from request to answer.",
            &self.answer,
        );
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP dawnkey_{name} {help}\n# TYPE dawnkey_{name} {kind}"
    );
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, kind, help);
    let _ = writeln!(out, "dawnkey_{name} {value}");
}

fn labelled(out: &mut String, name: &str, help: &str, counts: &Labelled, labels: [&str; 2]) {
    head(out, name, "counter", help);
    let [first, second] = labels;
    for ((a, b), count) in counts.snapshot() {
        let second = match (second, b.as_str()) {
            ("", _) | (_, "") => String::new(),
            (label, value) => format!(",{label}=\"{value}\""),
        };
        let _ = writeln!(out, "dawnkey_{name}{{{first}=\"{a}\"{second}}} {count}");
    }
}

fn histogram(out: &mut String, name: &str, help: &str, histogram: &Histogram) {
    head(out, name, "histogram", help);
    for (bucket, bound) in histogram.buckets.iter().zip(BUCKETS_MS) {
        let count = bucket.load(Ordering::Relaxed);
        let (whole, rest) = (bound / 1000, bound % 1000);
        let _ = writeln!(
            out,
            "dawnkey_{name}_bucket{{le=\"{whole}.{rest:03}\"}} {count}"
        );
    }
    let count = histogram.count.load(Ordering::Relaxed);
    let sum = Duration::from_micros(histogram.micros.load(Ordering::Relaxed)).as_secs_f64();
    let _ = writeln!(out, "dawnkey_{name}_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(
        out,
        "dawnkey_{name}_sum {sum}\ndawnkey_{name}_count {count}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_counters_gauges_and_histograms() {
        let metrics = Metrics::default();
        metrics.answered("release", "", Duration::from_millis(3));
        metrics.answered("refuse", "pcr-mismatch", Duration::from_millis(30));
        metrics.turned_away(Turned::RateLimited);
        metrics.verified(Duration::from_millis(7));
        metrics.open(1);
        let text = metrics.render(Some(9));
        for line in [
            "dawnkey_answers_total{answer=\"release\"} 1",
            "dawnkey_answers_total{answer=\"refuse\",reason=\"pcr-mismatch\"} 1",
            "dawnkey_turned_away_total{why=\"rate-limited\"} 1",
            "dawnkey_connections_open 1",
            "dawnkey_audit_writable 1",
            "dawnkey_audit_records 9",
            "dawnkey_verify_seconds_bucket{le=\"0.005\"} 0",
            "dawnkey_verify_seconds_bucket{le=\"0.010\"} 1",
            "dawnkey_answer_seconds_bucket{le=\"+Inf\"} 2",
            "dawnkey_answer_seconds_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn text_says_when_audit_is_not_writable() {
        let text = Metrics::default().render(None);
        assert!(text.contains("dawnkey_audit_writable 0\n"));
    }
}
