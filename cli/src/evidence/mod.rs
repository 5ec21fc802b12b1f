//! `dawnkey evidence`: shows recorded evidence, verifies it, and puts vendors' files into one form.

pub(crate) mod input;
mod page;
mod read;
mod save;
mod sections;
mod show;
mod trust;
mod verify;

use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::{Args, Subcommand};

/// Arguments of `dawnkey evidence`.
#[derive(Debug, Args)]
pub(crate) struct EvidenceArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::ShowArgs),
    Verify(verify::VerifyArgs),
    Save(save::SaveArgs),
}

impl EvidenceArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Show(args) => args.run(output),
            Command::Verify(args) => args.run(output),
            Command::Save(args) => args.run(output),
        }
    }
}

pub(crate) use trust::{BinderArgs, Helpers};
pub(crate) use verify::{Checked, check};
