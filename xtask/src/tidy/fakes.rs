//! Test doubles stay out of release builds: their feature is off, and their names are not in the
//! binaries.

use std::collections::BTreeSet;

use super::Source;

/// The feature that turns test doubles on.
const FEATURE: &str = "fake";

/// Findings in `cargo tree -e normal --prefix none -f '{p}|{f}'` of a released package.
pub fn check_features(package: &str, tree: &str) -> Vec<String> {
    let mut findings = BTreeSet::new();
    for line in tree.lines() {
        let Some((dependency, features)) = line.split_once('|') else {
            continue;
        };
        let name = dependency.split_whitespace().next().unwrap_or_default();
        let ours = name.starts_with("dawnkey");
        // cargo marks repeated subtrees with (*).
        let features = features.trim_end_matches(" (*)");
        if ours && features.split(',').any(|feature| feature.trim() == FEATURE) {
            findings.insert(format!(
                "{package}: its release build turns on {name}/{FEATURE}"
            ));
        }
    }
    findings.into_iter().collect()
}

/// Names of test doubles: types called `Fake…` in our sources.
pub fn names(sources: &[Source]) -> BTreeSet<String> {
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs"));
    rust.flat_map(|source| source.text.lines())
        .filter_map(|line| {
            let (_, rest) = line.split_once("struct Fake")?;
            let end = rest
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(rest.len());
            rest.get(..end).map(|tail| format!("Fake{tail}"))
        })
        .collect()
}

/// Findings in a release binary.
pub fn check_binary(binary: &str, bytes: &[u8], names: &BTreeSet<String>) -> Vec<String> {
    // A name of four letters says nothing.
    let long = names.iter().filter(|name| name.len() > 6);
    long.filter(|name| {
        bytes
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    })
    .map(|name| format!("{binary}: contains the test double {name}"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    #[test]
    fn refuses_the_feature_in_a_release_graph() {
        let tree = "dawnkey-agent v0.1.0 (/x)|default\ndawnkey-dm v0.1.0 (/x)|default,fake\ntokio v1|rt,fake\n";
        assert_eq!(
            check_features("dawnkey-agent", tree),
            ["dawnkey-agent: its release build turns on dawnkey-dm/fake"]
        );
    }

    #[test]
    fn refuses_a_double_in_a_binary() {
        let names = names(&[
            source("a.rs", "pub struct FakeMapper {\n"),
            source("b.rs", "struct FakeTpm;\n"),
        ]);
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["FakeMapper", "FakeTpm"]
        );
        assert_eq!(
            check_binary("agent", b"..FakeMapper..", &names),
            ["agent: contains the test double FakeMapper"]
        );
        assert_eq!(
            check_binary("agent", b"nothing", &names),
            Vec::<String>::new()
        );
    }
}
