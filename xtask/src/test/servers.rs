//! The step `servers`: providers and stores against real servers on loopback.
//!
//! A suite is a module of the test program `servers` of `tests/servers`. One whose toolchain is missing prints
//! `skipped: WHY`; such a test is counted as skipped, not as passed, and CI takes none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::count::{Count, cargo_test};
use super::steps::{Run, logged};
use crate::error::XtaskError;

/// What tests of one suite came to.
#[derive(Debug, Default, Clone, PartialEq)]
struct Suite {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Sum over its tests.
    took: Duration,
}

/// Starts the servers, runs every suite against them and prints a line for each.
///
/// # Errors
/// [`XtaskError::Step`] when a test fails, [`XtaskError::Usage`] when one was skipped in CI.
pub fn run(run: &Run<'_>) -> Result<Count, XtaskError> {
    let mut cargo = run.workspace.cargo();
    cargo.args(["test", "-p", "dawnkey-server-tests", "--all-features"]);
    cargo.args(["--lib", "--test", "servers"]);
    cargo.args(["--locked", "--no-fail-fast"]);
    // For the test program alone: in cargo's own environment it would rebuild everything.
    cargo.args([
        "--config",
        r#"target."cfg(all())".runner = ["env", "RUSTC_BOOTSTRAP=1"]"#,
    ]);
    cargo.args(["--", "--show-output", "-Z", "unstable-options"]);
    cargo.arg("--report-time");
    let output = logged(run.workspace, "servers", &mut cargo)?;
    for line in lines(&output) {
        run.progress.say(&format!("        {line}"));
    }
    let skipped = skips(&output);
    for why in skipped.values() {
        run.progress.say(&format!("        skipped: {why}"));
    }
    if !skipped.is_empty() && std::env::var("CI").is_ok_and(|ci| ci == "true") {
        return Err(XtaskError::Usage(format!(
            "CI runs every suite, {} test(s) were skipped",
            skipped.len()
        )));
    }
    let mut count = cargo_test(&output)?;
    count.passed = count.passed.saturating_sub(skipped.len());
    count.skipped = skipped.len();
    Ok(count)
}

/// A line for each suite, `transit: 12 passed in 8.1 s`.
fn lines(output: &str) -> Vec<String> {
    let skipped = skips(output);
    let mut suites: BTreeMap<&str, Suite> = BTreeMap::new();
    for (name, result) in output.lines().filter_map(result) {
        let suite = name.split("::").next().unwrap_or(name);
        let suite = suites.entry(suite).or_default();
        match result.split_whitespace().next() {
            Some("ok") if skipped.contains_key(name) => suite.skipped += 1,
            Some("ok") => suite.passed += 1,
            _ => suite.failed += 1,
        }
        suite.took += time(result).unwrap_or_default();
    }
    suites
        .into_iter()
        .map(|(name, suite)| describe(name, &suite))
        .collect()
}

fn describe(name: &str, suite: &Suite) -> String {
    let parts = [
        (suite.passed, "passed"),
        (suite.failed, "failed"),
        (suite.skipped, "skipped"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let seconds = suite.took.as_secs_f64();
    format!("{name}: {} in {seconds:.1} s", parts.join(", "))
}

/// Name and result of a test, out of libtest's line about it.
fn result(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

/// The time in `ok <1.234s>`.
fn time(result: &str) -> Option<Duration> {
    let (_, rest) = result.split_once('<')?;
    let seconds: f64 = rest.strip_suffix("s>")?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Tests that printed `skipped: WHY`, with the reason.
fn skips(output: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    let mut test = None;
    for line in output.lines() {
        let heading = line.strip_prefix("---- ");
        if let Some(name) = heading.and_then(|rest| rest.strip_suffix(" stdout ----")) {
            test = Some(name);
        } else if let (Some(name), Some(why)) = (test, line.strip_prefix("skipped: ")) {
            found.entry(name).or_insert(why);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test transit::conformance ... ok <8.100s>
test transit::logs_in_by_certificate ... ok <0.400s>
test gcp::conformance ... ok <0.010s>

successes:

---- gcp::conformance stdout ----
skipped: go is not here: the emulator of Google Cloud KMS is a Go module

---- transit::conformance stdout ----
round trip: held

test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 8.52s
";

    #[test]
    fn each_suite_has_a_line_with_its_tests_and_time() {
        let said = ["gcp: 1 skipped in 0.0 s", "transit: 2 passed in 8.5 s"];
        assert_eq!(lines(OUTPUT), said);
    }

    #[test]
    fn a_skipped_test_is_known_by_its_own_output_only() {
        let why = "go is not here: the emulator of Google Cloud KMS is a Go module";
        assert_eq!(skips(OUTPUT), BTreeMap::from([("gcp::conformance", why)]));
        assert!(skips("skipped: outside of any test\n").is_empty());
    }

    #[test]
    fn failed_tests_are_counted_for_their_suite() {
        let output = "test a::x ... FAILED <1.000s>\ntest a::y ... ok <1.000s>\n";
        assert_eq!(lines(output), ["a: 1 passed, 1 failed in 2.0 s"]);
    }
}
