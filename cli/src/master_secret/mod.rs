//! `dawnkey master-secret`: the secret from which a key service in `cluster` mode derives every key, made and handed over.

mod give;
mod terminal;

use crate::outcome::{Exit, Failure};
use crate::output::{self, Output};
use clap::{Args, Subcommand};
use std::io::IsTerminal;
use zeroize::Zeroizing;

/// Bytes of a new master secret.
const BYTES: usize = 32;

/// Arguments of `dawnkey master-secret`.
#[derive(Debug, Args)]
pub(crate) struct MasterSecretArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a new master secret: 32 random bytes in hex
    ///
    /// The secret is the root of every volume's key. It goes to standard output so that it can go straight into a store of
    /// secrets; it is never written to a file by this tool, and a terminal is refused because its scroll-back would keep it.
    #[command(after_help = "Examples:
  dawnkey master-secret new | systemd-creds encrypt --name=master-secret - master-secret.cred
  dawnkey master-secret new | vault kv put -mount=secret dawnkey master=-
  dawnkey master-secret new --show")]
    New(NewArgs),
    Give(give::GiveArgs),
}

#[derive(Debug, Args)]
struct NewArgs {
    /// Print it even when standard output is a terminal
    #[arg(long)]
    show: bool,
}

impl MasterSecretArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::New(args) => args.run(output.is_json()),
            Command::Give(args) => args.run(output),
        }
    }
}

impl NewArgs {
    /// Prints a new secret. With `json` it comes as `{"master_secret": "hex"}`.
    fn run(&self, json: bool) -> Result<Exit, Failure> {
        allowed(std::io::stdout().is_terminal(), self.show)?;
        crate::volume::harden()?;
        let mut secret = Zeroizing::new([0_u8; BYTES]);
        aws_lc_rs::rand::fill(secret.as_mut_slice()).map_err(|_| {
            Failure::local(
                "make a master secret: the random source failed",
                "the kernel's random generator",
                "a seeded random generator",
            )
        })?;
        let mut text = Zeroizing::new([0_u8; 2 * BYTES]);
        // The length is right by construction; a mismatch would print zeros, so it is an error.
        hex::encode_to_slice(secret.as_slice(), text.as_mut_slice())
            .map_err(|e| Failure::local(e, "the new master secret", "64 hex digits"))?;
        let (before, after) = match json {
            true => ("{\"master_secret\": \"", "\"}\n"),
            false => ("", "\n"),
        };
        let mut out = Zeroizing::new(Vec::with_capacity(before.len() + text.len() + after.len()));
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(text.as_slice());
        out.extend_from_slice(after.as_bytes());
        output::raw(&out)?;
        Ok(Exit::Done)
    }
}

/// A secret goes to a terminal only when that is asked for.
fn allowed(terminal: bool, show: bool) -> Result<(), Failure> {
    if terminal && !show {
        return Err(Failure::usage(
            "print a master secret: a terminal would keep it in its scroll-back",
            "standard output",
            "a pipe into a store of secrets, or --show",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_terminal_unless_told_to_show() {
        assert_eq!(allowed(true, false).unwrap_err().exit, Exit::Usage);
        assert_eq!(allowed(true, true), Ok(()));
        assert_eq!(allowed(false, false), Ok(()));
    }
}
