//! `dawnkey store`: what a key service keeps, moved to another store or another service.

mod export;
pub(crate) mod file;
mod import;

use crate::outcome::{Exit, Failure};
use crate::output::Output;
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};

/// Arguments of `dawnkey store`.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(export::ExportArgs),
    Import(import::ImportArgs),
}

impl StoreArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Export(args) => args.run(&self.profile, output),
            Command::Import(args) => args.run(&self.profile, output),
        }
    }
}
