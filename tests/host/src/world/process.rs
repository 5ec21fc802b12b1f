//! The key service as a process of its own, alone or with others over one store.

use super::pki::Pki;
use super::{CONFIG, World};
use dawnkey_attest::fake::SwtpmCa;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How often something is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What services read that nodes take for one service.
pub struct Site {
    dir: Arc<TempDir>,
    pki: Pki,
}

/// What one service of a site has for itself.
pub struct Own<'a> {
    /// Names its files.
    pub name: &'a str,
    /// Where nodes find it; 0 lets the system choose.
    pub port: u16,
    /// Its section `[store]`; without it a file of its own.
    pub store: Option<&'a str>,
    /// Its section `[kek]`, whose providers need no master secret; without it its KEK is in its memory.
    pub kek: Option<&'a str>,
    /// Its section `[limits]`.
    pub limits: &'a str,
}

impl Site {
    /// With a policy that names these files.
    pub fn new(policy: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let (dir, pki) = (tempfile::tempdir().unwrap(), Pki::new());
        World::lay_out(dir.path(), &pki, policy, files);
        let dir = Arc::new(dir);
        Self { dir, pki }
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a service by a command to which `--config FILE` is added, and `--master-secret-fd 0` where it needs one, and waits until it listens.
    pub async fn start(&self, mut command: Command, own: &Own<'_>) -> (World, Process) {
        let at = |kind: &str| self.path().join(format!("{}.{kind}", own.name));
        let text = CONFIG
            .replacen(
                "[listen]",
                &format!("[listen]\naddresses_file = \"{}.addresses\"", own.name),
                1,
            )
            .replacen(
                "unlock = \"127.0.0.1:0\"",
                &format!("unlock = \"127.0.0.1:{}\"", own.port),
                1,
            )
            .replacen(super::STORE, own.store.unwrap_or(super::STORE), 1)
            .replacen(super::KEK, own.kek.unwrap_or(super::KEK), 1)
            .replacen("audit.log", &format!("{}.log", own.name), 1);
        std::fs::write(at("toml"), text + own.limits).unwrap();
        let _ = std::fs::remove_file(at("addresses"));
        command.arg("--config").arg(at("toml"));
        if own.kek.is_none() {
            command.args(["--master-secret-fd", "0"]);
        }
        command.env("RUST_LOG", "warn").stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that needs no secret may not read it.
        let _ = child.stdin.take().unwrap().write_all(&[0x77; 32]);
        let mut process = Process(child);
        while !at("addresses").exists() {
            let ended = process.0.try_wait().unwrap();
            assert_eq!(ended, None, "{} did not start", own.name);
            tokio::time::sleep(POLL).await;
        }
        let text = std::fs::read_to_string(at("addresses")).unwrap();
        let world = World {
            pki: self.pki.clone(),
            tpm_ca: SwtpmCa::new(),
            running: None,
            address: address(&text, "unlock"),
            admin: address(&text, "admin"),
            metrics: address(&text, "metrics"),
            dir: Arc::clone(&self.dir),
        };
        (world, process)
    }
}

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
        let own = Own {
            name: "keyservice",
            port: 0,
            store: None,
            kek: None,
            limits,
        };
        let site = Site::new(policy, files);
        site.start(Command::new(program), &own).await
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        let id = Pid::from_raw(self.id().try_into().unwrap());
        kill(id, Signal::SIGTERM).unwrap();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
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
