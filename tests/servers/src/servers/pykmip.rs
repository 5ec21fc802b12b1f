//! PyKMIP: a KMIP server of versions 1.0 to 2.0 over TLS 1.2, with SQLite behind it.

use super::pki::Pki;
use crate::process::{Process, run};
use crate::{ports, python};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Its version.
pub const VERSION: &str = "0.11.0";
const PACKAGES: &[&str] = &["PyKMIP==0.11.0", "cryptography==50.0.2"];
const ADMIN: &str = include_str!("pykmip_admin.py");

/// A running server; ends with the value.
pub struct PyKmip {
    /// Its certificates.
    pub pki: Pki,
    /// Its port on 127.0.0.1.
    pub port: u16,
    bin: PathBuf,
    _process: Process,
}

impl PyKmip {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not listen within a minute.
    #[must_use]
    pub fn start() -> Self {
        let bin = python::environment("pykmip", PACKAGES);
        let pki = Pki::new();
        let port = ports::free();
        let config = pki.file("server.conf");
        let at = |name: &str| pki.file(name).display().to_string();
        let policies = pki.file("policies");
        fs::create_dir(&policies).expect("policy directory");
        let text = format!(
            "[server]\nhostname=127.0.0.1\nport={port}\ncertificate_path={}\nkey_path={}\nca_path={}\n\
             auth_suite=TLS1.2\npolicy_path={}\nenable_tls_client_auth=True\nlogging_level=ERROR\n\
             database_path={}\n",
            at("server.pem"),
            at("server.key"),
            at("ca.pem"),
            policies.display(),
            at("pykmip.db"),
        );
        fs::write(&config, text).expect("configuration");
        fs::write(pki.file("admin.py"), ADMIN).expect("admin script");
        let mut command = Command::new(bin.join("pykmip-server"));
        command
            .arg("-f")
            .arg(&config)
            .arg("-l")
            .arg(at("server.log"));
        let mut process = Process::start(&mut command, &pki.file("output.log"));
        process.wait_port(port, Duration::from_secs(60));
        Self {
            pki,
            port,
            bin,
            _process: process,
        }
    }

    /// Makes an active AES-256 key of alice's and gives its identifier.
    #[must_use]
    pub fn create(&self, name: &str) -> String {
        self.admin(&["create", name])
    }

    /// Deactivates a key for good.
    pub fn deactivate(&self, id: &str) {
        self.admin(&["deactivate", id]);
    }

    /// Destroys a key that is deactivated.
    pub fn destroy(&self, id: &str) {
        self.admin(&["destroy", id]);
    }

    fn admin(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.bin.join("python"));
        command
            .arg(self.pki.file("admin.py"))
            .arg(self.port.to_string());
        let file = |name: &str| -> PathBuf { self.pki.file(name) };
        let files: [&Path; 3] = [&file("ca.pem"), &file("alice.pem"), &file("alice.key")];
        run(command.args(files).args(arguments)).trim().to_owned()
    }
}
