//! Time of verifying recorded TD quotes, beside dcap-qvl on the same bytes.
//!
//! `cargo bench -p dawnkey-attest --bench tdx`; the evidence folder as in the tests (`DAWNKEY_EVIDENCE`).
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

use std::time::{Duration, Instant};

use dawnkey_attest::tdx::{CheckedCollateral, GenuineQuote, verify};
use tdx_common::{Case, evidence_dir, qvl, qvl_collateral};

/// Median and best of `runs` runs.
fn time<T>(runs: usize, mut run: impl FnMut() -> T) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(run());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    (
        times.get(runs / 2).copied().unwrap_or_default(),
        times.first().copied().unwrap_or_default(),
    )
}

fn main() {
    let Some(dir) = evidence_dir() else { return };
    println!(
        "{:24} {:>22} {:>22} {:>22} {:>22}",
        "median (best), µs", "cold", "warm", "collateral", "dcap-qvl"
    );
    for id in ["tdx/v4-gcp-2026", "tdx/v5-google", "tdx/v4-xeon6-neargas"] {
        let cases = Case::family(&dir, "tdx");
        let case = cases
            .into_iter()
            .find(|case| case.id() == id)
            .expect("the case");
        let (quote, collateral, roots) = (
            case.file("quote").unwrap(),
            case.collateral().unwrap(),
            case.roots(),
        );
        let checked = CheckedCollateral::check(&collateral, &roots).unwrap();
        let now = case.now();
        let runs = 400;
        let cold = time(runs, || {
            verify(&quote, Some(&collateral), &roots, now).unwrap()
        });
        let warm = time(runs, || {
            GenuineQuote::check(&quote, &roots)
                .unwrap()
                .judge(&checked, now)
                .unwrap()
        });
        let check = time(runs, || {
            CheckedCollateral::check(&collateral, &roots).unwrap()
        });
        let other = qvl_collateral(&collateral);
        let root = case.file("intel_root").unwrap();
        let verifier = qvl(&root);
        let qvl = time(runs, || {
            verifier.verify(&quote, &other, now.as_secs()).unwrap()
        });
        let cell = |(median, best): (Duration, Duration)| {
            format!("{} ({})", median.as_micros(), best.as_micros())
        };
        println!(
            "{id:24} {:>22} {:>22} {:>22} {:>22}",
            cell(cold),
            cell(warm),
            cell(check),
            cell(qvl)
        );
    }
}
