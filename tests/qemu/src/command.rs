//! Running tools and keeping what they said.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::error::VmError;

/// Runs a command to its end and gives its standard output as text.
///
/// # Errors
/// [`VmError::Tool`] with everything it printed when it does not start or does not exit with 0.
pub fn run(command: &mut Command) -> Result<String, VmError> {
    run_with_input(command, "")
}

/// Runs a command with this text, shorter than a pipe's buffer, on its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String, VmError> {
    let line = line(command);
    let not_run = |e: std::io::Error| VmError::Tool {
        command: line.clone(),
        status: e.to_string(),
        output: String::new(),
    };
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    command.stdin(stdin);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(not_run)?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes()).map_err(not_run)?;
    }
    let output = child.wait_with_output().map_err(not_run)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    Err(VmError::Tool {
        command: line,
        status: output.status.to_string(),
        output: format!("{stdout}{}", String::from_utf8_lossy(&output.stderr)),
    })
}

/// A command line as a person would type it.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Finds a program in `PATH` and in the system directories that an ordinary user's `PATH` lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// A child process that ends with its owner.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Takes over a child.
    pub fn new(child: Child) -> Self {
        Guard(child)
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Kills the process at once and waits for its end: what a power cut or a crash does to it.
    pub fn kill(&mut self) {
        // The process may have ended already; there is nothing left to do then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file, for error messages.
pub fn tail(path: &std::path::Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_failing_tool_is_an_error_with_its_output() {
        let error = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let Err(VmError::Tool {
            command,
            status,
            output,
        }) = error
        else {
            panic!("expected a tool error, got {error:?}");
        };
        assert!(command.starts_with("sh -c"));
        assert!(status.contains('3'));
        assert_eq!(output, "out\nerr\n");
    }

    #[test]
    fn tail_gives_the_last_lines_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        std::fs::write(&file, "a\nb\nc\n").unwrap();
        assert_eq!(tail(&file, 2), "b\nc");
        assert_eq!(tail(&file, 9), "a\nb\nc");
        assert_eq!(tail(&dir.path().join("absent"), 9), "");
    }
}
