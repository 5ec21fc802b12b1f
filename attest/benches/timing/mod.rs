//! The clock of the benches.

use std::time::{Duration, Instant};

/// Median and best of `runs` runs.
pub fn time(runs: usize, mut run: impl FnMut()) -> (Duration, Duration) {
    run();
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    (
        times.get(runs / 2).copied().unwrap_or_default(),
        times.first().copied().unwrap_or_default(),
    )
}
