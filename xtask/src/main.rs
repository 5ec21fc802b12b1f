//! The project's own tasks: `cargo xtask demo | test | lab | bench | fuzz | tidy | image | deb | deps | corpus`.
//!
//! This program itself needs nothing but Rust. Whatever a task needs beyond that, it installs first:
//! see [`deps`] for the list with reasons.

mod bench;
mod build;
mod corpus;
mod deb;
mod debian;
mod demo;
mod deps;
mod error;
mod fuzz;
mod lab;
mod packages;
mod progress;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::XtaskError;
use progress::Progress;
use workspace::Workspace;

/// Tasks of the Dawnkey project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Boots a measured machine three times: provisioned, unlocked, refused
    Demo {
        /// Use unoptimised programs: quicker to build, for work on the demo itself
        #[arg(long)]
        dev: bool,
    },
    /// Runs every check and test of the project
    Test(test::Options),
    /// Checks the rules of the source tree: layering, sizes, unsafe, fakes, reasons
    Tidy,
    /// Prepares what the VM tests share, and says how to run one of them
    Lab {
        /// Use unoptimised programs: quicker to build, for work on the tests
        #[arg(long)]
        dev: bool,
    },
    /// Builds a test image (UKI and boot disk) from the release binaries
    Image {
        /// Agent configuration to put into the image
        #[arg(long)]
        config: std::path::PathBuf,
        /// Certificate to pin, PEM
        #[arg(long)]
        ca: std::path::PathBuf,
        /// Directory for `node.efi` and `node.disk`
        #[arg(long)]
        out: std::path::PathBuf,
        /// More kernel arguments
        #[arg(long, default_value = "")]
        append: String,
    },
    /// Packs the release binaries: dawnkey-agent, dawnkey-keyservice and dawnkey as Debian packages
    Deb {
        /// Directory for the packages, emptied first [default: deb under the target directory]
        #[arg(long)]
        out: Option<std::path::PathBuf>,
    },
    /// Runs each fuzz target for some seconds
    Fuzz(fuzz::Options),
    /// Judges a folder of recorded evidence; exit status 1 on any difference, 2 if the folder cannot be used
    Corpus {
        /// Folder with a `cases.json`
        dir: std::path::PathBuf,
    },
    /// Times what users wait for, beside other programs that do the same
    Bench(bench::Options),
    /// Installs what building and testing need, and nothing else
    Deps,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = Progress::new();
    match run(&arguments.task, &progress) {
        Ok(code) => code,
        Err(error) => {
            progress.failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task, progress: &Progress) -> Result<ExitCode, XtaskError> {
    let workspace = Workspace::find()?;
    match task {
        Task::Corpus { dir } => return corpus::run(&workspace, dir),
        Task::Demo { dev } => demo::run(&workspace, *dev, progress),
        Task::Test(options) => test::run(&workspace, options, progress),
        Task::Tidy => progress.step("tidy", || tidy::run(&workspace)).map(|_| ()),
        Task::Lab { dev } => lab::run(&workspace, *dev, progress),
        Task::Image {
            config,
            ca,
            out,
            append,
        } => lab::image(&workspace, config, ca, out, append, progress),
        Task::Deb { out } => deb::run(&workspace, out.as_deref(), progress),
        Task::Fuzz(options) => {
            deps::install(deps::Purpose::Test, progress)?;
            fuzz::run(&workspace, options, progress).map(|_| ())
        }
        Task::Bench(options) => {
            deps::install(deps::Purpose::Bench, progress)?;
            bench::run(&workspace, options, progress)
        }
        Task::Deps => deps::install(deps::Purpose::Test, progress).map(|_| ()),
    }?;
    Ok(ExitCode::SUCCESS)
}
