//! A configuration that gives every field, and what becomes of it when one is changed.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dawnkey_agent::config::{Config, ConfigError, Outside};
use std::path::Path;

pub const SPKI: &str =
    "spki_sha256 = \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"";
pub const FILE: &str = "/etc/dawnkey/agent.toml";

pub fn good() -> String {
    format!(
        r#"
node_name = "node-1"
[service]
endpoints = ["10.0.2.100:8443", "[fd00::1]:8443", "keys.example:443"]
domain = "fleet.example"
resolvers = ["10.0.0.53", "[fd00::53]:5353"]
metadata = "openstack"
metadata_address = "127.0.0.1:8081"
name = "keyservice.dawnkey.internal"
{SPKI}
budget_seconds = 30
attempt_seconds = 5
[attestation]
kind = "tdx"
without_runtime_register = "report"
privlevel = 2
quote_service = "vsock:3:4051"
imds = "127.0.0.1:8080"
[tpm]
tcti = "swtpm:host=127.0.0.1,port=2321"
event_log = "/log"
attestation_key = "gce"
[[volume]]
id = "5b1d1f0e-33b6-4d6e-8f2a-000000000001"
name = "state"
device = "/dev/vdb"
integrity = "none"
filesystem = "ext4"
[[volume]]
id = "5b1d1f0e-33b6-4d6e-8f2a-000000000002"
name = "backups"
device = "/dev/vdc"
integrity = "aegis128"
journal_mac = true
wipe = "behind"
wipe_prefix = "256MiB"
grow = true
required = false
adopted = true
[[swap]]
device = "/dev/vdd"
name = "swap"
[hold]
enabled = false
wipe_rate = "64 MiB"
"#
    )
}

pub fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new(FILE), &Outside::default())
}

pub fn changed(from: &str, to: &str) -> ConfigError {
    let text = good();
    assert!(text.contains(from), "{from} is not in the good file");
    parse(&text.replace(from, to)).expect_err("the change must be refused")
}

pub fn invalid_key(error: ConfigError) -> String {
    match error {
        ConfigError::Invalid { key, .. } => key,
        other => panic!("expected an invalid value, got {other}"),
    }
}
