//! The program itself: its exit codes, what it says where, and that its report is one JSON object.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CONFIG: &str = r#"
node_name = "node-1"
[service]
endpoints = ["127.0.0.1:1"]
name = "keyservice.test"
spki_sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
[tpm]
tcti = "device:/dev/no-such-tpm"
[[volume]]
id = "5b1d1f0e-33b6-4d6e-8f2a-5d1c0a8f7e21"
name = "state"
"#;

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("agent.toml"), config).unwrap();
        Self(dir)
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("agent.toml")
    }
}

fn agent(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dawnkey-agent"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .env("TSS2_LOG", "all+none")
        .output()
        .unwrap()
}

/// Whether this user's processes may lock all their memory; where not, nothing but the refusal can be seen.
fn may_lock_memory() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The exit code where memory can be locked, else that of a process that could not be protected.
fn expected(code: i32) -> Option<i32> {
    Some(if may_lock_memory() { code } else { 70 })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_says_that_a_good_configuration_is_good() {
    let scratch = Scratch::new(CONFIG);
    let output = agent(&scratch.config(), &["check"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).ends_with("agent.toml: good\n"));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn bad_configuration_has_exit_code_2_and_names_file_and_key() {
    let scratch = Scratch::new(&CONFIG.replace("node_name", "node_nmae"));
    for command in ["check", "unlock"] {
        if command == "unlock" && !may_lock_memory() {
            continue;
        }
        let output = agent(&scratch.config(), &[command, "--json"]);
        assert_eq!(output.status.code(), Some(2));
        let line = text(&output.stderr);
        assert!(line.starts_with("dawnkey-agent: failed step=config exit=2 problem="));
        assert!(line.contains("agent.toml") && line.contains("`node_name`"));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["outcome"], "failed");
        assert_eq!(report["error"]["exit_code"], 2);
        assert_eq!(report["volumes"], serde_json::json!([]));
    }
}

#[test]
fn absent_tpm_has_exit_code_10_and_one_line_per_event() {
    let scratch = Scratch::new(CONFIG);
    let output = agent(&scratch.config(), &["--json"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), expected(10), "{said}");
    if !may_lock_memory() {
        assert!(said.starts_with("dawnkey-agent: failed step=harden exit=70"));
        return;
    }
    let names: Vec<_> = said
        .lines()
        .map(|line| line.strip_prefix("dawnkey-agent: ").unwrap())
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["started", "failed"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"]["step"], "attester");
}

#[test]
fn says_when_the_tss_libraries_may_write_to_the_console() {
    let scratch = Scratch::new(CONFIG);
    let output = Command::new(env!("CARGO_BIN_EXE_dawnkey-agent"))
        .arg("--config")
        .arg(scratch.config())
        .env_remove("TSS2_LOG")
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(
        said.contains("dawnkey-agent: tss-may-log remedy="),
        "{said}"
    );
}

#[test]
fn wrong_command_line_has_exit_code_2_and_help_lists_every_exit_code() {
    let scratch = Scratch::new(CONFIG);
    let output = agent(&scratch.config(), &["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
    let help = text(&agent(&scratch.config(), &["--help"]).stdout);
    for code in [
        "0", "2", "10", "20", "21", "22", "30", "31", "40", "41", "42", "50", "60", "61", "70",
    ] {
        let listed = help
            .lines()
            .any(|l| l.trim_start().starts_with(&format!("{code}  ")));
        assert!(listed, "{code} is not in the help");
    }
}

#[test]
fn commands_for_one_volume_refuse_a_name_that_is_not_configured_or_none() {
    let scratch = Scratch::new(CONFIG);
    for command in ["hold", "close", "reopen"] {
        if command != "close" && !may_lock_memory() {
            continue;
        }
        for name in ["other", "../state"] {
            let output = agent(&scratch.config(), &[command, name]);
            assert_eq!(output.status.code(), Some(2), "{command} {name}");
            let said = text(&output.stderr);
            assert!(
                said.contains("step=config exit=2") && said.contains(name),
                "{said}"
            );
        }
    }
}

#[test]
fn holder_without_a_lease_says_what_would_leave_one() {
    if !may_lock_memory() {
        return;
    }
    let scratch = Scratch::new(CONFIG);
    let output = agent(&scratch.config(), &["--json", "hold", "state"]);
    assert_eq!(output.status.code(), Some(61));
    assert!(text(&output.stderr).contains("step=hold exit=61"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["error"]["step"], "hold");
    assert!(
        report["error"]["message"]
            .as_str()
            .unwrap()
            .contains("`hold = true`")
    );
}

/// A node that has a secret and no volume.
fn secret_only() -> String {
    let (head, _) = CONFIG.split_once("[[volume]]").unwrap();
    format!("{head}[secret]\nid = \"5b1d1f0e-33b6-4d6e-8f2a-5d1c0a8f7e22\"\n")
}

#[test]
fn a_node_with_a_secret_needs_no_volume_and_has_none_to_unlock() {
    let scratch = Scratch::new(&secret_only());
    let output = agent(&scratch.config(), &["check"]);
    assert_eq!(output.status.code(), Some(0));
    let output = agent(&scratch.config(), &["unlock"]);
    assert_eq!(output.status.code(), expected(2));
    let nil = secret_only().replace("5b1d1f0e-33b6-4d6e-8f2a-5d1c0a8f7e22", NIL);
    let output = agent(&Scratch::new(&nil).config(), &["check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("secret.id"));
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";

#[test]
fn the_command_for_a_secret_does_not_run_without_it() {
    let scratch = Scratch::new(CONFIG);
    let mark = scratch.config().with_file_name("ran");
    let touch = ["secret", "--", "touch", mark.to_str().unwrap()];
    let output = agent(&scratch.config(), &touch);
    assert_eq!(output.status.code(), expected(2), "no [secret]");
    let scratch_with = Scratch::new(&secret_only());
    let output = agent(&scratch_with.config(), &touch);
    assert_eq!(output.status.code(), expected(10), "no TPM");
    assert!(!mark.exists());
    let output = agent(&scratch_with.config(), &["secret"]);
    assert_eq!(output.status.code(), Some(2), "no command");
}

#[test]
fn failed_does_nothing_outside_of_an_initramfs() {
    assert!(!Path::new("/etc/initrd-release").exists());
    let scratch = Scratch::new(&format!("{CONFIG}[failure]\naction = \"stay\"\n"));
    let output = agent(&scratch.config(), &["failed"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("no initramfs") && !said.contains("failure-action"),
        "{said}"
    );
}

#[test]
fn credentials_give_addresses_and_no_pin_and_config_show_says_which() {
    let scratch = Scratch::new(CONFIG);
    let credentials = scratch.config().with_file_name("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("dawnkey.endpoint"), "192.0.2.7:8443\n").unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_dawnkey-agent"))
            .arg("--config")
            .arg(scratch.config())
            .args(arguments)
            .env("CREDENTIALS_DIRECTORY", &credentials)
            .output()
            .unwrap()
    };
    let shown: Value = serde_json::from_slice(&run(&["--json", "config", "show"]).stdout).unwrap();
    let values = shown["values"].as_array().unwrap();
    let given = values.iter().find(|row| row["origin"] == "credential");
    assert_eq!(given.unwrap()["value"], "\"192.0.2.7:8443\"");
    let lines = text(&run(&["config", "show"]).stdout);
    assert_eq!(lines.lines().count(), values.len());
    assert!(lines.contains("system credential"), "{lines}");
    std::fs::write(credentials.join("dawnkey.spki_sha256"), "00").unwrap();
    let output = run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("`dawnkey.spki_sha256` is not taken from there"),
        "{said}"
    );
}

#[test]
fn diagnose_says_that_nothing_listens_and_what_to_do() {
    let scratch = Scratch::new(CONFIG);
    let output = agent(&scratch.config(), &["diagnose"]);
    assert_eq!(output.status.code(), Some(20));
    let said = text(&output.stdout);
    for about in [
        "default-route ",
        "dns-server ",
        "clock ",
        "source ",
        "service ",
        "advice ",
    ] {
        assert!(said.lines().any(|line| line.starts_with(about)), "{said}");
    }
    assert!(said.contains("start the key service"), "{said}");
    let output = agent(&scratch.config(), &["--json", "diagnose"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["cause"], "refused");
}

#[test]
fn diagnose_without_any_network_says_that_no_link_is_up() {
    let scratch = Scratch::new(CONFIG);
    // A network namespace of its own has a loopback that is down, and nothing else.
    let alone = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--net", program]).args(arguments);
        command.output()
    };
    if !alone("true", &[]).is_ok_and(|output| output.status.success()) {
        return;
    }
    let config = scratch.config();
    let arguments = ["--json", "--config", config.to_str().unwrap(), "diagnose"];
    let output = alone(env!("CARGO_BIN_EXE_dawnkey-agent"), &arguments).unwrap();
    assert_eq!(output.status.code(), Some(20));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["cause"], "link", "{report}");
    assert_eq!(report["links"], Value::Array(Vec::new()));
}
