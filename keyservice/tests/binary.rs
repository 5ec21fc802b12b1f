//! The program itself: checking, starting, reloading, stopping.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dawnkey-keyservice");
const NOT_HARDENED: i32 = 70;

fn site() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(params, ca_key);
    let mut leaf = CertificateParams::new(vec!["keyservice.test".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("ca.pem", &ca);
    write("server.pem", &certificate.pem());
    write("server.key", &key.serialize_pem());
    write("policy.toml", "version = 1\n[roots]\ntpm_ek = []\n");
    let config = format!(
        r#"
service_id = "a0000000-0000-4000-8000-000000000001"
listen = {{ unlock = "127.0.0.1:0", admin = "127.0.0.1:0", metrics = "127.0.0.1:0" }}
tls = {{ certificate = "server.pem", key = "server.key", admin_ca = "ca.pem" }}
store = {{ kind = "redb", path = "dawnkey.redb" }}
kek.provider = [{{ name = "cluster", kind = "cluster", salt = "{}", master_secret = "fd" }}]
policy = {{ file = "policy.toml" }}
audit = {{ file = "audit.log" }}
"#,
        "00".repeat(32)
    );
    write("keyservice.toml", &config);
    scratch
}

fn command(site: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("--config")
        .arg(site.join("keyservice.toml"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Whether this machine lets the program lock its memory; if not, it must have said how to change that.
fn hardened(output: &Output) -> bool {
    let refused = output.status.code() == Some(NOT_HARDENED);
    if refused {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("LimitMEMLOCK=infinity"), "{text}");
    }
    !refused
}

fn check(site: &Path) -> Output {
    command(site).arg("--check").output().unwrap()
}

fn signal(child: &Child, name: &str) {
    // The shell's own: a small Debian has no program of that name.
    let sent = Command::new("sh")
        .args(["-c", "kill $0 $1", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Reads the log until a line has `text`.
fn wait_for(log: &mut impl BufRead, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "no `{text}`");
    }
}

#[test]
fn check_accepts_a_usable_configuration_and_prints_policy_findings() {
    let site = site();
    let output = check(site.path());
    if hardened(&output) {
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("policy: volume-policy: there is none"),
            "{text}"
        );
        assert!(!site.path().join("dawnkey.redb").exists());
        assert!(!site.path().join("audit.log").exists());
    }
}

#[test]
fn check_lists_every_problem_and_live_asks_the_store_and_the_provider() {
    let site = site();
    let live = || {
        let mut child = command(site.path())
            .args(["--check", "--live", "--master-secret-fd", "0"])
            .spawn()
            .unwrap();
        // A program that may not lock its memory reads nothing.
        let _ = child.stdin.take().unwrap().write_all(&[7; 32]);
        child.wait_with_output().unwrap()
    };
    let output = live();
    if !hardened(&output) {
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("note: store: there is none yet"), "{said}");
    assert!(!said.contains("not asked"), "{said}");
    assert!(!site.path().join("dawnkey.redb").exists());
    fs::write(site.path().join("dawnkey.redb"), "no store").unwrap();
    for file in ["dawnkey.redb", "server.key"] {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(site.path().join(file), mode).unwrap();
    }
    let output = live();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let problems: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("problem: "))
        .collect();
    for expected in [
        "server.key has mode 0644",
        "dawnkey.redb: mode",
        "open the store",
    ] {
        assert!(problems.iter().any(|p| p.contains(expected)), "{said}");
    }
    assert_eq!(problems.len(), 3, "{said}");
}

#[test]
fn doctor_proves_the_provider_without_a_running_service() {
    let site = site();
    let mut child = command(site.path())
        .args(["--doctor", "--master-secret-fd", "0"])
        .spawn()
        .unwrap();
    // A program that may not lock its memory reads nothing.
    let _ = child.stdin.take().unwrap().write_all(&[7; 32]);
    let output = child.wait_with_output().unwrap();
    if hardened(&output) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("ok   round trip"), "{said}");
        assert!(!site.path().join("dawnkey.redb").exists());
    }
}

#[test]
fn check_says_which_file_and_key_is_wrong() {
    for (file, text, expected) in [
        ("keyservice.toml", "service_id = 1", "service_id"),
        (
            "policy.toml",
            "version = 2\n[roots]\ntpm_ek = []",
            "`version` is 2",
        ),
        ("server.pem", "", "server.pem: no certificate in PEM"),
    ] {
        let site = site();
        fs::write(site.path().join(file), text).unwrap();
        let output = check(site.path());
        if hardened(&output) {
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(file) && said.contains(expected), "{said}");
        }
    }
}

#[test]
fn refuses_to_start_without_a_master_secret() {
    let site = site();
    let output = command(site.path()).output().unwrap();
    if hardened(&output) {
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("--master-secret-fd N"), "{said}");
    }
}

#[test]
fn starts_reloads_on_hangup_and_stops_cleanly_on_terminate() {
    let site = site();
    if !hardened(&check(site.path())) {
        return;
    }
    let mut child = command(site.path())
        .args(["--master-secret-fd", "0"])
        .spawn()
        .unwrap();
    let secret = "5a".repeat(32);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(secret.as_bytes())
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut log, "what=\"metrics\"");
    fs::write(
        site.path().join("policy.toml"),
        "version = 1 # changed\n[roots]\ntpm_ek = []\n",
    )
    .unwrap();
    signal(&child, "-HUP");
    wait_for(&mut log, "policy in force");
    signal(&child, "-TERM");
    wait_for(&mut log, "stopped");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let audit = fs::read(site.path().join("audit.log")).unwrap();
    let mut events = Vec::new();
    dawnkey_keyservice::audit::read(audit.as_slice(), |r| events.push(r.event)).unwrap();
    assert_eq!(events, ["start", "policy", "tls", "stop"]);
    for file in fs::read_dir(site.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let raw = [0x5a; 32];
        let leaked = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        assert!(
            !leaked(&raw) && !leaked(secret.as_bytes()),
            "the secret is in a file"
        );
    }
}
