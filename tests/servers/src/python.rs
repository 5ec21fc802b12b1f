//! Servers from PyPI, each in a virtual environment of its own.

use crate::cache;
use crate::process::run;
use std::path::PathBuf;
use std::process::Command;

/// The `bin` directory of a virtual environment with these pinned packages (`name==version`).
#[must_use]
pub fn environment(name: &str, packages: &[&str]) -> PathBuf {
    environment_of("python3", name, packages)
}

/// The same, of another interpreter.
#[must_use]
pub fn environment_of(python: &str, name: &str, packages: &[&str]) -> PathBuf {
    let version = run(Command::new(python).arg("--version"));
    let recipe = format!("{version}{}", packages.join("\n"));
    let dir = cache::once(name, recipe.as_bytes(), |dir| {
        run(Command::new(python).args(["-m", "venv"]).arg(dir));
        let mut pip = Command::new(dir.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        run(pip.args(packages));
    });
    dir.join("bin")
}
