//! Keystone 30 and Barbican 23 with SQLite and Barbican's software crypto plugin, each under gunicorn.

use crate::process::{Process, run};
use crate::{ports, python};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is installed: Barbican, Keystone, gunicorn, and all that they need.
const PACKAGES: &str = include_str!("../../python/openstack.txt");
/// Importing all of it takes its time on a busy machine.
const START: Duration = Duration::from_secs(180);

/// Both servers, in a directory of their own.
#[derive(Debug)]
pub struct OpenStack {
    directory: tempfile::TempDir,
    bin: PathBuf,
    keystone: u16,
    barbican: u16,
    processes: Vec<Process>,
}

impl OpenStack {
    /// Starts both and waits until they listen.
    ///
    /// # Panics
    /// With the output of what fails.
    #[must_use]
    pub fn start() -> Self {
        let packages: Vec<&str> = PACKAGES.lines().collect();
        let bin = python::environment("openstack", &packages);
        let directory = tempfile::tempdir().expect("make a directory");
        let (keystone, barbican) = (ports::free(), ports::free());
        let path = directory.path();
        write_keystone(path);
        write_barbican(path, &bin, keystone, barbican);
        prepare(path, &bin, keystone);
        let mut servers = Self {
            directory,
            bin,
            keystone,
            barbican,
            processes: Vec::new(),
        };
        servers.serve("keystone_app", keystone);
        servers.serve("barbican_app", barbican);
        servers
    }

    fn serve(&mut self, app: &str, port: u16) {
        let path = self.directory.path();
        let mut command = Command::new(self.bin.join("gunicorn"));
        command.args(["--no-control-socket", "--threads", "8", "--bind"]);
        command.args([format!("127.0.0.1:{port}"), format!("{app}:application")]);
        let log = path.join(format!("{app}.log"));
        let mut process = Process::start(surroundings(&mut command, path), &log);
        process.wait(app, START, || ready(port));
        self.processes.push(process);
    }

    /// Starts Barbican anew, which then asks Keystone about every token again.
    ///
    /// # Panics
    /// As [`OpenStack::start`].
    pub fn restart_barbican(&mut self) {
        drop(self.processes.pop());
        self.serve("barbican_app", self.barbican);
    }

    /// Where Keystone is.
    #[must_use]
    pub fn auth_url(&self) -> String {
        format!("http://127.0.0.1:{}/v3", self.keystone)
    }

    /// The directory of the servers, where a suite may put files too.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a command of `openstack_admin.py`; its result in JSON.
    ///
    /// # Panics
    /// With its output, when it fails.
    #[must_use]
    pub fn admin(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.bin.join("python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/openstack_admin.py"));
        command.arg(self.auth_url());
        command.arg(format!("http://127.0.0.1:{}", self.barbican));
        run(command.arg(self.directory.path()).args(arguments))
    }
}

/// Whether something answers HTTP there: gunicorn listens before its workers have imported the application.
fn ready(port: u16) -> Option<()> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    head.starts_with(b"HTTP/1.1").then_some(())
}

fn surroundings<'a>(command: &'a mut Command, path: &Path) -> &'a mut Command {
    // Barbican finds its configuration by HOME.
    command
        .env("HOME", path)
        .env("OS_KEYSTONE_CONFIG_DIR", path);
    command.current_dir(path)
}

fn prepare(path: &Path, bin: &Path, keystone: u16) {
    let url = format!("http://127.0.0.1:{keystone}/v3");
    let manage = |arguments: &[&str]| {
        let mut command = Command::new(bin.join("keystone-manage"));
        command.arg("--config-file").arg(path.join("keystone.conf"));
        run(surroundings(&mut command, path).args(arguments));
    };
    manage(&["db_sync"]);
    fs::create_dir(path.join("fernet")).expect("make a directory");
    let user = run(Command::new("id").arg("-un"));
    let group = run(Command::new("id").arg("-gn"));
    manage(&[
        "fernet_setup",
        &format!("--keystone-user={}", user.trim()),
        &format!("--keystone-group={}", group.trim()),
    ]);
    manage(&[
        "bootstrap",
        "--bootstrap-password=pw",
        "--bootstrap-region-id=RegionOne",
        &format!("--bootstrap-public-url={url}"),
        &format!("--bootstrap-internal-url={url}"),
    ]);
    let mut migrate = Command::new(bin.join("barbican-manage"));
    run(surroundings(&mut migrate, path).args(["db", "upgrade"]));
}

fn write(path: &Path, name: &str, text: &str) {
    fs::write(path.join(name), text).expect("write a configuration");
}

fn write_keystone(path: &Path) {
    let place = path.display();
    let text = format!(
        "[database]\nconnection = sqlite:///{place}/keystone.db\n[token]\nprovider = fernet\n\
         [fernet_tokens]\nkey_repository = {place}/fernet\n[cache]\nenabled = false\n\
         [identity]\npassword_hash_rounds = 4\n"
    );
    write(path, "keystone.conf", &text);
    // Keystone takes the server's arguments for its own.
    let app = "import sys\nsys.argv = [\"keystone\"]\nfrom keystone.wsgi.api import application\n";
    write(path, "keystone_app.py", app);
}

fn write_barbican(path: &Path, bin: &Path, keystone: u16, barbican: u16) {
    let place = path.display();
    let url = format!("http://127.0.0.1:{keystone}/v3");
    let text = format!(
        "[DEFAULT]\nhost_href = http://127.0.0.1:{barbican}\n\
         [database]\nconnection = sqlite:///{place}/barbican.db\n\
         [secretstore]\nenabled_secretstore_plugins = store_crypto\n\
         [crypto]\nenabled_crypto_plugins = simple_crypto\n\
         [simple_crypto_plugin]\nkek = YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=\n\
         [queue]\nenable = false\n\
         [keystone_authtoken]\nwww_authenticate_uri = {url}\nauth_url = {url}\nauth_type = password\n\
         username = admin\npassword = pw\nproject_name = admin\nuser_domain_id = default\nproject_domain_id = default\n"
    );
    fs::create_dir(path.join(".barbican")).expect("make a directory");
    write(&path.join(".barbican"), "barbican.conf", &text);
    let paste = bin.join("../etc/barbican/barbican-api-paste.ini");
    let app = format!(
        "from paste import deploy\napplication = deploy.loadapp(\"config:{}\")\n",
        paste
            .canonicalize()
            .expect("find Barbican's pipeline")
            .display()
    );
    write(path, "barbican_app.py", &app);
}
