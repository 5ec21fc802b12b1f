//! Test doubles stay out of release builds: their feature is off, their crate is nobody's dependency, and
//! their names are not in the binaries.

use std::collections::BTreeSet;

use super::Source;

/// The feature that turns test doubles on.
const FEATURE: &str = "fake";

/// The crate of stand-ins for devices; what belongs to it has names that begin so.
const STAND_INS: &str = "dawnkey-test-";

/// Prefixes of the names of types that are test doubles.
const PREFIXES: [&str; 2] = ["Fake", "Mock"];

/// Texts that only mock manufacturers and stand-ins have: names in their certificates, devices and programs.
const TRACES: [&str; 4] = [STAND_INS, "dawnkey_test_", "Mock SGX", "mock.cloud.example"];

/// Findings in `cargo tree -e normal --prefix none -f '{p}|{f}'` of a released package.
pub fn check_features(package: &str, tree: &str) -> Vec<String> {
    let mut findings = BTreeSet::new();
    for line in tree.lines() {
        let Some((dependency, features)) = line.split_once('|') else {
            continue;
        };
        let name = dependency.split_whitespace().next().unwrap_or_default();
        let ours = name.starts_with("dawnkey");
        if name.starts_with(STAND_INS) {
            findings.insert(format!("{package}: its release build contains {name}"));
        }
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

/// Names of test doubles: types called `Fake…` or `Mock…` in our sources.
pub fn names(sources: &[Source]) -> BTreeSet<String> {
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs"));
    rust.flat_map(|source| source.text.lines())
        .filter_map(|line| {
            let (_, name) = line.split_once("struct ")?;
            let end = name
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(name.len());
            let double = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            name.get(..end).filter(|_| double).map(str::to_owned)
        })
        .collect()
}

/// Findings in a release binary.
pub fn check_binary(binary: &str, bytes: &[u8], names: &BTreeSet<String>) -> Vec<String> {
    // A name of four letters says nothing.
    let long = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.len() > 6);
    long.chain(TRACES)
        .filter(|name| {
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
    fn refuses_the_stand_ins_in_a_release_graph() {
        let tree = "dawnkey-agent v0.1.0 (/x)|default\ndawnkey-test-devices v0.1.0 (/x)|\n";
        assert_eq!(
            check_features("dawnkey-agent", tree),
            ["dawnkey-agent: its release build contains dawnkey-test-devices"]
        );
    }

    #[test]
    fn refuses_traces_of_mock_manufacturers_in_a_binary() {
        assert_eq!(
            check_binary("keyservice", b"..CN=Mock SGX Root CA..", &BTreeSet::new()),
            ["keyservice: contains the test double Mock SGX"]
        );
    }

    #[test]
    fn refuses_a_double_in_a_binary() {
        let names = names(&[
            source("a.rs", "pub struct FakeMapper {\n"),
            source(
                "b.rs",
                "struct FakeTpm;\npub struct MockAmd<'a> {\nstruct Real;\n",
            ),
        ]);
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["FakeMapper", "FakeTpm", "MockAmd"]
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
