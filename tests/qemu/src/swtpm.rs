//! A software TPM per machine, endorsed by a local certificate authority.
//!
//! `swtpm_setup` plays the TPM's manufacturer: it makes the endorsement keys and writes their
//! certificates into NV memory. The authority's state lies in a directory of ours, so that the
//! root which a policy must name is known and nothing outside the directory changes.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::command::{self, Guard};
use crate::error::{IoContext, VmError};

/// The manufacturer: signs the endorsement certificates of the TPMs it makes.
#[derive(Debug, Clone)]
pub struct TpmMaker {
    dir: PathBuf,
}

impl TpmMaker {
    /// Sets up an authority in an empty or absent directory; its keys are made with the first TPM.
    ///
    /// # Errors
    /// [`VmError::Io`] when the directory cannot be written.
    pub fn new(dir: &Path) -> Result<Self, VmError> {
        fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
        let write = |name: &str, text: String| {
            fs::write(dir.join(name), text).doing(|| format!("write {name} in {}", dir.display()))
        };
        let d = dir.display();
        write(
            "localca.conf",
            format!(
                "statedir = {d}\nsigningkey = {d}/signkey.pem\nissuercert = {d}/issuercert.pem\ncertserial = {d}/certserial\n"
            ),
        )?;
        write(
            "localca.options",
            "--platform-manufacturer Dawnkey\n--platform-version 1\n--platform-model test\n".into(),
        )?;
        let tool = find("swtpm_localca")?;
        write(
            "setup.conf",
            format!(
                "create_certs_tool={}\ncreate_certs_tool_config={d}/localca.conf\ncreate_certs_tool_options={d}/localca.options\n",
                tool.display()
            ),
        )?;
        Ok(TpmMaker {
            dir: dir.to_path_buf(),
        })
    }

    /// Makes a TPM with RSA and ECC endorsement keys, their certificates and the SHA-256 bank.
    ///
    /// # Errors
    /// [`VmError::Tool`] with what `swtpm_setup` said.
    pub fn make(&self, state: &Path) -> Result<Tpm, VmError> {
        fs::create_dir_all(state).doing(|| format!("create {}", state.display()))?;
        let mut setup = Command::new(find("swtpm_setup")?);
        if command::run(Command::new("id").arg("-u"))?.trim() == "0" {
            setup.args(["--runas", "root"]);
        }
        setup.arg("--config").arg(self.dir.join("setup.conf"));
        setup.args([
            "--tpm2",
            "--pcr-banks",
            "sha256",
            "--create-ek-cert",
            "--overwrite",
            "--vmid",
            "dawnkey-test",
            "--tpmstate",
        ]);
        command::run(setup.arg(state))?;
        Ok(Tpm {
            state: state.to_path_buf(),
        })
    }

    /// The certificate that signed the endorsement certificates, PEM; exists after the first TPM.
    pub fn root(&self) -> PathBuf {
        self.dir.join("issuercert.pem")
    }
}

/// One TPM's persistent state.
#[derive(Debug, Clone)]
pub struct Tpm {
    state: PathBuf,
}

impl Tpm {
    /// Switches the TPM on for one boot and waits until its control socket is there.
    ///
    /// # Errors
    /// [`VmError::Timeout`] with its log when it does not come up.
    pub fn start(&self) -> Result<RunningTpm, VmError> {
        let socket = self.state.join("sock");
        let log = self.state.join("swtpm.log");
        let _ = fs::remove_file(&socket);
        let stderr = fs::File::create(&log).doing(|| format!("create {}", log.display()))?;
        let mut swtpm = Command::new(find("swtpm")?);
        swtpm.args([
            "socket",
            "--tpm2",
            "--flags",
            "not-need-init",
            "--terminate",
        ]);
        swtpm
            .arg("--tpmstate")
            .arg(format!("dir={}", self.state.display()));
        swtpm
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()));
        let child = swtpm
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .doing(|| command::line(&swtpm))?;
        let running = RunningTpm {
            socket,
            process: Guard::new(child),
        };
        wait_for("the TPM's socket", Duration::from_secs(10), &log, || {
            running.socket.exists()
        })?;
        Ok(running)
    }

    /// Switches the TPM on for one program on the host, which is given the way to it.
    ///
    /// # Errors
    /// [`VmError::Tool`] with the program's words.
    pub fn with_program(&self, program: impl FnOnce(&str) -> Command) -> Result<(), VmError> {
        let port = free_pair()?;
        let log = self.state.join("swtpm.log");
        let stderr = fs::File::create(&log).doing(|| format!("create {}", log.display()))?;
        let mut swtpm = Command::new(find("swtpm")?);
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        swtpm
            .arg("--tpmstate")
            .arg(format!("dir={}", self.state.display()));
        for (option, port) in [("--server", port), ("--ctrl", port + 1)] {
            swtpm
                .arg(option)
                .arg(format!("type=tcp,bindaddr=127.0.0.1,port={port}"));
        }
        let child = swtpm
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .doing(|| command::line(&swtpm))?;
        let _process = Guard::new(child);
        wait_for("the TPM's ports", Duration::from_secs(10), &log, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port + 1)).is_ok()
        })?;
        let tcti = format!("swtpm:host=127.0.0.1,port={port}");
        command::run(&mut program(&tcti)).map(drop)
    }
}

/// A pair of free ports, the second one above the first, as the TSS wants them: commands, then control.
fn free_pair() -> Result<u16, VmError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for _ in 0..100 {
        let first = bind(0).doing(|| "bind a loopback port".to_owned())?;
        let address = first.local_addr();
        let port = address.doing(|| "read a port".to_owned())?.port();
        if port < u16::MAX && bind(port + 1).is_ok() {
            return Ok(port);
        }
    }
    Err(VmError::Lab("no two free ports side by side".to_owned()))
}

/// A TPM that is switched on; ends with this value.
#[derive(Debug)]
pub struct RunningTpm {
    socket: PathBuf,
    process: Guard,
}

impl RunningTpm {
    /// QEMU's connection to it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The TPM dies; the machine goes on without it.
    pub(crate) fn die(&mut self) {
        self.process.kill();
    }

    /// From now on the TPM works for `on` out of every `on` and `off` milliseconds.
    pub(crate) fn slow(&mut self, on: u32, off: u32) -> Result<SlowTpm, VmError> {
        let id = self.process.child().id();
        let seconds = |ms: u32| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (on, off) = (seconds(on), seconds(off));
        let script =
            format!("while kill -STOP {id}; do sleep {off}; kill -CONT {id}; sleep {on}; done");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::null());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        let child = shell.spawn().doing(|| command::line(&shell))?;
        let loops = Guard::new(child);
        Ok(SlowTpm { loops, id })
    }
}

/// A TPM that is slow as long as this value lives.
#[derive(Debug)]
pub struct SlowTpm {
    loops: Guard,
    id: u32,
}

impl Drop for SlowTpm {
    fn drop(&mut self) {
        self.loops.kill();
        // It may have been stopped when the loop ended; it may have ended itself since.
        let _ = Command::new("sh")
            .args(["-c", "kill -CONT $0 2>/dev/null", &self.id.to_string()])
            .status();
    }
}

/// Polls a condition until it holds or the time is over.
///
/// # Errors
/// [`VmError::Timeout`] with the end of `log`.
pub fn wait_for(
    what: &str,
    limit: Duration,
    log: &Path,
    mut condition: impl FnMut() -> bool,
) -> Result<(), VmError> {
    let end = std::time::Instant::now() + limit;
    while !condition() {
        if std::time::Instant::now() > end {
            return Err(VmError::Timeout {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                log: command::tail(log, 60),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn find(tool: &'static str) -> Result<PathBuf, VmError> {
    command::find(tool).ok_or(VmError::Missing {
        what: tool.to_owned(),
        looked: "PATH".to_owned(),
        package: "swtpm and swtpm-tools",
    })
}
