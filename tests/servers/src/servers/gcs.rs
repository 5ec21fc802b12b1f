//! Emulators of Google Cloud Storage: one that keeps preconditions, and one that ignores them.

use crate::process::Process;
use crate::{go, ports, python};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The emulator that ignores preconditions, and what it needs.
pub const CARELESS: [&str; 2] = ["gcp-storage-emulator==2026.7.19", "setuptools<81"];

/// A running emulator with an empty bucket.
#[derive(Debug)]
pub struct Gcs {
    _process: Process,
    _scratch: TempDir,
    /// Loopback port.
    pub port: u16,
}

/// Starts fake-gcs-server.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn fake(bucket: &str) -> Gcs {
    let port = ports::free();
    let mut server = Command::new(go::program("fake-gcs-server"));
    server.args(["-port", &port.to_string(), "-bucket", bucket]);
    running(server, port)
}

/// Starts the emulator of PyPI that takes every conditional write.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn careless(bucket: &str) -> Gcs {
    let bin = python::environment("gcp-storage-emulator", &CARELESS);
    let port = ports::free();
    let mut server = Command::new(bin.join("gcp-storage-emulator"));
    server.args(["start", "--host=127.0.0.1", "--in-memory"]);
    server.args([
        &format!("--port={port}"),
        &format!("--default-bucket={bucket}"),
    ]);
    running(server, port)
}

fn running(mut command: Command, port: u16) -> Gcs {
    let scratch = tempfile::tempdir().unwrap();
    command.current_dir(scratch.path());
    let mut process = Process::start(&mut command, &scratch.path().join("log"));
    process.wait_port(port, Duration::from_secs(300));
    Gcs {
        _process: process,
        _scratch: scratch,
        port,
    }
}
