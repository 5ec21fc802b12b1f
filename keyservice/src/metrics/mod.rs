//! Counters of the service in Prometheus' text format. `docs/operations.md` says which are worth an alert.

mod series;

use crate::kek::Readiness;
use series::{About, Histogram, Labelled};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

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
    answers: Labelled<2>,
    turned: Labelled<1>,
    admin: Labelled<2>,
    kek_calls: Labelled<3>,
    kek_seconds: Histogram<2>,
    kek_cache: Labelled<1>,
    kek_circuit: Labelled<1>,
    store_calls: Labelled<2>,
    store_seconds: Histogram<1>,
    audit_copies: Labelled<1>,
    reloads: Labelled<2>,
    accepted: AtomicU64,
    open: AtomicI64,
    waiting: AtomicI64,
    verify: Histogram<0>,
    answer: Histogram<0>,
}

impl Metrics {
    /// An answer left: `release`, or `refuse` with its reason.
    pub fn answered(&self, answer: &str, reason: &str, took: Duration) {
        self.answers.add([answer, reason], 1);
        self.answer.observe([], took);
    }

    /// Evidence was verified, with either outcome.
    pub fn verified(&self, took: Duration) {
        self.verify.observe([], took);
    }

    /// A connection was closed before it could ask.
    pub fn turned_away(&self, why: Turned) {
        self.turned.add([why.name()], 1);
    }

    /// An operator's call was answered.
    pub fn administered(&self, call: &str, outcome: &str) {
        self.admin.add([call, outcome], 1);
    }

    /// A call at a provider ended: `ok`, `cancelled` or the code of its cause.
    pub fn kek_called(&self, provider: &str, operation: &str, outcome: &str, took: Duration) {
        self.kek_calls.add([provider, operation, outcome], 1);
        self.kek_seconds.observe([provider, operation], took);
    }

    /// So many DEKs that were wanted so far the cache had, and so many it had not.
    pub fn kek_cached(&self, hits: u64, misses: u64) {
        self.kek_cache.set(["hit"], hits);
        self.kek_cache.set(["miss"], misses);
    }

    /// What is to be expected of a provider now.
    pub fn kek_circuit(&self, provider: &str, readiness: Readiness) {
        let value = match readiness {
            Readiness::Ready => 0,
            Readiness::Trying => 1,
            Readiness::Failing => 2,
            Readiness::Waiting => 3,
        };
        self.kek_circuit.set([provider], value);
    }

    /// A call at the store ended: `ok`, `missing`, `exists`, `conflict` or a failure's name.
    pub fn store_called(&self, operation: &str, outcome: &str, took: Duration) {
        self.store_calls.add([operation, outcome], 1);
        self.store_seconds.observe([operation], took);
    }

    /// So many records were copied to standard output, or not because nobody reads fast enough.
    pub fn audit_copied(&self, sent: bool, records: usize) {
        let outcome = if sent { "sent" } else { "dropped" };
        self.audit_copies.add([outcome], records as u64);
    }

    /// A part of the configuration was read again: `ok`, or `kept` when the one in force stays.
    pub fn reloaded(&self, what: &str, outcome: &str) {
        self.reloads.add([what, outcome], 1);
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
        self.render_nodes(&mut out);
        self.render_ports(&mut out);
        self.render_audit(&mut out, audit_records);
        out
    }

    fn render_nodes(&self, out: &mut String) {
        let about = about("answers_total", "Answers to nodes.");
        self.answers
            .render(out, "counter", about, ["answer", "reason"]);
        let about = self::about(
            "turned_away_total",
            "Connections closed before they could ask.",
        );
        self.turned.render(out, "counter", about, ["why"]);
        let about = self::about("admin_calls_total", "Calls of operators.");
        self.admin
            .render(out, "counter", about, ["call", "outcome"]);
        let accepted = self.accepted.load(Ordering::Relaxed);
        self::about("connections_total", "Connections that passed the limits.")
            .single(out, "counter", accepted);
        let open = self.open.load(Ordering::Relaxed);
        self::about("connections_open", "Open connections.").single(out, "gauge", open);
        let waiting = self.waiting.load(Ordering::Relaxed);
        self::about("queue_waiting", "Requests that wait for verification.")
            .single(out, "gauge", waiting);
        let about = self::about("verify_seconds", "Time to verify evidence.");
        self.verify.render(out, about, []);
        let about = self::about("answer_seconds", "Time from request to answer.");
        self.answer.render(out, about, []);
        let about = self::about("reloads_total", "Parts of the configuration read again.");
        self.reloads
            .render(out, "counter", about, ["what", "outcome"]);
    }

    fn render_ports(&self, out: &mut String) {
        let labels = ["provider", "operation", "outcome"];
        let about = about("kek_calls_total", "Calls at providers of KEKs.");
        self.kek_calls.render(out, "counter", about, labels);
        let about = self::about("kek_seconds", "Time of calls at providers.");
        self.kek_seconds
            .render(out, about, ["provider", "operation"]);
        let about = self::about("kek_cache_total", "DEKs that the cache had or not.");
        self.kek_cache.render(out, "counter", about, ["outcome"]);
        let help = "0: the last call worked; 1: it failed a while ago; 2: it failed just now, others are asked first.";
        let about = self::about("kek_circuit", help);
        self.kek_circuit.render(out, "gauge", about, ["provider"]);
        let about = self::about("store_calls_total", "Calls at the store.");
        self.store_calls
            .render(out, "counter", about, ["operation", "outcome"]);
        let about = self::about("store_seconds", "Time of calls at the store.");
        self.store_seconds.render(out, about, ["operation"]);
    }

    fn render_audit(&self, out: &mut String, records: Option<u64>) {
        let writable = u8::from(records.is_some());
        about("audit_writable", "1 while verdicts can be recorded.").single(out, "gauge", writable);
        if let Some(records) = records {
            about("audit_records", "Number of the newest audit record.")
                .single(out, "gauge", records);
        }
        let about = about("audit_copies_total", "Records copied to standard output.");
        self.audit_copies.render(out, "counter", about, ["outcome"]);
    }
}

const fn about(name: &'static str, help: &'static str) -> About {
    About { name, help }
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
        metrics.kek_called("prod", "unwrap", "ok", Duration::from_millis(20));
        metrics.kek_called("prod", "unwrap", "kek-denied", Duration::from_millis(1));
        metrics.kek_cached(1, 0);
        metrics.kek_circuit("prod", Readiness::Failing);
        metrics.store_called("get", "ok", Duration::from_micros(30));
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
            "dawnkey_kek_calls_total{provider=\"prod\",operation=\"unwrap\",outcome=\"kek-denied\"} 1",
            "dawnkey_kek_seconds_bucket{provider=\"prod\",operation=\"unwrap\",le=\"0.025\"} 2",
            "dawnkey_kek_seconds_count{provider=\"prod\",operation=\"unwrap\"} 2",
            "dawnkey_kek_cache_total{outcome=\"hit\"} 1",
            "dawnkey_kek_circuit{provider=\"prod\"} 2",
            "dawnkey_store_calls_total{operation=\"get\",outcome=\"ok\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn histograms_without_labels_are_there_before_the_first_observation() {
        let text = Metrics::default().render(Some(0));
        assert!(
            text.contains("\ndawnkey_verify_seconds_count 0\n"),
            "{text}"
        );
    }

    #[test]
    fn text_says_when_audit_is_not_writable() {
        let text = Metrics::default().render(None);
        assert!(text.contains("dawnkey_audit_writable 0\n"));
    }
}
