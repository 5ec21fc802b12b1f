//! Which crate may know which: the direction of the design, as a table.

use serde::Deserialize;

use crate::error::XtaskError;

/// What a crate may depend on among ours, and with which features of `dawnkey-attest`.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    /// Features of `dawnkey-attest` that it may turn on.
    attest: &'static [&'static str],
}

const fn layer(
    name: &'static str,
    may_use: &'static [&'static str],
    attest: &'static [&'static str],
) -> Layer {
    Layer {
        name,
        may_use,
        attest,
    }
}

/// Leaves never see one another; nothing sees the agent. Dependencies of tests are exempt, since a
/// test may bring both ends together.
const LAYERS: &[Layer] = &[
    layer("dawnkey-secret", &[], &[]),
    layer("dawnkey-proto", &["dawnkey-secret"], &[]),
    layer("dawnkey-attest", &["dawnkey-secret"], &[]),
    layer("dawnkey-dm", &["dawnkey-secret"], &[]),
    layer("dawnkey-kek", &["dawnkey-secret"], &[]),
    layer("dawnkey-store", &["dawnkey-secret"], &[]),
    layer("dawnkey-endorse", &["dawnkey-attest"], &["verify"]),
    layer(
        "dawnkey-agent",
        &[
            "dawnkey-secret",
            "dawnkey-proto",
            "dawnkey-attest",
            "dawnkey-dm",
        ],
        &["collect"],
    ),
    layer(
        "dawnkey-keyservice",
        &[
            "dawnkey-secret",
            "dawnkey-proto",
            "dawnkey-attest",
            "dawnkey-endorse",
            "dawnkey-kek",
            "dawnkey-store",
        ],
        &["verify"],
    ),
    layer(
        "dawnkey-cli",
        &[
            "dawnkey-secret",
            "dawnkey-proto",
            "dawnkey-attest",
            "dawnkey-dm",
            "dawnkey-endorse",
            "dawnkey-kek",
            "dawnkey-keyservice",
        ],
        &["verify", "measure"],
    ),
    layer("dawnkey-corpus", &["dawnkey-attest"], &["verify"]),
    layer(
        "dawnkey-host-tests",
        &[
            "dawnkey-agent",
            "dawnkey-attest",
            "dawnkey-dm",
            "dawnkey-keyservice",
            "dawnkey-proto",
            "dawnkey-secret",
        ],
        &["collect", "fake", "verify"],
    ),
    layer(
        "dawnkey-server-tests",
        &[
            "dawnkey-agent",
            "dawnkey-attest",
            "dawnkey-host-tests",
            "dawnkey-kek",
            "dawnkey-keyservice",
            "dawnkey-proto",
            "dawnkey-secret",
            "dawnkey-store",
        ],
        &["collect", "fake"],
    ),
    layer("dawnkey-qemu-tests", &[], &[]),
    layer(
        "dawnkey-test-devices",
        &["dawnkey-attest", "dawnkey-endorse"],
        &["collect", "fake", "verify"],
    ),
    layer("xtask", &["dawnkey-qemu-tests"], &[]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for normal ones, `dev` or `build` otherwise.
    kind: Option<String>,
    /// Where our own crates lie; `None` for those of a registry.
    path: Option<String>,
    features: Vec<String>,
}

/// Findings in the output of `cargo metadata --no-deps`.
///
/// # Errors
/// [`XtaskError::Usage`] when that is not JSON of the known form.
pub fn check(metadata: &str) -> Result<Vec<String>, XtaskError> {
    let metadata: Metadata = serde_json::from_str(metadata)
        .map_err(|e| XtaskError::Usage(format!("cargo metadata: {e}")))?;
    Ok(metadata.packages.iter().flat_map(package).collect())
}

fn package(package: &Package) -> Vec<String> {
    let name = &package.name;
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
        return vec![format!(
            "{name}: no layer is written down for this crate; add it to xtask/src/tidy/layers.rs"
        )];
    };
    let ours = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some());
    ours.filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .flat_map(|dependency| edge(layer, dependency))
        .collect()
}

fn edge(layer: &Layer, dependency: &Dependency) -> Vec<String> {
    let (from, to) = (layer.name, dependency.name.as_str());
    if !layer.may_use.contains(&to) {
        let allowed = if layer.may_use.is_empty() {
            "none of our crates".to_owned()
        } else {
            layer.may_use.join(", ")
        };
        return vec![format!(
            "{from} depends on {to}; it may depend on {allowed}"
        )];
    }
    if to != "dawnkey-attest" {
        return Vec::new();
    }
    let foreign = dependency
        .features
        .iter()
        .filter(|feature| !layer.attest.contains(&feature.as_str()));
    foreign
        .map(|feature| {
            format!(
                "{from} turns on {to}/{feature}; it may turn on {}",
                layer.attest.join(", ")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn metadata(package: &str, dependency: &str, kind: &str, features: &str) -> String {
        format!(
            r#"{{"packages":[{{"name":"{package}","dependencies":[{{"name":"{dependency}","kind":{kind},"path":"/x","features":[{features}]}}]}}]}}"#
        )
    }

    #[test]
    fn refuses_a_leaf_that_knows_a_leaf() {
        let findings = check(&metadata("dawnkey-dm", "dawnkey-proto", "null", "")).unwrap();
        assert_eq!(
            findings,
            ["dawnkey-dm depends on dawnkey-proto; it may depend on dawnkey-secret"]
        );
    }

    #[test]
    fn refuses_an_agent_that_verifies_and_a_service_that_collects() {
        let agent = check(&metadata(
            "dawnkey-agent",
            "dawnkey-attest",
            "null",
            "\"verify\"",
        ))
        .unwrap();
        assert_eq!(
            agent,
            ["dawnkey-agent turns on dawnkey-attest/verify; it may turn on collect"]
        );
        let service = check(&metadata(
            "dawnkey-keyservice",
            "dawnkey-attest",
            "null",
            "\"collect\"",
        ))
        .unwrap();
        assert_eq!(service.len(), 1);
        assert_eq!(
            check(&metadata("dawnkey-keyservice", "dawnkey-dm", "null", ""))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn build_dependencies_count_and_test_dependencies_do_not() {
        assert_eq!(
            check(&metadata("dawnkey-dm", "dawnkey-proto", "\"build\"", ""))
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            check(&metadata("dawnkey-dm", "dawnkey-proto", "\"dev\"", "")).unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn refuses_a_crate_without_a_layer() {
        assert_eq!(
            check(&metadata("dawnkey-new", "x", "null", ""))
                .unwrap()
                .len(),
            1
        );
    }
}
