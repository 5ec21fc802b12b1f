//! `initramfs/list`: what enters an initramfs, and when none is made.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CONFIG: &str = "node_name = \"node-1\"\n[[volume]]\nfilesystem = \"ext4\"\n";

/// A directory like `/etc/dawnkey`.
struct Etc(tempfile::TempDir);

impl Etc {
    fn new() -> Self {
        let etc = Etc(tempfile::tempdir().unwrap());
        let list = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../initramfs/initramfs.conf");
        etc.write("initramfs.conf", &fs::read_to_string(list).unwrap());
        etc
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        mode(&path, 0o644);
        path
    }

    fn list(&self, what: &str, agent: &str) -> Output {
        let list = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../initramfs/list");
        Command::new(list)
            .arg(what)
            .env("DAWNKEY_ETC", self.0.path())
            .env("DAWNKEY_AGENT", agent)
            .env("DAWNKEY_CRYPTTAB", self.0.path().join("crypttab"))
            .output()
            .unwrap()
    }

    /// Files below another user's directory are refused for their owner: there is no more to see then.
    fn belongs_to_root(&self) -> bool {
        fs::metadata(self.0.path()).unwrap().uid() == 0
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty() || !output.stdout.ends_with(b"unit\n"));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn lists_our_files_and_no_private_key() {
    let etc = Etc::new();
    etc.write("agent.toml", CONFIG);
    etc.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    etc.write("ca-key.pem", "-----BEGIN PRIVATE KEY-----\n");
    let output = etc.list("files", "/bin/true");
    if !etc.belongs_to_root() {
        assert!(refused(&output).contains("does not belong to root"));
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let of = |kind: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter(|(found, _)| *found == kind)
            .map(|(_, name)| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect()
    };
    assert_eq!(of("file"), ["agent.toml", "ca.pem", "mke2fs.conf"]);
    assert_eq!(of("program"), ["true", "mke2fs"]);
    assert_eq!(of("unit"), ["dawnkey-unlock@agent.service"]);
    assert!(of("module").contains(&"dm-integrity".to_owned()));
    assert!(of("optional").contains(&"sev-guest".to_owned()));
}

#[test]
fn configuration_that_others_can_write_is_refused() {
    let etc = Etc::new();
    let config = etc.write("agent.toml", CONFIG);
    for open in [0o664, 0o646] {
        mode(&config, open);
        let said = refused(&etc.list("files", "/bin/true"));
        if etc.belongs_to_root() {
            assert!(
                said.contains("chmod go-w") && said.contains("agent.toml"),
                "{said}"
            );
        }
    }
}

#[test]
fn configuration_that_the_agent_refuses_is_refused() {
    let etc = Etc::new();
    etc.write("agent.toml", CONFIG);
    refused(&etc.list("files", "/bin/false"));
}

#[test]
fn left_out_where_there_is_no_configuration_and_refused_where_one_is_wanted() {
    let etc = Etc::new();
    assert_eq!(etc.list("wanted", "/bin/true").status.code(), Some(1));
    let said = refused(&etc.list("files", "/bin/true"));
    if etc.belongs_to_root() {
        assert!(said.contains("agent.toml is missing"), "{said}");
    }
    etc.write("initramfs.conf", "DAWNKEY=yes\n");
    assert_eq!(etc.list("wanted", "/bin/true").status.code(), Some(0));
    etc.write("initramfs.conf", "DAWNKEY=maybe\n");
    assert!(refused(&etc.list("wanted", "/bin/true")).contains("auto, yes or no"));
    etc.write("agent.toml", CONFIG);
    etc.write("initramfs.conf", "DAWNKEY=no\n");
    assert_eq!(etc.list("wanted", "/bin/true").status.code(), Some(1));
}

#[test]
fn volume_of_crypttab_brings_its_line_and_is_refused_without_one() {
    let etc = Etc::new();
    etc.write("agent.toml", "[[volume]]\nopen = \"crypttab\"\n");
    let crypttab = etc.write("crypttab", "state /dev/vdb - headless=1\n");
    let said = refused(&etc.list("files", "/bin/true"));
    if !etc.belongs_to_root() {
        return;
    }
    assert!(said.contains("header=/run/dawnkey/NAME.header"), "{said}");
    let line = "state /dev/vdb - headless=1,header=/run/dawnkey/state.header\n";
    etc.write("crypttab", line);
    let output = etc.list("files", "/bin/true");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        format!("crypttab {}", crypttab.display()),
        "program /usr/lib/systemd/systemd-cryptsetup".into(),
        "library libcryptsetup.so.12".into(),
        "file /usr/lib/systemd/system/systemd-cryptsetup@.service.d/50-dawnkey.conf".into(),
    ] {
        assert!(
            text.lines().any(|line| line == part),
            "no `{part}` in {text}"
        );
    }
}
