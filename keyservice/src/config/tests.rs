//! What a configuration file may and may not say.

#![allow(clippy::unwrap_used)]
use super::*;
use dawnkey_store::RedbConfig;

const FILE: &str = r#"
service_id = "a0000000-0000-4000-8000-000000000001"
[listen]
unlock = "127.0.0.1:0"
admin = "127.0.0.1:0"
metrics = "127.0.0.1:0"
[tls]
certificate = "server.pem"
key = "server.key"
admin_ca = "admin-ca.pem"
[store]
kind = "redb"
path = "dawnkey.redb"
[[kek.provider]]
name = "cluster"
kind = "cluster"
salt = "0000000000000000000000000000000000000000000000000000000000000000"
master_secret = "fd"
[policy]
file = "policy.toml"
[audit]
file = "/var/log/audit.log"
[limits]
lease_seconds = 60
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/dawnkey/keyservice.toml"), text)
}

fn bad_value(at: &str, with: &str) -> &'static str {
    match parse(&FILE.replacen(at, with, 1)) {
        Err(ConfigError::Value { key, .. }) => key,
        _ => "accepted or another error",
    }
}

#[test]
fn paths_are_relative_to_the_file_and_limits_have_defaults() {
    let config = parse(FILE).unwrap();
    assert_eq!(config.policy, Path::new("/etc/dawnkey/policy.toml"));
    let audit = audit::Settings::file(Path::new("/var/log/audit.log"));
    assert_eq!(config.audit, audit);
    assert_eq!(config.limits.lease_seconds, 60);
    assert_eq!(config.limits.queue, Limits::default().queue);
}

#[test]
fn refuses_unknown_fields_everywhere() {
    for section in [
        "[listen]",
        "[tls]",
        "[store]",
        "[[kek.provider]]",
        "[policy]",
        "[audit]",
        "[limits]",
    ] {
        let bent = FILE.replacen(section, &format!("{section}\nsurprise = 1"), 1);
        assert!(
            matches!(
                parse(&bent),
                Err(ConfigError::Syntax { .. } | ConfigError::Value { .. })
            ),
            "{section}"
        );
    }
    let bent = format!("surprise = 1\n{FILE}");
    assert!(matches!(parse(&bent), Err(ConfigError::Syntax { .. })));
}

#[test]
fn refuses_missing_fields_and_names_them() {
    for line in FILE
        .lines()
        .filter(|l| l.contains('=') && !l.contains("lease"))
    {
        let key = line.split(' ').next().unwrap();
        let text = FILE.replacen(line, "", 1);
        match parse(&text) {
            Err(ConfigError::Syntax { problem, .. }) => assert!(problem.contains(key)),
            other => assert!(other.is_err(), "{key}"),
        }
    }
}

#[test]
fn refuses_values_that_cannot_be() {
    assert_eq!(
        bad_value(
            "a0000000-0000-4000-8000-000000000001",
            &Uuid::nil().to_string()
        ),
        "service_id"
    );
    assert_eq!(
        bad_value("metrics = \"127.0.0.1:0\"", "metrics = \"0.0.0.0:1\""),
        "listen.metrics"
    );
    assert_eq!(
        bad_value("lease_seconds = 60", "lease_seconds = 0"),
        "limits.lease_seconds"
    );
    let nameless = ("name = \"cluster\"", "name = \"\"");
    assert_eq!(bad_value(nameless.0, nameless.1), "kek.provider");
}

#[test]
fn store_is_named_by_its_kind() {
    let text = FILE.replacen("kind = \"redb\"", "kind = \"csv\"", 1);
    match parse(&text) {
        Err(ConfigError::Syntax { problem, .. }) => assert!(problem.contains("csv"), "{problem}"),
        other => assert!(other.is_err()),
    }
    let path = PathBuf::from("/etc/dawnkey/dawnkey.redb");
    let redb = StoreConfig::Redb(RedbConfig { path });
    assert_eq!(parse(FILE).unwrap().store, redb);
}

#[test]
fn endorsements_are_absent_offline_or_online() {
    assert_eq!(parse(FILE).unwrap().endorsements, None);
    let with = |text: &str| parse(&format!("{FILE}[endorsements]\n{text}"));
    let offline = with("path = \"e\"\nonline = false\n").unwrap();
    let offline = offline.endorsements.unwrap();
    assert_eq!(offline.path, Path::new("/etc/dawnkey/e"));
    assert_eq!(offline.online, None);
    let online = with("path = \"/e\"\nonline = true\nintel_url = \"https://pccs.example\"\n");
    let online = online.unwrap().endorsements.unwrap().online.unwrap();
    assert_eq!(online.intel_url, "https://pccs.example");
    assert_eq!(online.amd_url, "https://kdsintf.amd.com");
    for bad in [
        "path = \"e\"",
        "online = true",
        "path = \"e\"\nonline = true\nsurprise = 1",
        "path = \"e\"\nonline = true\nrefresh_hours = 0",
        "path = \"e\"\nonline = true\namd_url = \"http://kdsintf.amd.com\"",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_kubernetes_plugin_is_for_root_unless_others_are_named() {
    assert_eq!(parse(FILE).unwrap().kubernetes_kms, None);
    let with = |text: &str| parse(&format!("{FILE}[kubernetes_kms]\n{text}"));
    let plain = with("socket = \"/run/dawnkey/kms.sock\"").unwrap();
    let plain = plain.kubernetes_kms.unwrap();
    assert_eq!(plain.socket, Path::new("/run/dawnkey/kms.sock"));
    assert_eq!(plain.uids, [0].into());
    let long = format!("socket = \"/{}\"", "x".repeat(107));
    for bad in ["socket = \"s\"\nuids = []", &long] {
        assert!(matches!(with(bad), Err(ConfigError::Value { .. })), "{bad}");
    }
    let surprise = with("socket = \"s\"\nsurprise = 1");
    assert!(matches!(surprise, Err(ConfigError::Syntax { .. })));
}

#[test]
fn data_keys_need_a_way_to_know_callers() {
    let scratch = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(vec![]).unwrap();
    let pem = ca.self_signed(&key).unwrap().pem();
    std::fs::write(scratch.path().join("cluster.pem"), pem).unwrap();
    std::fs::write(scratch.path().join("empty.pem"), "").unwrap();
    let file = scratch.path().join("keyservice.toml");
    let with = |text: &str| {
        let text = format!("{FILE}[data_keys]\nlisten = \"127.0.0.1:0\"\n{text}");
        Config::parse(&file, &text).map(|config| config.data_keys.unwrap())
    };
    let mutual = with("client_ca = \"csi.pem\"").unwrap();
    assert_eq!(mutual.client_ca, Some(scratch.path().join("csi.pem")));
    assert_eq!(mutual.kubernetes, None);
    let review = "[data_keys.kubernetes]\napi_server = \"https://kubernetes.default.svc\"\nca = \"cluster.pem\"\naudience = \"dawnkey\"\n";
    let reviewed = with(review).unwrap().kubernetes.unwrap();
    assert_eq!(
        (reviewed.host.as_str(), reviewed.port),
        ("kubernetes.default.svc", 443)
    );
    assert_eq!(reviewed.cache.as_secs(), 10);
    for (at, with_, key) in [
        ("", "", "data_keys"),
        ("https:", "http:", "data_keys.kubernetes.api_server"),
        (".svc", ".svc/path", "data_keys.kubernetes.api_server"),
        ("cluster.pem", "empty.pem", "data_keys.kubernetes.ca"),
        ("cluster.pem", "none.pem", "data_keys.kubernetes.ca"),
        ("\"dawnkey\"", "\"\"", "data_keys.kubernetes.audience"),
        (
            "ca =",
            "cache_seconds = 301\nca =",
            "data_keys.kubernetes.cache_seconds",
        ),
    ] {
        let bent = match at {
            "" => String::new(),
            at => review.replacen(at, with_, 1),
        };
        match with(&bent) {
            Err(ConfigError::Value { key: found, .. }) => assert_eq!(found, key),
            other => assert!(other.is_err() && key.is_empty(), "{key}"),
        }
    }
}

#[test]
fn audit_says_when_a_file_ends_and_where_copies_go() {
    let more = "[audit]\nrotate_bytes = 1048576\nrotate_daily = true\nalso = \"stdout\"";
    let config = parse(&FILE.replacen("[audit]", more, 1)).unwrap();
    assert_eq!(config.audit.rotate_bytes, Some(1 << 20));
    assert!(config.audit.rotate_daily);
    assert_eq!(config.audit.also, Some(audit::Also::Stdout));
    assert_eq!(
        bad_value("[audit]", "[audit]\nrotate_bytes = 100"),
        "audit.rotate_bytes"
    );
}
