//! Our verification of an SNP report beside that of the `sev` crate, on the same bytes in the same run.
//!
//! `cargo run --release --manifest-path attest/beside-sev/Cargo.toml`. Theirs checks the chain's signatures and the
//! report's over a re-encoding; ours also dates, TCB, chip id, product and a policy, and in one line revocation.

#[path = "../../benches/snp_common/mod.rs"]
mod snp_common;

use dawnkey_attest::snp::verify::ChainCache;
use sev::certs::snp::{Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use snp_common::{Evidence, time};

#[inline(never)]
fn measured_sev(evidence: &Evidence) {
    let chain =
        Chain::from_der(&evidence.ark, &evidence.ask, &evidence.vek).expect("sev reads the chain");
    let report = AttestationReport::from_bytes(&evidence.report).expect("sev reads the report");
    (&chain, &report).verify().expect("sev accepts the report");
}

fn main() {
    let evidence = Evidence::new();
    let cache = ChainCache::new();
    if std::env::args().nth(1).as_deref() == Some("sev") {
        return measured_sev(&evidence);
    }
    let lines = [
        ("ours, cold", time(500, || evidence.ours(false, None))),
        (
            "ours, warm",
            time(500, || evidence.ours(false, Some(&cache))),
        ),
        (
            "ours, cold with CRL",
            time(500, || evidence.ours(true, None)),
        ),
        ("sev 8", time(100, || measured_sev(&evidence))),
    ];
    let theirs = lines
        .last()
        .map_or(1.0, |(_, (_, best))| best.as_secs_f64());
    println!(
        "{:22} {:>10} {:>10} {:>14}",
        "SNP report, µs", "median", "best", "of sev's best"
    );
    for (name, (median, best)) in lines {
        let ratio = best.as_secs_f64() / theirs;
        println!(
            "{name:22} {:>10} {:>10} {ratio:>14.3}",
            median.as_micros(),
            best.as_micros()
        );
    }
}
