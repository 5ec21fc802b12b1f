//! An emulator of Google Cloud Storage that keeps preconditions, or ignores them.

use crate::process::Process;
use crate::{go, ports};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A running emulator with an empty bucket.
#[derive(Debug)]
pub struct Gcs {
    _process: Process,
    _scratch: TempDir,
    /// Loopback port.
    pub port: u16,
}

/// Starts fake-gcs-server. A careless one takes every conditional write.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn fake(bucket: &str, careless: bool) -> Gcs {
    let port = ports::free();
    let mut server = Command::new(go::program("fake-gcs-server"));
    server.args(["-port", &port.to_string(), "-bucket", bucket]);
    if careless {
        server.arg("-careless");
    }
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
