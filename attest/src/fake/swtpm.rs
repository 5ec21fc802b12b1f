//! swtpm with EK certificates of a CA that lives in a scratch directory; nothing outside it is read or written.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long swtpm may take to listen.
const START: Duration = Duration::from_secs(20);

/// Kind of endorsement key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EkKind {
    /// RSA-2048.
    Rsa,
    /// ECC (swtpm makes P-384).
    Ecc,
}

/// A local CA for EK certificates: a root and an issuer, made by the first TPM that needs one.
#[derive(Debug)]
pub struct SwtpmCa {
    dir: TempDir,
}

impl Default for SwtpmCa {
    fn default() -> Self {
        Self::new()
    }
}

impl SwtpmCa {
    /// An empty CA directory with its configuration.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let options = "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n";
        fs::write(at("localca.options"), options).unwrap();
        let localca = format!(
            "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
            dir.path().display(),
            at("signkey.pem"),
            at("issuercert.pem"),
            at("certserial"),
        );
        fs::write(at("localca.conf"), localca).unwrap();
        let setup = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n\
             active_pcr_banks = sha256\n",
            "/usr/bin/swtpm_localca",
            at("localca.conf"),
            at("localca.options"),
        );
        fs::write(at("setup.conf"), setup).unwrap();
        Self { dir }
    }

    /// The root's certificate, PEM. There is one as soon as a TPM was made.
    pub fn root_pem(&self) -> Vec<u8> {
        fs::read(self.root_path()).expect("a TPM was made by this CA")
    }

    /// Path of the root's certificate.
    pub fn root_path(&self) -> PathBuf {
        self.dir.path().join("swtpm-localca-rootca-cert.pem")
    }

    /// The issuer's certificate, PEM.
    pub fn issuer_pem(&self) -> Vec<u8> {
        fs::read(self.issuer_path()).expect("a TPM was made by this CA")
    }

    /// Path of the issuer's certificate.
    pub fn issuer_path(&self) -> PathBuf {
        self.dir.path().join("issuercert.pem")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("setup.conf")
    }
}

/// A running software TPM; stopped when dropped.
#[derive(Debug)]
pub struct Swtpm {
    state: TempDir,
    child: Child,
    port: u16,
}

impl Swtpm {
    /// Makes a TPM with an EK certificate of `ca`, its SHA-256 and SHA-384 banks active, and starts it.
    pub fn start(ca: &SwtpmCa, kind: EkKind) -> Self {
        let state = tempfile::tempdir().expect("scratch directory");
        let mut setup = Command::new("swtpm_setup");
        setup.args([
            "--tpm2",
            "--create-ek-cert",
            "--pcr-banks",
            "sha256,sha384",
            "--overwrite",
        ]);
        setup
            .arg("--tpmstate")
            .arg(state.path())
            .arg("--config")
            .arg(ca.config());
        if kind == EkKind::Ecc {
            setup.arg("--ecc");
        }
        let output = setup
            .output()
            .expect("swtpm_setup (Debian package swtpm-tools)");
        assert!(
            output.status.success(),
            "swtpm_setup failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let (child, port) = run(state.path());
        Self { state, child, port }
    }

    /// The TCTI to reach it.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Turns it off and on: PCRs at their start values, persistent keys kept.
    pub fn reboot(&mut self) {
        self.stop();
        (self.child, self.port) = run(self.state.path());
    }

    /// Turns it off.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts swtpm on a free pair of ports (the control channel is at the port after the TPM's).
fn run(state: &Path) -> (Child, u16) {
    for _ in 0..20 {
        let port = free_pair();
        let mut child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=tcp,bindaddr=127.0.0.1,port={port}"))
            .arg("--ctrl")
            .arg(format!("type=tcp,bindaddr=127.0.0.1,port={}", port + 1))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm (Debian package swtpm)");
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if child.try_wait().unwrap().is_some() {
                break; // someone took a port in between
            }
            if TcpStream::connect(("127.0.0.1", port + 1)).is_ok() {
                return (child, port);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    panic!("swtpm found no free pair of ports");
}

fn free_pair() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
