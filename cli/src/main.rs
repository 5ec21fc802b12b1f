//! `dawnkey`, the operator's tool: keys and certificates, volumes, policy, measurements, audit.
//!
//! [`args`] is the command line; every command is one module with its arguments, its `run` and the texts it
//! prints. [`admin`] speaks to the key service, everything else works on local files. A command ends in an
//! [`outcome::Exit`] or in one [`outcome::Failure`], printed on one line of standard error. Results go to standard output
//! through [`output::Output`], as text for people or, with `--json`, as one JSON document.

mod admin;
mod args;
mod audit;
mod cluster;
mod confirm;
#[cfg(test)]
mod documented;
mod endorsements;
mod evidence;
mod files;
mod generate;
mod import_uri;
mod init;
mod instance;
mod kek;
mod kubernetes_kms;
mod master_secret;
mod measure;
mod node;
mod outcome;
mod output;
mod policy;
mod profile;
mod recover;
mod recovery_key;
mod status;
mod store;
mod volume;

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Nobody is left to be told when standard error is closed.
            let _ = writeln!(
                std::io::stderr(),
                "{}",
                output::printable(&format!("dawnkey: {failure}"))
            );
            failure.exit.into()
        }
    }
}
