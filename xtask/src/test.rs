//! `cargo xtask test`: everything that must hold, one step after the other, and one closing line.

mod count;
mod servers;
mod steps;

use std::time::Instant;

use clap::Args;

use crate::deps;
use crate::error::XtaskError;
use crate::progress::Progress;
use crate::workspace::Workspace;
use count::Count;
use steps::Run;

/// The step that needs more than Rust and Debian.
const SERVERS: &str = "servers";

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// Leave out the tests that boot machines
    #[arg(long)]
    no_vm: bool,
    /// Boot machines with unoptimised programs: quicker to build, for work on the tests
    #[arg(long)]
    dev: bool,
    /// Run the tests against real servers only, as `--only servers` does
    #[arg(long, conflicts_with = "only")]
    servers: bool,
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
    let selected = options.servers || options.only.is_some();
    if continuous && (options.no_vm || options.dev || selected) {
        return Err(XtaskError::Usage(
            "CI runs all steps: --no-vm, --dev, --servers and --only are not allowed there"
                .to_owned(),
        ));
    }
    let with_servers = steps::ALL
        .iter()
        .any(|step| step.name == SERVERS && wanted(step, options));
    let purpose = match with_servers {
        true => deps::Purpose::Servers,
        false => deps::Purpose::Test,
    };
    deps::install(purpose, progress)?;
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
    if count.skipped > 0 {
        let skipped = count.skipped;
        progress.say(&format!("{skipped} skipped: their toolchain is not here"));
    }
    progress.say(&count.closing_line());
    Ok(())
}

fn wanted(step: &steps::Step, options: &Options) -> bool {
    let only = match options.servers {
        true => Some(SERVERS),
        false => options.only.as_deref(),
    };
    match only {
        Some(only) => step.name == only,
        None => !(options.no_vm && step.name == "vm"),
    }
}
