//! `cargo xtask corpus DIR`: judges a folder of recorded evidence with `tests/corpus`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use dawnkey_qemu_tests::command;

use crate::error::{XtaskError, io};
use crate::workspace::Workspace;

/// The crate, and the name of its program.
const PROGRAM: &str = "dawnkey-corpus";

/// Builds the program and gives its output and exit status on: 0 all as written, 1 differences, 2 unusable folder.
///
/// # Errors
/// [`XtaskError`] when it cannot be built or ends in another way.
pub fn run(workspace: &Workspace, dir: &Path) -> Result<ExitCode, XtaskError> {
    let program = build(workspace)?;
    let status = Command::new(&program).arg(dir).status();
    let status = status.map_err(io(format!("run {}", program.display())))?;
    match status.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        Some(1) => Ok(ExitCode::from(1)),
        Some(2) => Ok(ExitCode::from(2)),
        _ => Err(XtaskError::Usage(format!("{PROGRAM} ended with {status}"))),
    }
}

/// Builds the program; gives its path.
///
/// # Errors
/// [`XtaskError::Vm`] with the compiler's words.
pub fn build(workspace: &Workspace) -> Result<PathBuf, XtaskError> {
    let mut cargo = workspace.cargo();
    command::run(cargo.args(["build", "--locked", "--quiet", "-p", PROGRAM]))?;
    Ok(workspace.target.join("debug").join(PROGRAM))
}

/// Where recorded evidence lies: `$DAWNKEY_EVIDENCE`, or beside the workspace. `Err` with that place if there is none.
pub fn evidence(workspace: &Workspace) -> Result<PathBuf, PathBuf> {
    let beside = || workspace.root.join("../shared/evidence");
    let dir = std::env::var_os("DAWNKEY_EVIDENCE").map_or_else(beside, PathBuf::from);
    if dir.join("cases.json").is_file() {
        Ok(dir)
    } else {
        Err(dir)
    }
}
