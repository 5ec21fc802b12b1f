//! What is shipped beside the program says what the program means: the manifest's configuration parses, its ports, probes and
//! files fit, and alerts and documents name metrics and codes that exist.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use dawnkey_keyservice::metrics::Metrics;
use dawnkey_proto::message::reason_code;
use dawnkey_proto::wire::Reason;
use serde::Deserialize;
use serde_yaml_ng::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The manifest's documents by kind and name.
fn manifest() -> BTreeMap<(String, String), Value> {
    let text = read("packaging/kubernetes.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    documents
        .map(|document| {
            let document = Value::deserialize(document).unwrap();
            assert_eq!(text_of(&document["metadata"]["namespace"]), "dawnkey");
            let kind = text_of(&document["kind"]);
            ((kind, text_of(&document["metadata"]["name"])), document)
        })
        .collect()
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value:?} is no text"))
        .to_owned()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_sequence().unwrap()
}

fn deployment() -> Value {
    manifest()[&("Deployment".into(), "dawnkey-keyservice".into())].clone()
}

#[cfg(all(feature = "transit", feature = "postgres"))] // what the manifest configures
fn config() -> dawnkey_keyservice::config::Config {
    let map = &manifest()[&("ConfigMap".into(), "dawnkey-config".into())];
    let text = text_of(&map["data"]["keyservice.toml"]);
    dawnkey_keyservice::config::Config::parse(Path::new("/etc/dawnkey/keyservice.toml"), &text)
        .unwrap()
}

#[cfg(all(feature = "transit", feature = "postgres"))] // what the manifest configures
#[test]
fn manifest_has_every_object_and_its_configuration_is_one_for_replicas() {
    let kinds: Vec<String> = manifest().into_keys().map(|(kind, _)| kind).collect();
    for kind in [
        "ServiceAccount",
        "ConfigMap",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
    ] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind}");
    }
    let config = config();
    let spec = &deployment()["spec"];
    assert_eq!(spec["replicas"], 3);
    let grace = &spec["template"]["spec"]["terminationGracePeriodSeconds"];
    assert!(grace.as_u64().unwrap() > u64::from(config.limits.shutdown_seconds));
    let budget = &manifest()[&("PodDisruptionBudget".into(), "dawnkey-keyservice".into())];
    assert!(budget["spec"]["minAvailable"].as_u64().unwrap() < 3);
}

#[cfg(all(feature = "transit", feature = "postgres"))] // what the manifest configures
#[test]
fn manifest_mounts_every_file_that_the_configuration_names() {
    let pod = &deployment()["spec"]["template"]["spec"];
    let mounts = &pod["containers"][0]["volumeMounts"];
    let mounts: Vec<std::path::PathBuf> = list(mounts)
        .iter()
        .map(|m| text_of(&m["mountPath"]).into())
        .collect();
    let volumes: BTreeSet<String> = list(&pod["volumes"])
        .iter()
        .map(|v| text_of(&v["name"]))
        .collect();
    for mount in list(&pod["containers"][0]["volumeMounts"]) {
        assert!(volumes.contains(&text_of(&mount["name"])), "{mount:?}");
    }
    let config = config();
    let tls = [
        &config.tls.certificate,
        &config.tls.key,
        &config.tls.admin_ca,
    ];
    for file in tls.into_iter().chain([&config.policy, &config.audit.file]) {
        assert!(
            mounts.iter().any(|m| file.starts_with(m)),
            "{} is not mounted",
            file.display()
        );
    }
}

#[test]
fn manifest_gives_the_pod_nothing_that_it_does_not_need() {
    let pod = &deployment()["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(text_of(&security["capabilities"]["drop"][0]), "ALL");
    assert!(security["capabilities"]["add"].is_null());
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[field].is_null(), "{field}");
    }
}

#[cfg(all(feature = "transit", feature = "postgres"))] // what the manifest configures
#[test]
fn manifest_s_ports_and_probes_are_those_of_the_configuration() {
    let config = config();
    let container = &deployment()["spec"]["template"]["spec"]["containers"][0];
    let ports: BTreeMap<String, u64> = list(&container["ports"])
        .iter()
        .map(|port| {
            (
                text_of(&port["name"]),
                port["containerPort"].as_u64().unwrap(),
            )
        })
        .collect();
    let listen = [
        ("unlock", config.listen.unlock),
        ("admin", config.listen.admin),
        ("metrics", config.listen.metrics),
    ];
    for (name, address) in listen {
        assert_eq!(ports[name], u64::from(address.port()), "{name}");
        assert!(address.ip().is_unspecified(), "{name}");
    }
    for (probe, path) in [
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
        ("startupProbe", "/healthz"),
    ] {
        assert_eq!(text_of(&container[probe]["httpGet"]["path"]), path);
        assert_eq!(text_of(&container[probe]["httpGet"]["port"]), "metrics");
    }
}

/// Names of all metrics of the service.
fn metrics() -> BTreeSet<String> {
    let text = Metrics::default().render(Some(1));
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names = BTreeSet::new();
    for (name, kind) in types.filter_map(|rest| rest.split_once(' ')) {
        names.insert(name.to_owned());
        if kind == "histogram" {
            names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        }
    }
    names
}

/// Words of a text that begin with `dawnkey_`.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("dawnkey_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_and_operations_name_metrics_that_exist() {
    let known = metrics();
    for file in ["packaging/prometheus-rules.yaml", "docs/operations.md"] {
        let unknown: Vec<_> = named(&read(file)).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn every_alert_and_metric_is_explained() {
    let operations = read("docs/operations.md");
    let rules: Value = serde_yaml_ng::from_str(&read("packaging/prometheus-rules.yaml")).unwrap();
    for rule in list(&rules["groups"][0]["rules"]) {
        let name = text_of(&rule["alert"]);
        assert!(
            operations.contains(&format!("`{name}`")),
            "{name} is not explained"
        );
        assert!(!text_of(&rule["expr"]).is_empty());
        assert!(["page", "ticket"].contains(&text_of(&rule["labels"]["severity"]).as_str()));
    }
    let bases = metrics();
    let ends = ["_bucket", "_sum", "_count"];
    for name in bases
        .iter()
        .filter(|n| !ends.iter().any(|end| n.ends_with(end)))
    {
        assert!(
            operations.contains(name.as_str()),
            "{name} is not explained"
        );
    }
}

#[test]
fn every_reason_of_a_refusal_has_a_row() {
    let operations = read("docs/operations.md");
    let mut missing = Vec::new();
    for number in 1..256 {
        let Ok(reason) = Reason::try_from(number) else {
            continue;
        };
        let code = reason_code(reason);
        if !operations.contains(&format!("| `{code}` |")) {
            missing.push(code);
        }
    }
    assert!(
        missing.is_empty(),
        "docs/operations.md has no row for {missing:?}"
    );
}

#[test]
fn every_cause_of_a_provider_s_failure_has_a_row() {
    use dawnkey_kek::Cause;
    let operations = read("docs/operations.md");
    for cause in [
        Cause::NotAuthentic,
        Cause::WrongKey,
        Cause::NoSuchKey,
        Cause::Disabled,
        Cause::Deleted,
        Cause::Denied { permission: None },
        Cause::Credentials,
        Cause::Throttled { after: None },
        Cause::Deadline,
        Cause::Unreachable,
        Cause::Waiting,
        Cause::Garbage,
        Cause::Unsupported,
        Cause::Misconfigured,
        Cause::Unrecorded,
    ] {
        let code = cause.code();
        assert!(operations.contains(&format!("| `{code}` |")), "{code}");
    }
}
