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

/// An interpreter of CPython 3.`minor` or later, on the path or among pyenv's; says in a line like [`have`]'s where there
/// is none. Many systems have no such Python of their own, so that this fails no suite.
#[must_use]
#[allow(clippy::print_stdout)] // the line is what the caller of the tests reads
pub fn python_since(minor: u32) -> Option<String> {
    let on_path = (minor..minor + 3).map(|minor| format!("python3.{minor}"));
    let home = std::env::var("PYENV_ROOT").or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        Ok::<_, std::env::VarError>(format!("{home}/.pyenv"))
    });
    let versions = format!("{}/versions", home.unwrap_or_default());
    let installed = std::fs::read_dir(versions).into_iter().flatten().flatten();
    let of_pyenv = installed.map(|entry| entry.path().join("bin/python").display().to_string());
    let mut all: Vec<String> = ["python3".to_owned()]
        .into_iter()
        .chain(on_path)
        .chain(of_pyenv)
        .collect();
    all.sort();
    let script = format!("import sys, venv; sys.exit(sys.version_info < (3, {minor}))");
    let found = all.into_iter().find(|python| {
        let mut probe = Command::new(python);
        let quiet = probe
            .args(["-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    });
    if found.is_none() {
        println!("skipped: this machine has no CPython 3.{minor} or later");
    }
    found
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
