//! Contract servers: our own, written from the vendors' API references (`tests/servers/python`).

use crate::process::Process;
use crate::{ports, python};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What the servers compute with.
const CRYPTOGRAPHY: &str = "cryptography==46.0.3";
const START: Duration = Duration::from_secs(60);

/// A running contract server.
#[derive(Debug)]
pub struct Contract {
    _process: Process,
    directory: tempfile::TempDir,
    /// Where its API is.
    pub api: SocketAddr,
    control: SocketAddr,
}

impl Contract {
    /// Starts the server of a script.
    #[must_use]
    pub fn start(script: &str) -> Self {
        let bin = python::environment("contract", &[CRYPTOGRAPHY]);
        let directory = tempfile::tempdir().expect("a directory for the server");
        let (api, control) = (ports::free(), ports::free());
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("python")
            .join(script);
        let mut command = Command::new(bin.join("python"));
        command.arg("-B").arg(path);
        command.args([api.to_string(), control.to_string()]);
        command.arg(directory.path());
        let mut process = Process::start(&mut command, &directory.path().join("log"));
        // The port for orders is opened last.
        process.wait_port(control, START);
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            _process: process,
            directory,
            api: at(api),
            control: at(control),
        }
    }

    /// Gives an order.
    ///
    /// # Panics
    /// When the server does not do it.
    pub fn order(&self, order: &str) {
        let mut stream = TcpStream::connect(self.control).expect("connect for an order");
        let request = format!("GET /{order} HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("send an order");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{order}: {answer}");
    }

    /// A file in the server's directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a private file there. Returns how a configuration names it as a credential.
    #[must_use]
    pub fn credential(&self, name: &str, content: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name);
        std::fs::write(&path, content).expect("write the credential file");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("make it private");
        format!("file:{}", path.display())
    }
}
