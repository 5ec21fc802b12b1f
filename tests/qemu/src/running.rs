//! A machine while it runs: what it has reported so far, letting it go on, stopping it, cutting its power.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::command::{self, Guard};
use crate::error::{IoContext, VmError};
use crate::machine::Boot;
use crate::qmp::Qmp;
use crate::results::{self, Results, Step};
use crate::swtpm::RunningTpm;
use crate::turn::Turn;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Files and sockets of one boot.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) serial: PathBuf,
    pub(crate) console: PathBuf,
    pub(crate) report: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) qmp: PathBuf,
}

impl Files {
    pub(crate) fn of(dir: &Path) -> Self {
        Files {
            serial: dir.join("serial.log"),
            console: dir.join("console"),
            report: dir.join("results"),
            errors: dir.join("qemu.log"),
            control: dir.join("control"),
            qmp: dir.join("qmp"),
        }
    }
}

/// A machine that is switched on; its power is cut with this value.
#[derive(Debug)]
pub struct Running {
    qemu: Guard,
    pub(crate) files: Files,
    // Passed on when the machine has ended.
    _turn: Turn,
    // Lives as long as the machine.
    pub(crate) tpm: Option<RunningTpm>,
    start: Instant,
    limit: Duration,
    control: Option<UnixStream>,
    /// The keyboard at the serial console.
    pub(crate) keys: Option<UnixStream>,
}

impl Running {
    pub(crate) fn new(
        qemu: Guard,
        files: Files,
        turn: Turn,
        tpm: Option<RunningTpm>,
        limit: Duration,
    ) -> Self {
        Running {
            qemu,
            files,
            _turn: turn,
            tpm,
            start: Instant::now(),
            limit,
            control: None,
            keys: None,
        }
    }

    /// Waits for the power-off and reads the report.
    ///
    /// # Errors
    /// [`VmError::Timeout`] or [`VmError::NotDone`] with the end of the serial log.
    pub fn finish(mut self) -> Result<Boot, VmError> {
        let status = self.wait("power-off of the guest", Self::ended)?;
        let bytes = self.report()?;
        let results = Results::parse(&bytes).map_err(|_| self.not_done(status, &bytes))?;
        Ok(Boot {
            results,
            elapsed: self.start.elapsed(),
            serial: self.serial(),
        })
    }

    /// Waits until the guest has switched itself off without an end of its report; gives what it had reported, and the
    /// serial console.
    ///
    /// # Errors
    /// [`VmError::Timeout`] with the end of the serial log; [`VmError::Report`] when the report has its end.
    pub fn switched_off(mut self) -> Result<(Vec<Step>, String), VmError> {
        self.wait("power-off of the guest", Self::ended)?;
        let bytes = self.report()?;
        match Results::parse(&bytes) {
            Err(_) => Ok((results::so_far(&bytes), self.serial())),
            Ok(_) => Err(VmError::Report("the guest came to its end".to_owned())),
        }
    }

    /// Waits until the guest has reported a step: where `await_host` stands in the script, it waits for
    /// [`Running::go`] then.
    ///
    /// # Errors
    /// [`VmError::NotDone`] when it ends before, [`VmError::Timeout`].
    pub fn wait_step(&mut self, name: &str) -> Result<Step, VmError> {
        self.connect()?;
        self.wait(&format!("step `{name}`"), |running| {
            let bytes = running.report()?;
            if let Some(step) = results::so_far(&bytes).into_iter().find(|s| s.name == name) {
                return Ok(Some(step));
            }
            match running.ended()? {
                Some(status) => Err(running.not_done(status, &bytes)),
                None => Ok(None),
            }
        })
    }

    /// Lets a guest go on that waits at `await_host`.
    ///
    /// # Errors
    /// [`VmError::Io`] when the machine is gone.
    pub fn go(&mut self) -> Result<(), VmError> {
        self.say("go")
    }

    /// Lets a guest go on and gives it one line, which is in `$said` then.
    ///
    /// # Errors
    /// [`VmError::Io`] when the machine is gone.
    pub fn say(&mut self, line: &str) -> Result<(), VmError> {
        self.connect()?;
        let line = format!("{line}\n");
        let sent = match &mut self.control {
            Some(control) => control.write_all(line.as_bytes()),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        };
        sent.doing(|| "let the guest go on".to_owned())
    }

    /// Cuts the power: SIGKILL to QEMU. What it wrote to its disks stays; gives what the guest had reported.
    ///
    /// # Errors
    /// [`VmError::Io`] when the report cannot be read.
    pub fn cut(mut self) -> Result<Vec<Step>, VmError> {
        self.qemu.kill();
        Ok(results::so_far(&self.report()?))
    }

    /// Stops the machine, writes its whole memory to a file, and lets it go on.
    ///
    /// # Errors
    /// [`VmError::Lab`] with QEMU's answer.
    pub fn dump_memory(&mut self, megabytes: u32, file: &Path) -> Result<(), VmError> {
        let mut qmp = Qmp::connect(&self.files.qmp)?;
        qmp.execute("stop", json!({}))?;
        let bytes = u64::from(megabytes) << 20;
        let file = file.display().to_string();
        qmp.execute(
            "pmemsave",
            json!({"val": 0, "size": bytes, "filename": file}),
        )?;
        qmp.execute("cont", json!({}))
    }

    /// The serial console so far.
    #[must_use]
    pub fn serial(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.files.serial).unwrap_or_default()).into_owned()
    }

    /// Before the guest opens its port: a port that nobody is connected to reads as ended.
    fn connect(&mut self) -> Result<(), VmError> {
        if self.control.is_none() {
            self.control = Some(self.wait("the control socket", |running| {
                Ok(UnixStream::connect(&running.files.control).ok())
            })?);
        }
        Ok(())
    }

    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, VmError>,
    ) -> Result<T, VmError> {
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if self.start.elapsed() > self.limit {
                return Err(VmError::Timeout {
                    what: what.to_owned(),
                    seconds: self.limit.as_secs(),
                    log: self.log(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, VmError> {
        self.qemu
            .child()
            .try_wait()
            .doing(|| "wait for QEMU".to_owned())
    }

    fn report(&self) -> Result<Vec<u8>, VmError> {
        match fs::read(&self.files.report) {
            Ok(bytes) => Ok(bytes),
            // QEMU has not made it yet.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e).doing(|| format!("read {}", self.files.report.display())),
        }
    }

    fn not_done(&self, status: ExitStatus, bytes: &[u8]) -> VmError {
        VmError::NotDone {
            status: status.to_string(),
            steps: results::so_far(bytes).len(),
            log: self.log(),
        }
    }

    fn log(&self) -> String {
        let (errors, serial) = (&self.files.errors, &self.files.serial);
        format!(
            "{}\n{}",
            command::tail(errors, 20),
            command::tail(serial, 60)
        )
    }
}
