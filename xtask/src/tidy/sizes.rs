//! A file that does not fit a reader's head is two subjects.

use super::Source;

/// Most lines of a Rust file, tests included.
const MAX_LINES: usize = 500;

/// Findings for Rust files that are too long.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.path.ends_with(".rs"))
        .filter_map(|source| {
            let lines = source.text.lines().count();
            (lines > MAX_LINES).then(|| {
                format!(
                    "{}: {lines} lines, at most {MAX_LINES}: split it by subject",
                    source.path
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    #[test]
    fn refuses_501_lines_of_rust_and_takes_500() {
        let long = source("a/src/lib.rs", &"x\n".repeat(501));
        let right = source("a/src/b.rs", &"x\n".repeat(500));
        let prose = source("docs/a.md", &"x\n".repeat(900));
        assert_eq!(
            check(&[long, right, prose]),
            ["a/src/lib.rs: 501 lines, at most 500: split it by subject"]
        );
    }
}
