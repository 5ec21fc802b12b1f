//! `unsafe` stays in the files that exist for it, and every use says why it is sound.

use super::Source;

/// Files that may opt in. Each one wraps a system interface that no dependency wraps.
const ALLOWED: &[&str] = &[
    "attest/src/collect/ioctl.rs",
    "dm/src/syscalls.rs",
    "secret/src/user_key.rs",
];

/// How far above an `unsafe` its reason may start, in lines.
const REACH: usize = 12;

/// Findings for `unsafe` in other files, and for uses without a reason.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.path.ends_with(".rs"))
        .flat_map(file)
        .collect()
}

fn file(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = source.text.lines().collect();
    let opt_in = ["allow", "expect"].map(|word| format!("{word}(unsafe_code"));
    let opts_in = |line: &str| {
        !is_comment(line) && !is_text(line) && opt_in.iter().any(|word| line.contains(word))
    };
    if lines.iter().any(|line| opts_in(line)) {
        if !ALLOWED.contains(&source.path.as_str()) {
            findings.push(format!(
                "{}: opts into unsafe code; only {} may",
                source.path,
                ALLOWED.join(", ")
            ));
        }
        if !source.text.contains("JUSTIFICATION:") {
            findings.push(format!(
                "{}: opts into unsafe code without a `JUSTIFICATION:` comment",
                source.path
            ));
        }
    }
    for (index, line) in lines.iter().enumerate() {
        if uses(line)
            && !has_reason(
                lines
                    .get(index.saturating_sub(REACH)..index)
                    .unwrap_or_default(),
            )
        {
            findings.push(format!(
                "{}:{}: `unsafe` without a `// SAFETY:` comment above it",
                source.path,
                index + 1
            ));
        }
    }
    findings
}

/// Whether a line of code opens an unsafe block, function or implementation.
fn uses(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    !is_text(line)
        && ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
            .iter()
            .any(|form| code.contains(form))
}

/// The comment right above, before any blank line or end of another statement.
fn has_reason(above: &[&str]) -> bool {
    above
        .iter()
        .rev()
        .take_while(|line| {
            !line.trim().is_empty() && !line.trim_end().ends_with(';') && line.trim() != "}"
        })
        .any(|line| is_comment(line) && (line.contains("SAFETY:") || line.contains("# Safety")))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The word in a string, as in this file's tests and messages.
fn is_text(line: &str) -> bool {
    line.contains('"')
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    #[test]
    fn refuses_an_opt_in_outside_the_list() {
        let text = "#![allow(unsafe_code)]\n// JUSTIFICATION: x\n";
        let findings = check(&[source("agent/src/lib.rs", text)]);
        assert_eq!(findings.len(), 1);
        assert!(
            findings
                .iter()
                .all(|finding| finding.starts_with("agent/src/lib.rs: opts into"))
        );
        assert_eq!(
            check(&[source("dm/src/syscalls.rs", text)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn refuses_an_opt_in_without_justification() {
        assert_eq!(
            check(&[source("dm/src/syscalls.rs", "#![allow(unsafe_code)]\n")]).len(),
            1
        );
    }

    #[test]
    fn refuses_a_block_without_a_reason() {
        let bare = format!("fn f() {{\n    {} {{ g() }}\n}}\n", "unsafe");
        assert_eq!(check(&[source("dm/src/syscalls.rs", &bare)]).len(), 1);
        let reasoned = format!(
            "fn f() {{\n    // SAFETY: g takes anything\n    let x =\n        {} {{ g() }};\n}}\n",
            "unsafe"
        );
        assert_eq!(
            check(&[source("dm/src/syscalls.rs", &reasoned)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_reason_of_another_statement_does_not_count() {
        let text = format!(
            "// SAFETY: first\n{0} {{ a() }};\n{0} {{ b() }};\n",
            "unsafe"
        );
        assert_eq!(check(&[source("dm/src/syscalls.rs", &text)]).len(), 1);
    }
}
