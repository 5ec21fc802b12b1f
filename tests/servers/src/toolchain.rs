//! Toolchains that a suite may need, and what happens where one is missing.

use std::process::{Command, Stdio};

/// Something that has to be on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Go 1.24 or later.
    Go,
    /// CPython 3 with `venv`.
    Python,
    /// Node.js with npm.
    Node,
    /// A Java runtime with Maven.
    Java,
    /// A program of a Debian package, by its path or name, and the package.
    Program(&'static str, &'static str),
}

impl Tool {
    fn probe(self) -> Vec<Command> {
        let command = |program: &str, argument: &str| {
            let mut command = Command::new(program);
            command.arg(argument);
            command
        };
        match self {
            Self::Go => vec![command("go", "version")],
            Self::Python => vec![command("python3", "--version")],
            Self::Node => vec![command("node", "--version"), command("npm", "--version")],
            Self::Java => vec![command("java", "-version"), command("mvn", "--version")],
            Self::Program(program, _) if program.contains('/') => {
                let mut test = command("test", "-e");
                test.arg(program);
                vec![test]
            }
            Self::Program(program, _) => {
                let mut which = command("sh", "-c");
                which.args(["command -v \"$0\"", program]);
                vec![which]
            }
        }
    }

    fn present(self) -> bool {
        self.probe().into_iter().all(|mut command| {
            let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        })
    }
}

/// Whether a suite can run. Where something is missing, says so in one line beginning with `skipped: `, which `cargo
/// xtask test` counts; in CI (`CI` set) a missing toolchain fails the suite.
///
/// # Panics
/// In CI, when something is missing.
#[must_use]
#[allow(clippy::print_stdout)] // the line is what the caller of the tests reads
pub fn have(suite: &str, tools: &[Tool]) -> bool {
    let missing: Vec<Tool> = tools.iter().copied().filter(|t| !t.present()).collect();
    if missing.is_empty() {
        return true;
    }
    let line = format!("skipped: {suite}: this machine has no {missing:?}");
    assert!(std::env::var_os("CI").is_none(), "{line}");
    println!("{line}");
    false
}
