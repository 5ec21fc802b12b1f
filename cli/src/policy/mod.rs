//! `dawnkey policy`: checks, explains and extends policy files.

mod add_image;
mod edit;
mod explain;
mod lint;
mod test;
mod verdict;

pub(crate) use edit::snippet;

use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::{Args, Subcommand};

/// Arguments of `dawnkey policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Lint(lint::LintArgs),
    Explain(explain::ExplainArgs),
    Test(Box<test::TestArgs>),
    AddImage(add_image::AddImageArgs),
}

impl PolicyArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Lint(args) => args.run(output),
            Command::Explain(args) => args.run(output),
            Command::Test(args) => args.run(output),
            Command::AddImage(args) => args.run(output),
        }
    }
}
