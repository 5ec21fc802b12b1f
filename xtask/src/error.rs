//! Why a task ended.

use dawnkey_qemu_tests::VmError;

/// Failure of a task.
#[derive(Debug, thiserror::Error)]
pub enum XtaskError {
    /// The harness or a guest failed.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// A file operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A package cannot be had.
    #[error("{0}")]
    Package(String),
    /// Rules of the source tree are broken; one line per finding.
    #[error("{} finding(s):\n{}", .0.len(), .0.join("\n"))]
    Tidy(Vec<String>),
    /// The demo did not show what it must show.
    #[error("the demo went wrong: {0}")]
    Demo(String),
    /// A step of `cargo xtask test` failed.
    #[error("step `{step}` failed; its log is {log}\n{tail}")]
    Step {
        /// The step's name, usable with `--only`.
        step: String,
        /// Its complete output.
        log: String,
        /// The end of it.
        tail: String,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
}

/// Attaches what was attempted to an I/O error.
pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> XtaskError {
    let what = what.into();
    move |source| XtaskError::Io { what, source }
}
