//! Time of verifying an SNP report, against its budgets.
//!
//! `cargo bench -p dawnkey-attest --bench snp`. For instruction counts:
//! `valgrind --tool=callgrind --toggle-collect='*measured*' BENCH cold|warm|crl`. `attest/beside-sev` compares with
//! the `sev` crate.
#![allow(clippy::print_stdout)]

mod snp_common;

use std::time::Duration;

use dawnkey_attest::snp::verify::ChainCache;
use snp_common::{Evidence, time};

/// Longest a cold and a warm verification may take.
const BUDGETS: [Duration; 2] = [Duration::from_micros(600), Duration::from_micros(300)];

fn main() {
    let evidence = Evidence::new();
    let cache = ChainCache::new();
    match std::env::args().nth(1).as_deref() {
        Some("cold") => return evidence.measured_ours(false, None),
        Some("crl") => return evidence.measured_ours(true, None),
        Some("warm") => {
            evidence.ours(false, Some(&cache));
            return evidence.measured_ours(false, Some(&cache));
        }
        _ => {}
    }
    let cold = time(500, || evidence.ours(false, None));
    let warm = time(500, || evidence.ours(false, Some(&cache)));
    let crl = time(500, || evidence.ours(true, None));
    println!("{:26} {:>10} {:>10}", "SNP report, µs", "median", "best");
    for (name, (median, best)) in [
        ("cold", cold),
        ("warm (chain cached)", warm),
        ("cold with CRL", crl),
    ] {
        println!(
            "{name:26} {:>10} {:>10}",
            median.as_micros(),
            best.as_micros()
        );
    }
    let within = cold.1 <= BUDGETS[0] && warm.1 <= BUDGETS[1];
    println!(
        "budgets of 600 µs cold and 300 µs warm: {}",
        if within { "kept" } else { "EXCEEDED" }
    );
}
