//! `dawnkey completions` and `dawnkey man`: files for shells and manual pages, made from the command line's own definition.

use crate::args::Cli;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// Arguments of `dawnkey completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the completion script.
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "dawnkey", &mut script);
        output::raw(&script)?;
        Ok(Exit::Done)
    }
}

/// Arguments of `dawnkey man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory to write the pages to; it must exist and hold none of them
    directory: PathBuf,
}

impl ManArgs {
    /// Writes one page for each command.
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let mut root = Cli::command().disable_help_subcommand(true);
        root.build();
        self.pages(root)?;
        Ok(Exit::Done)
    }

    /// Writes the page of `command` and of everything below it; the command line is three levels deep.
    fn pages(&self, command: clap::Command) -> Result<(), Failure> {
        for sub in command.get_subcommands() {
            self.pages(sub.clone())?;
        }
        let man = clap_mangen::Man::new(command);
        let path = self.directory.join(man.get_filename());
        let mut page = Vec::new();
        man.render(&mut page).map_err(|e| {
            Failure::local(format!("make a manual page: {e}"), path.display(), "memory")
        })?;
        files::create(&path, "a manual page", files::PUBLIC, &page)
    }
}
