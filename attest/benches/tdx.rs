//! Time of verifying recorded TD quotes, beside dcap-qvl on the same bytes.
//!
//! `cargo bench -p dawnkey-attest --bench tdx`; the evidence folder as in the tests (`DAWNKEY_EVIDENCE`). With
//! `cold`, `warm` or `dcap-qvl` it verifies once, under a name that callgrind can toggle on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

#[path = "../tests/tdx_common/mod.rs"]
mod tdx_common;
mod timing;

use std::path::Path;
use std::time::Duration;

use dawnkey_attest::tdx::{CheckedCollateral, GenuineQuote, TdxCollateral, TdxRoots, verify};
use dawnkey_attest::verify::UnixTime;
use tdx_common::{Case, evidence_dir, qvl, qvl_collateral};
use timing::time;

/// Longest a cold verification may take.
const BUDGET: Duration = Duration::from_micros(2000);
const RUNS: usize = 400;

/// Recorded evidence of one platform.
struct Subject {
    quote: Vec<u8>,
    collateral: TdxCollateral,
    checked: CheckedCollateral,
    roots: TdxRoots,
    root: Vec<u8>,
    now: UnixTime,
}

impl Subject {
    fn new(dir: &Path, id: &str) -> Self {
        let cases = Case::family(dir, "tdx");
        let found = cases.into_iter().find(|case| case.id() == id);
        let case = found.expect("the case");
        let (collateral, roots) = (case.collateral().unwrap(), case.roots());
        Self {
            quote: case.file("quote").unwrap(),
            checked: CheckedCollateral::check(&collateral, &roots).unwrap(),
            collateral,
            roots,
            root: case.file("intel_root").unwrap(),
            now: case.now(),
        }
    }

    #[inline(never)]
    fn measured_cold(&self) {
        verify(&self.quote, Some(&self.collateral), &self.roots, self.now).unwrap();
    }

    #[inline(never)]
    fn measured_warm(&self) {
        let quote = GenuineQuote::check(&self.quote, &self.roots).unwrap();
        quote.judge(&self.checked, self.now).unwrap();
    }

    fn collateral(&self) {
        CheckedCollateral::check(&self.collateral, &self.roots).unwrap();
    }

    /// Theirs; its collateral and roots are read beforehand, as ours are.
    fn theirs(&self) -> impl Fn() {
        let (collateral, verifier) = (qvl_collateral(&self.collateral), qvl(&self.root));
        move || {
            measured_theirs(|| {
                verifier
                    .verify(&self.quote, &collateral, self.now.as_secs())
                    .unwrap();
            })
        }
    }
}

#[inline(never)]
fn measured_theirs(verify: impl Fn()) {
    verify();
}

fn main() {
    let Some(dir) = evidence_dir() else { return };
    let ids = ["tdx/v4-gcp-2026", "tdx/v5-google", "tdx/v4-xeon6-neargas"];
    let first = Subject::new(&dir, ids[0]);
    match std::env::args().nth(1).as_deref() {
        Some("cold") => return first.measured_cold(),
        Some("warm") => return first.measured_warm(),
        Some("dcap-qvl") => return first.theirs()(),
        _ => {}
    }
    println!(
        "{:24} {:>14} {:>14} {:>14} {:>14} {:>12}",
        "TD quote, µs (best)", "cold", "warm", "collateral", "dcap-qvl", "cold/theirs"
    );
    let mut slowest = Duration::ZERO;
    for id in ids {
        let subject = Subject::new(&dir, id);
        let cold = time(RUNS, || subject.measured_cold());
        let theirs = time(RUNS, subject.theirs());
        slowest = slowest.max(cold.1);
        let cell = |(median, best): (Duration, Duration)| {
            format!("{} ({})", median.as_micros(), best.as_micros())
        };
        println!(
            "{id:24} {:>14} {:>14} {:>14} {:>14} {:>12.2}",
            cell(cold),
            cell(time(RUNS, || subject.measured_warm())),
            cell(time(RUNS, || subject.collateral())),
            cell(theirs),
            cold.1.as_secs_f64() / theirs.1.as_secs_f64()
        );
    }
    let verdict = if slowest <= BUDGET {
        "kept"
    } else {
        "EXCEEDED"
    };
    println!("budget of 2000 µs cold: {verdict}");
}
