//! Server processes: in a group of their own, ended with the value.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A running server. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a server with its output in `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let out = File::create(log).expect("make the log file");
        let errors = out.try_clone().expect("share the log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Waits for a condition; the server must live until then.
    ///
    /// # Panics
    /// With the end of the log, when the server has ended or the time is over.
    pub fn wait<T>(&mut self, what: &str, limit: Duration, look: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("server ended ({status}) before {what}:\n{}", self.tail());
            }
            assert!(
                Instant::now() < end,
                "no {what} within {limit:?}:\n{}",
                self.tail()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Waits until something accepts connections on a loopback port.
    ///
    /// # Panics
    /// As [`Process::wait`].
    pub fn wait_port(&mut self, port: u16, limit: Duration) {
        self.wait(&format!("listener on port {port}"), limit, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    /// The last lines of its output.
    #[must_use]
    pub fn tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(40);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// Its process id, which is also that of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it now.
    pub fn kill(&mut self) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end.
///
/// # Panics
/// With its output, when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("run {command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{text}\n{errors}");
    text
}
