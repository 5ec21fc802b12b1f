//! Adding up what the steps proved.

use crate::error::XtaskError;

/// Checks and tests of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Those that held.
    pub passed: usize,
    /// Those that did not.
    pub failed: usize,
    /// Tests whose toolchain is not here.
    pub skipped: usize,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// A step that is one check.
    pub fn one() -> Self {
        Count {
            passed: 1,
            ..Count::default()
        }
    }

    /// The last line of a run.
    pub fn closing_line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

/// Sums the `test result:` lines of `cargo test`.
///
/// # Errors
/// [`XtaskError::Usage`] when tests were ignored: a test that does not run proves nothing.
pub fn cargo_test(output: &str) -> Result<Count, XtaskError> {
    let mut count = Count::default();
    for line in output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("test result: "))
    {
        let number = |word: &str| {
            line.split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<usize>().ok())
                .unwrap_or_default()
        };
        count.add(Count {
            passed: number("passed"),
            failed: number("failed"),
            skipped: 0,
        });
        if number("ignored") > 0 {
            return Err(XtaskError::Usage(format!("tests were ignored: {line}")));
        }
    }
    Ok(count)
}

/// The count in a closing line `N passed, M failed`, which ends `output`.
pub fn closing(output: &str) -> Option<Count> {
    let (passed, failed) = output.lines().last()?.split_once(" passed, ")?;
    Some(Count {
        passed: passed.trim().parse().ok()?,
        failed: failed.trim().strip_suffix("failed")?.trim().parse().ok()?,
        skipped: 0,
    })
}

/// Tests that failed within a failed step.
pub fn failed_in(error: &XtaskError) -> usize {
    match error {
        XtaskError::Step { tail, .. } => match closing(tail) {
            Some(count) => count.failed,
            None => cargo_test(tail).map_or(0, |count| count.failed),
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OUTPUT: &str = "running 2 tests\ntest a ... ok\n\ntest result: ok. 24 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s\n test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s\n";

    #[test]
    fn sums_all_results() {
        let count = cargo_test(OUTPUT).unwrap();
        assert_eq!(
            count,
            Count {
                passed: 27,
                failed: 2,
                skipped: 0
            }
        );
        assert_eq!(count.closing_line(), "27 passed, 2 failed");
    }

    #[test]
    fn reads_a_closing_line_and_no_other() {
        let count = Count {
            passed: 169,
            failed: 1,
            skipped: 0,
        };
        let output = format!(
            "x/y: reason: expected a, found b\n{}\n",
            count.closing_line()
        );
        assert_eq!(closing(&output), Some(count));
        assert_eq!(closing(OUTPUT), None);
    }

    #[test]
    fn refuses_ignored_tests() {
        let output = OUTPUT.replace("0 ignored", "1 ignored");
        assert!(matches!(cargo_test(&output), Err(XtaskError::Usage(_))));
    }
}
