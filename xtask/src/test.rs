//! `cargo xtask test`: everything that must hold, one step after the other, and one closing line.

mod count;
mod steps;

use std::time::Instant;

use clap::Args;

use crate::deps;
use crate::error::XtaskError;
use crate::progress::Progress;
use crate::workspace::Workspace;
use count::Count;
use steps::Run;

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// Leave out the tests that boot machines
    #[arg(long)]
    no_vm: bool,
    /// Boot machines with unoptimised programs: quicker to build, for work on the tests
    #[arg(long)]
    dev: bool,
    /// Run this step only
    #[arg(long, value_name = "STEP", value_parser = steps::names())]
    only: Option<String>,
}

/// Runs the steps until one fails.
///
/// # Errors
/// [`XtaskError::Step`] naming the step that failed.
pub fn run(
    workspace: &Workspace,
    options: &Options,
    progress: &Progress,
) -> Result<(), XtaskError> {
    let continuous = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if continuous && (options.no_vm || options.dev || options.only.is_some()) {
        return Err(XtaskError::Usage(
            "CI runs all steps: --no-vm, --dev and --only are not allowed there".to_owned(),
        ));
    }
    deps::install(deps::Purpose::Test, progress)?;
    let start = Instant::now();
    let mut count = Count::default();
    for step in steps::ALL.iter().filter(|step| wanted(step, options)) {
        let result = progress.step(step.name, || {
            (step.run)(&Run {
                workspace,
                progress,
                dev: options.dev,
            })
        });
        match result {
            Ok(passed) => count.add(passed),
            Err(error) => {
                count.failed += count::failed_in(&error).max(1);
                progress.failure(&error);
                progress.say(&count.closing_line());
                return Err(XtaskError::Usage(format!("step `{}` failed", step.name)));
            }
        }
    }
    progress.say(&format!("{} s", start.elapsed().as_secs()));
    progress.say(&count.closing_line());
    Ok(())
}

fn wanted(step: &steps::Step, options: &Options) -> bool {
    match &options.only {
        Some(only) => step.name == only,
        None => !(options.no_vm && step.name == "vm"),
    }
}
