//! The operator's side of a test: the commands that a person would type, on loopback.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::{self, Guard};
use crate::error::{IoContext, VmError};
use crate::machine::SERVICE_IN_GUEST;
use crate::ports::{Ports, loopback};
use crate::swtpm::wait_for;

/// Name in the service's certificate; the agent's configuration carries the same.
pub const SERVICE_NAME: &str = "keyservice.dawnkey.internal";
/// The volume that images are configured for.
pub const VOLUME: &str = "6f0a7f0e-52a3-4c4a-9d6b-1c9a3e6f2b51";
/// Volume policy that `dawnkey init` writes.
pub const VOLUME_POLICY: &str = "state";

/// The finished programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Binaries {
    /// `dawnkey-agent`
    pub agent: PathBuf,
    /// `dawnkey-keyservice`
    pub keyservice: PathBuf,
    /// `dawnkey`
    pub dawnkey: PathBuf,
}

/// A key service's directory as `dawnkey init` makes it, and the master secret in memory.
pub struct Operator {
    dir: PathBuf,
    binaries: Binaries,
    ports: Ports,
    master_secret: String,
}

impl Operator {
    /// `dawnkey init` in `dir`.
    ///
    /// # Errors
    /// [`VmError::Tool`] with what it said.
    pub fn init(binaries: &Binaries, dir: &Path) -> Result<Self, VmError> {
        let ports = Ports::free()?;
        let mut init = Command::new(&binaries.dawnkey);
        init.arg("init")
            .arg(dir)
            .args(["--name", SERVICE_NAME, "--name", "127.0.0.1"]);
        init.args([
            "--listen",
            &loopback(ports.unlock),
            "--listen-admin",
            &loopback(ports.admin),
        ]);
        command::run(init.args(["--listen-metrics", &loopback(ports.metrics)]))?;
        let secret = command::run(Command::new(&binaries.dawnkey).args(["master-secret", "new"]))?;
        Ok(Operator {
            dir: dir.to_path_buf(),
            binaries: binaries.clone(),
            ports,
            master_secret: secret.trim().to_owned(),
        })
    }

    /// The same certificates and policy in a directory of their own, with an empty store, a new
    /// master secret and other ports.
    ///
    /// # Errors
    /// [`VmError::Io`] when files cannot be copied.
    pub fn copy_to(binaries: &Binaries, from: &Path, dir: &Path) -> Result<Self, VmError> {
        fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
        for entry in fs::read_dir(from)
            .doing(|| format!("list {}", from.display()))?
            .filter_map(Result::ok)
        {
            let path = entry.path();
            let kept = path
                .extension()
                .is_some_and(|e| ["pem", "key", "pub", "toml"].iter().any(|kept| e == *kept));
            if kept {
                fs::copy(&path, dir.join(entry.file_name()))
                    .doing(|| format!("copy {}", path.display()))?;
            }
        }
        let ports = Ports::free()?;
        let old = Ports::read(&dir.join("keyservice.toml"))?;
        for name in ["keyservice.toml", "admin.toml"] {
            let path = dir.join(name);
            let text = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
            fs::write(&path, ports.replace(old, &text))
                .doing(|| format!("write {}", path.display()))?;
        }
        let secret = command::run(Command::new(&binaries.dawnkey).args(["master-secret", "new"]))?;
        Ok(Operator {
            dir: dir.to_path_buf(),
            binaries: binaries.clone(),
            ports,
            master_secret: secret.trim().to_owned(),
        })
    }

    /// Names the TPM manufacturer's certificate in the policy.
    ///
    /// # Errors
    /// [`VmError::Lab`] when the policy is not the template of `dawnkey init`.
    pub fn trust_tpm_maker(&self, root: &Path) -> Result<(), VmError> {
        let copy = self.dir.join("tpm-maker.pem");
        fs::copy(root, &copy).doing(|| format!("copy {}", root.display()))?;
        let policy = self.policy();
        let text = fs::read_to_string(&policy).doing(|| format!("read {}", policy.display()))?;
        let edited = text.replacen("tpm_ek = []", "tpm_ek = [\"tpm-maker.pem\"]", 1);
        if edited == text {
            return Err(VmError::Lab(format!(
                "{} has no empty `tpm_ek` to fill",
                policy.display()
            )));
        }
        fs::write(&policy, edited).doing(|| format!("write {}", policy.display()))
    }

    /// Replaces the policy by `policy.toml` of a directory, together with the certificates beside it, and lints it.
    ///
    /// # Errors
    /// [`VmError::Io`] when files cannot be copied, [`VmError::Tool`] with the linter's words.
    pub fn adopt_policy(&self, from: &Path) -> Result<(), VmError> {
        let entries = fs::read_dir(from).doing(|| format!("list {}", from.display()))?;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default();
            if name == "policy.toml" || path.extension().is_some_and(|e| e == "pem") {
                fs::copy(&path, self.dir.join(name))
                    .doing(|| format!("copy {}", path.display()))?;
            }
        }
        let policy = self.policy().display().to_string();
        self.dawnkey(&["policy", "lint", &policy]).map(drop)
    }

    /// Replaces the first place of a text in the policy.
    ///
    /// # Errors
    /// [`VmError::Lab`] when the policy has no such text.
    pub fn edit_policy(&self, from: &str, to: &str) -> Result<(), VmError> {
        let policy = self.policy();
        let place = || format!("edit {}", policy.display());
        let text = fs::read_to_string(&policy).doing(place)?;
        if !text.contains(from) {
            return Err(VmError::Lab(format!("the policy has no `{from}`")));
        }
        fs::write(&policy, text.replacen(from, to, 1)).doing(place)
    }

    /// Gives the service a store of endorsements that it may not add to from the network.
    ///
    /// # Errors
    /// [`VmError::Tool`] when the store cannot be copied.
    pub fn adopt_endorsements(&self, from: &Path) -> Result<(), VmError> {
        let copy = self.dir.join("endorsements");
        command::run(
            Command::new("cp")
                .arg("-r")
                .arg(from.join("endorsements"))
                .arg(&copy),
        )?;
        let config = self.dir.join("keyservice.toml");
        let what = || format!("add to {}", config.display());
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&config)
            .doing(what)?;
        file.write_all(b"\n[endorsements]\npath = \"endorsements\"\nonline = false\n")
            .doing(what)
    }

    /// Turns the policy for volumes of a vTPM into one for a vTPM that an SNP report vouches for; the root is
    /// `amd-root.pem` of a directory.
    ///
    /// # Errors
    /// [`VmError::Lab`] when the policy is not the template of `dawnkey init`.
    pub fn demand_snp_behind_the_tpm(&self, from: &Path) -> Result<(), VmError> {
        let root = from.join("amd-root.pem");
        fs::copy(&root, self.dir.join("amd-root.pem"))
            .doing(|| format!("copy {}", root.display()))?;
        let policy = self.policy();
        let mut text =
            fs::read_to_string(&policy).doing(|| format!("read {}", policy.display()))?;
        for (old, new) in [
            ("[roots]\n", "[roots]\namd = [\"amd-root.pem\"]\n"),
            (
                "trust_class = \"hypervisor\"",
                "trust_class = \"tee-vtpm\"\nplatforms = [\"milan\"]",
            ),
            ("enrol = \"endorsed\"", ""),
        ] {
            if !text.contains(old) {
                let problem = format!("{} has no `{}`", policy.display(), old.trim());
                return Err(VmError::Lab(problem));
            }
            text = text.replacen(old, new, 1);
        }
        text.push_str("\n[platform.milan.snp]\nproducts = [\"Milan\"]\n");
        for which in ["reported", "launch"] {
            let floor = format!("tcb.Milan.{which} = {{ snp = 24, microcode = 219 }}\n");
            text.push_str(&floor);
        }
        fs::write(&policy, text).doing(|| format!("write {}", policy.display()))?;
        let policy = policy.display().to_string();
        self.dawnkey(&["policy", "lint", &policy]).map(drop)
    }

    /// Computes an image's expected measurements from its file, allows it, and lints the policy.
    ///
    /// # Errors
    /// [`VmError::Tool`] with what `dawnkey` said.
    pub fn allow_image(&self, name: &str, uki: &Path) -> Result<(), VmError> {
        let uki = uki.display().to_string();
        let measured = self.dawnkey(&["measure", "uki", &uki, "--json"])?;
        let file = self.dir.join(format!("{name}.json"));
        fs::write(&file, measured).doing(|| format!("write {}", file.display()))?;
        let (file, policy) = (
            file.display().to_string(),
            self.policy().display().to_string(),
        );
        self.dawnkey(&[
            "policy",
            "add-image",
            &policy,
            "--name",
            name,
            "--from",
            &file,
            "--volume-policy",
            VOLUME_POLICY,
        ])?;
        self.dawnkey(&["policy", "lint", &policy])?;
        Ok(())
    }

    /// Runs one `dawnkey` command with the admin profile and gives its standard output.
    ///
    /// # Errors
    /// [`VmError::Tool`] with both streams.
    pub fn dawnkey(&self, arguments: &[&str]) -> Result<String, VmError> {
        command::run(
            Command::new(&self.binaries.dawnkey)
                .args(arguments)
                .current_dir(&self.dir)
                .env("DAWNKEY_PROFILE", self.dir.join("admin.toml")),
        )
    }

    /// Creates a volume of the policy `state`.
    ///
    /// # Errors
    /// [`VmError::Tool`] when the service refuses.
    pub fn create_volume(&self, id: &str) -> Result<(), VmError> {
        self.dawnkey(&["volume", "create", "--policy", VOLUME_POLICY, "--id", id])
            .map(|_| ())
    }

    /// Starts the key service; the master secret goes through its standard input, descriptor 0.
    ///
    /// # Errors
    /// [`VmError::Timeout`] with the service's log when it does not answer.
    pub fn start(&self) -> Result<Service, VmError> {
        let log = self.dir.join("keyservice.log");
        let file = fs::File::create(&log).doing(|| format!("create {}", log.display()))?;
        let again = file.try_clone().doing(|| "duplicate the log".to_owned())?;
        let mut service = Command::new(&self.binaries.keyservice);
        service
            .arg("--config")
            .arg(self.dir.join("keyservice.toml"))
            .args(["--master-secret-fd", "0"]);
        let mut child = service
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(again)
            .spawn()
            .doing(|| command::line(&service))?;
        if let Some(mut input) = child.stdin.take() {
            input
                .write_all(self.master_secret.as_bytes())
                .doing(|| "hand over the master secret".to_owned())?;
        }
        let mut guard = Guard::new(child);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.unlock));
        let mut ended = false;
        wait_for(
            "the key service's sockets",
            Duration::from_secs(30),
            &log,
            || {
                ended = !matches!(guard.child().try_wait(), Ok(None));
                ended
                    || [self.ports.unlock, self.ports.admin]
                        .iter()
                        .all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok())
            },
        )?;
        if ended {
            return Err(VmError::Lab(format!(
                "the key service ended:\n{}",
                command::tail(&log, 40)
            )));
        }
        Ok(Service {
            address,
            log,
            process: guard,
        })
    }

    /// Runs a program with the master secret and the salt, a line of hex each, on its standard input, and gives what
    /// it prints.
    ///
    /// # Errors
    /// [`VmError::Tool`] with both streams.
    pub fn with_master_secret(&self, program: &mut Command) -> Result<String, VmError> {
        let config = self.dir.join("keyservice.toml");
        let text = fs::read_to_string(&config).doing(|| format!("read {}", config.display()))?;
        let salt = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("salt ="))
            .find_map(|rest| rest.split('"').nth(1))
            .ok_or_else(|| VmError::Lab(format!("{} has no salt", config.display())))?;
        command::run_with_input(program, &format!("{}\n{salt}\n", self.master_secret))
    }

    /// The agent's configuration for [`VOLUME`]; what follows `[[volume]]` beyond the id is `volume`.
    pub fn agent_config(volume: &str) -> String {
        format!(
            r#"node_name = "node-1"

[service]
endpoints = ["{SERVICE_IN_GUEST}"]
name = "{SERVICE_NAME}"
ca_file = "/etc/dawnkey/ca.pem"
budget_seconds = 60
attempt_seconds = 20

[tpm]
tcti = "device:/dev/tpmrm0"
event_log = "/sys/kernel/security/tpm0/binary_bios_measurements"

[[volume]]
id = "{VOLUME}"
{volume}
"#
        )
    }

    /// The pin: the CA of the service's certificate, PEM.
    ///
    /// # Errors
    /// [`VmError::Io`] when it cannot be read.
    pub fn service_ca(&self) -> Result<String, VmError> {
        let path = self.dir.join("ca.pem");
        fs::read_to_string(&path).doing(|| format!("read {}", path.display()))
    }

    /// Files of the service's certificate and of its key, PEM: what an attacker would want to have.
    pub fn identity(&self) -> [PathBuf; 2] {
        ["server.pem", "server.key"].map(|name| self.dir.join(name))
    }

    /// The policy file.
    pub fn policy(&self) -> PathBuf {
        self.dir.join("policy.toml")
    }

    /// The audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }
}

/// A running key service; ends with this value.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    log: PathBuf,
    process: Guard,
}

impl Service {
    /// Where nodes reach it on the host.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        command::tail(&self.log, 60)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// [`VmError::Timeout`] when it does not.
    pub fn stop(mut self) -> Result<(), VmError> {
        let id = self.process.child().id().to_string();
        // The shell's own: a small Debian has no program of that name.
        command::run(Command::new("sh").args(["-c", "kill -TERM $0", &id]))?;
        let Service { log, process, .. } = &mut self;
        wait_for(
            "the key service's end",
            Duration::from_secs(20),
            log,
            || !matches!(process.child().try_wait(), Ok(None)),
        )
    }
}
