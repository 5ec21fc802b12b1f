//! What can go wrong around a virtual machine, with the log that explains it.

use std::path::PathBuf;

/// Failure of the harness, of a tool it runs, or of a guest that did not report.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A file operation on the host failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path.
        what: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A tool could not be run or said no.
    #[error("`{command}` failed ({status}):\n{output}")]
    Tool {
        /// The command line.
        command: String,
        /// Its exit status, or why it did not start.
        status: String,
        /// What it printed on both streams.
        output: String,
    },
    /// Something that an image needs is not on this machine.
    #[error("the image needs {what}, looked in {looked}: install {package}")]
    Missing {
        /// The missing piece.
        what: String,
        /// Where it was looked for.
        looked: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A PE file cannot take the sections of a unified kernel image.
    #[error("{file} cannot become a unified kernel image: {problem}", file = file.display())]
    Pe {
        /// The systemd-stub file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A process did not do what was expected of it in time.
    #[error("{what} did not happen within {seconds} s; log:\n{log}")]
    Timeout {
        /// The expected event.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// The end of the log.
        log: String,
    },
    /// A guest ended without the DONE line: whatever it printed before proves nothing.
    #[error(
        "the guest ended ({status}) without DONE; it reported {steps} steps; serial log:\n{log}"
    )]
    NotDone {
        /// QEMU's exit status.
        status: String,
        /// Steps that were complete.
        steps: usize,
        /// The end of the serial log.
        log: String,
    },
    /// The guest's report is not in the agreed form.
    #[error("guest report: {0}")]
    Report(String),
    /// The prepared images cannot be used.
    #[error("{0}")]
    Lab(String),
}

/// Attaches what was attempted to an I/O error.
pub trait IoContext<T> {
    /// Names the attempt; called only on failure.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, VmError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, VmError> {
        self.map_err(|source| VmError::Io {
            what: what(),
            source,
        })
    }
}
