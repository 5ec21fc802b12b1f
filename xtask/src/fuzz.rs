//! Runs the fuzz targets of `fuzz/` for a short while each.

use std::process::Command;

use dawnkey_qemu_tests::command;

use crate::error::XtaskError;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Runs every target for `seconds` and gives their number.
///
/// # Errors
/// [`XtaskError::Vm`] with libFuzzer's words when a target finds something.
pub fn run(workspace: &Workspace, seconds: u32, progress: &Progress) -> Result<usize, XtaskError> {
    let targets = targets(workspace)?;
    for target in &targets {
        progress.step(&format!("fuzz {target} for {seconds} s"), || {
            one(workspace, target, seconds)
        })?;
    }
    Ok(targets.len())
}

fn targets(workspace: &Workspace) -> Result<Vec<String>, XtaskError> {
    let list = command::run(cargo_fuzz(workspace).arg("list"))?;
    let targets: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
    if targets.is_empty() {
        return Err(XtaskError::Usage("fuzz/ has no targets".to_owned()));
    }
    Ok(targets)
}

fn one(workspace: &Workspace, target: &str, seconds: u32) -> Result<(), XtaskError> {
    let limit = format!("-max_total_time={seconds}");
    let mut fuzz = cargo_fuzz(workspace);
    fuzz.args([
        "run",
        "--sanitizer",
        "none",
        target,
        "--",
        &limit,
        "-rss_limit_mb=1024",
        "-timeout=10",
        "-print_final_stats=1",
    ]);
    command::run(&mut fuzz)?;
    Ok(())
}

/// Without a sanitizer: the fuzzed crates' parsers have no unsafe code, so it would find nothing, and
/// the pinned compiler needs no unstable flag. Debug assertions and overflow checks are on.
fn cargo_fuzz(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.arg("fuzz");
    cargo
}
