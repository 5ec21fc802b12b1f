//! Azurite, the vendor's emulator of Azure Blob Storage.

use crate::process::{Process, run};
use crate::{npm, ports};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Version of Azurite.
pub const AZURITE: &str = "azurite@3.37.0";
/// The emulator's account.
pub const ACCOUNT: &str = "devstoreaccount1";
/// The account's key, which the vendor publishes.
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite with an empty container.
#[derive(Debug)]
pub struct Azurite {
    _process: Process,
    scratch: TempDir,
    /// Loopback port.
    pub port: u16,
}

impl Azurite {
    /// Starts it and makes the container.
    ///
    /// # Panics
    /// When one of both fails.
    #[must_use]
    pub fn start(container: &str) -> Self {
        let programs = npm::programs("azurite", &[AZURITE]);
        let scratch = tempfile::tempdir().unwrap();
        let port = ports::free();
        let mut server = Command::new(programs.join("azurite-blob"));
        server.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        server.args(["--skipApiVersionCheck", "--disableTelemetry", "--location"]);
        server.arg(scratch.path().join("data"));
        let mut process = Process::start(&mut server, &scratch.path().join("log"));
        process.wait_port(port, Duration::from_secs(300));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/make_container.mjs");
        run(Command::new("node")
            .arg(script)
            .args([&port.to_string(), container]));
        Self {
            _process: process,
            scratch,
            port,
        }
    }

    /// A credential file with the account's key.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        super::credential(self.scratch.path(), &format!("account_key = \"{KEY}\"\n"))
    }
}
