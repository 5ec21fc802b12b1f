//! The clevis pin with the real `clevis` and `jose`, which must be installed. What stands for the agent hands on a secret as
//! `dawnkey-agent secret` does; that command against a key service is `tests/host/tests/join.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Text that no terminal shows, as a key may be.
const TEXT: &[u8] = b"a key\0with a byte of each end\xff\n";

/// A node whose key service releases one secret.
struct Node(tempfile::TempDir);

impl Node {
    fn new(secret: [u8; 32]) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        fs::write(node.0.path().join("secret"), secret).unwrap();
        // Hands the secret to the command behind `--`, if it was asked as the pin must ask, and writes that it was.
        let agent = "#!/bin/sh\nset -eu\n\
            [ \"$1 $2 $3 $4\" = \"--config /etc/dawnkey/clevis.toml secret --\" ]\nshift 4\n\
            echo asked >>\"${0%/*}/asked\"\nexec \"$@\" <\"${0%/*}/secret\"\n";
        let file = node.agent();
        fs::write(&file, agent).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        node
    }

    fn agent(&self) -> PathBuf {
        self.0.path().join("agent")
    }

    fn asked(&self) -> bool {
        self.0.path().join("asked").exists()
    }

    fn clevis(&self, words: &[&str], input: &[u8]) -> Output {
        let pin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/clevis");
        let pin = pin.canonicalize().unwrap();
        let mut child = Command::new("clevis")
            .args(words)
            .env("PATH", format!("{}:/usr/bin:/bin", pin.display()))
            .env("DAWNKEY_AGENT", self.agent())
            .env("DAWNKEY_CLEVIS_JWE", pin.join("clevis-jwe"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs clevis");
        // One that refuses at once reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn encrypted(&self) -> Vec<u8> {
        let output = self.clevis(&["encrypt", "dawnkey", "{}"], TEXT);
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }
}

/// It ended with an error, said this, and gave nothing.
fn refused(output: &Output, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    assert!(said.contains(says), "{said}");
}

#[test]
fn what_clevis_encrypts_it_decrypts_on_the_same_node_and_on_no_other() {
    let node = Node::new([7; 32]);
    let jwe = node.encrypted();
    let output = node.clevis(&["decrypt"], &jwe);
    assert_eq!(output.stdout, TEXT, "{output:?}");
    let other = Node::new([8; 32]);
    refused(&other.clevis(&["decrypt"], &jwe), "made for another");
    // The secret is the key of a key that is new each time.
    assert_ne!(node.encrypted(), jwe);
}

#[test]
fn a_changed_jwe_gives_not_one_byte() {
    let node = Node::new([7; 32]);
    let jwe = String::from_utf8(node.encrypted()).unwrap();
    let parts: Vec<&str> = jwe.trim().split('.').collect();
    assert_eq!(parts.len(), 5);
    // Of the header a byte is changed that leaves it the JSON of this pin.
    let spaced = "eyAiYWxnIjoiQTI1NktXIiwiY2xldmlzIjp7ImRhd25rZXkiOnt9LCJwaW4iOiJkYXdua2V5In0sImVuYyI6IkEyNTZHQ00ifQ";
    for at in 0..5 {
        let mut changed: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let part = changed.get_mut(at).unwrap();
        let first = if part.starts_with('A') { "B" } else { "A" };
        if at == 0 {
            *part = spaced.to_owned();
        } else {
            part.replace_range(..1, first);
        }
        let output = node.clevis(&["decrypt"], changed.join(".").as_bytes());
        refused(&output, "it was changed");
    }
}

#[test]
fn a_foreign_jwe_is_refused_before_the_service_is_asked() {
    let node = Node::new([7; 32]);
    let header = |text: &str| {
        let encoded = Command::new("jose")
            .args(["b64", "enc", "-I-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                child.stdin.take().unwrap().write_all(text.as_bytes())?;
                child.wait_with_output()
            });
        let encoded = String::from_utf8(encoded.unwrap().stdout).unwrap();
        format!("{}.a.b.c.d", encoded.trim())
    };
    let direct = r#"{"alg":"dir","enc":"A256GCM","clevis":{"pin":"dawnkey","dawnkey":{}}}"#;
    refused(
        &node.clevis(&["decrypt"], header(direct).as_bytes()),
        "other algorithms",
    );
    let pin =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/clevis/clevis-decrypt-dawnkey");
    for (jwe, says) in [
        (
            header(r#"{"alg":"A256KW","enc":"A256GCM","clevis":{"pin":"tang"}}"#),
            "not of the pin",
        ),
        ("no JWE".into(), "no compact JWE"),
        (String::new(), "not of the pin"),
    ] {
        let mut child = Command::new(&pin)
            .env("DAWNKEY_AGENT", node.agent())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(jwe.as_bytes())
            .unwrap();
        refused(&child.wait_with_output().unwrap(), says);
    }
    assert!(!node.asked());
}

#[test]
fn a_configuration_with_a_field_is_refused() {
    let node = Node::new([7; 32]);
    for config in [r#"{"url":"http://host"}"#, "[]", "{"] {
        let output = node.clevis(&["encrypt", "dawnkey", config], TEXT);
        refused(&output, "must be {}");
    }
    assert!(!node.asked());
}
