//! The key service as a process of its own.

use super::pki::Pki;
use super::{CONFIG, World};
use dawnkey_attest::fake::SwtpmCa;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A service that is killed when this is dropped.
pub struct Process(Child);

impl Process {
    /// Starts `program` with a section `[limits]` and a policy that names these files, and waits until it listens.
    pub async fn start(
        program: &Path,
        limits: &str,
        policy: &str,
        files: &[(&str, Vec<u8>)],
    ) -> (World, Self) {
        let config = CONFIG.replacen("[listen]", "[listen]\naddresses_file = \"addresses\"", 1);
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        World::lay_out(dir.path(), &pki, policy, files);
        std::fs::write(dir.path().join("keyservice.toml"), config + limits).unwrap();
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(dir.path().join("keyservice.toml"));
        command
            .args(["--master-secret-fd", "0"])
            .env("RUST_LOG", "warn");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&[0x77; 32]).unwrap();
        let process = Self(child);
        let addresses = dir.path().join("addresses");
        while !addresses.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let text = std::fs::read_to_string(addresses).unwrap();
        let world = World {
            pki,
            tpm_ca: SwtpmCa::new(),
            running: None,
            address: address(&text, "unlock"),
            admin: address(&text, "admin"),
            metrics: address(&text, "metrics"),
            dir,
        };
        (world, process)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

fn address(text: &str, name: &str) -> SocketAddr {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("{name} = \"")));
    line.unwrap().trim_end_matches('"').parse().unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
