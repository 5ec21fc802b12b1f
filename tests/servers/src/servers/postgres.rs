//! PostgreSQL as Debian packages it: a cluster of its own in a scratch directory, as an unprivileged user.

use crate::ports;
use crate::process::{Process, run};
use crate::toolchain::Tool;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// What a suite needs.
pub const TOOL: Tool = Tool::Program("/usr/lib/postgresql", "postgresql");

/// A running server with the role `dawnkey`, its password, and the database `dawnkey`.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    scratch: TempDir,
    /// Loopback port.
    pub port: u16,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// When one of both fails.
    #[must_use]
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(scratch.path(), open).unwrap();
        let home = scratch.path().join("home");
        std::fs::create_dir(&home).unwrap();
        if let Some((user, group)) = other() {
            chown(&home, Some(user), Some(group)).unwrap();
        }
        let password = scratch.path().join("password");
        std::fs::write(&password, "of-the-superuser\n").unwrap();
        if let Some((user, group)) = other() {
            chown(&password, Some(user), Some(group)).unwrap();
        }
        let mut make = program("initdb", &home);
        make.args(["--auth=scram-sha-256", "--username=admin", "--no-sync"]);
        make.arg(format!("--pwfile={}", password.display()));
        run(make.arg("--pgdata").arg(home.join("data")));
        let port = ports::free();
        let process = serve(&home, scratch.path(), port);
        let mut server = Self {
            process,
            scratch,
            port,
        };
        server.ready();
        server.ask("CREATE ROLE dawnkey LOGIN PASSWORD 'of-dawnkey'");
        server.ask("CREATE DATABASE dawnkey OWNER dawnkey");
        server
    }

    /// A file with the password of the role `dawnkey`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn password(&self) -> PathBuf {
        let path = self.scratch.path().join("of-dawnkey");
        std::fs::write(&path, "of-dawnkey\n").unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).unwrap();
        path
    }

    /// Runs SQL as the superuser and returns what it prints.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn ask(&self, sql: &str) -> String {
        self.ask_in("postgres", sql)
    }

    /// The same in another database.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn ask_in(&self, database: &str, sql: &str) -> String {
        let (home, port) = (self.home(), self.port.to_string());
        let mut psql = program("psql", &home);
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        psql.args(["--host=127.0.0.1", "--username=admin", "--dbname", database]);
        psql.args(["--set=ON_ERROR_STOP=1", "--port", &port, "--command", sql]);
        run(psql.env("PGPASSWORD", "of-the-superuser"))
    }

    /// Kills the server as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Postgres::kill`].
    pub fn restart(&mut self) {
        self.process = serve(&self.home(), self.scratch.path(), self.port);
        self.ready();
    }

    fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    fn ready(&mut self) {
        let (home, port) = (self.home(), self.port.to_string());
        let look = || {
            let mut ready = program("pg_isready", &home);
            ready.args(["--quiet", "--host=127.0.0.1", "--port", &port]);
            ready.status().is_ok_and(|s| s.success()).then_some(())
        };
        self.process
            .wait("PostgreSQL", Duration::from_secs(300), look);
    }
}

fn serve(home: &Path, scratch: &Path, port: u16) -> Process {
    let mut server = program("postgres", home);
    server.arg("-D").arg(home.join("data"));
    server.args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    server.arg("-k").arg(home);
    Process::start(&mut server, &scratch.join("log"))
}

/// A program of the newest version that is installed, run as who may run a server.
fn program(name: &str, home: &Path) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut versions: Vec<PathBuf> = versions.map(|v| v.unwrap().path()).collect();
    versions.sort();
    let newest = versions.last().expect("a version of PostgreSQL");
    let path = newest.join("bin").join(name);
    let mut command = match other() {
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &user.to_string(), "--regid", &group.to_string()]);
            command.arg("--clear-groups").arg(path);
            command
        }
        None => Command::new(path),
    };
    command.current_dir(home).env("LC_ALL", "C");
    command
}

/// The server refuses to run as root: then it runs as nobody.
fn other() -> Option<(u32, u32)> {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    root.then_some((65534, 65534))
}
