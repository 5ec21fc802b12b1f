//! `dawnkey kek`: the ring of KEK providers, and the offline recovery key. `dawnkey doctor` proves them live.

pub(crate) mod doctor;
mod recovery;
mod restore;
mod rewrap;
mod view;

pub(crate) use recovery::read_key;

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};
use dawnkey_proto::wire;
use view::StatusView;

/// Arguments of `dawnkey kek`.
#[derive(Debug, Args)]
pub(crate) struct KekArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the providers with their states, what needs them, and how far a rewrap is
    #[command(after_help = "Examples:
  dawnkey kek status
  dawnkey kek status --json | jq -r '.providers[] | select(.state == \"active\") | .name'")]
    Status,
    /// Make a provider active: it wraps every new DEK from now on
    ///
    /// It must be configured on every replica, and proves with a round trip that it works. The provider before becomes
    /// `rekeying`; `dawnkey kek rewrap` moves its DEKs.
    #[command(after_help = "Examples:
  dawnkey kek rotate aws-2027 && dawnkey kek rewrap")]
    Rotate(NameArgs),
    Rewrap(rewrap::RewrapArgs),
    /// Take a provider out of the ring; refused while a DEK needs it
    ///
    /// Take it out of the configuration of every replica afterwards, or it joins again at the next start.
    #[command(after_help = "Examples:
  dawnkey kek remove aws-2026")]
    Remove(NameArgs),
    /// Make and use the offline recovery key
    Recovery(recovery::RecoveryArgs),
    Restore(restore::RestoreArgs),
}

#[derive(Debug, Args)]
struct NameArgs {
    /// The provider's name in the configuration
    name: String,
}

impl KekArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Status => self.status(output),
            Command::Rotate(args) => self.rotate(args, output),
            Command::Rewrap(args) => args.run(&self.profile, output),
            Command::Remove(args) => self.remove(args, output),
            Command::Recovery(args) => args.run(&self.profile, output),
            Command::Restore(args) => args.run(&self.profile, output),
        }
    }

    fn connect(&self) -> Result<Admin, Failure> {
        Admin::connect(self.profile.load()?)
    }

    fn status(&self, output: Output) -> Result<Exit, Failure> {
        let answer = self.connect()?.call_kek(
            "read the ring of KEK providers",
            "the ring",
            async |client| client.status(wire::KekStatusRequest {}).await,
        )?;
        StatusView::from(answer).show(output)
    }

    fn rotate(&self, args: &NameArgs, output: Output) -> Result<Exit, Failure> {
        let answer =
            self.connect()?
                .call_kek("make a provider active", &args.name, async |client| {
                    let name = args.name.clone();
                    client.rotate(wire::KekRef { name }).await
                })?;
        StatusView::from(answer).show(output)
    }

    fn remove(&self, args: &NameArgs, output: Output) -> Result<Exit, Failure> {
        let answer = self
            .connect()?
            .call_kek("remove a provider", &args.name, async |client| {
                let name = args.name.clone();
                client.remove(wire::KekRef { name }).await
            })?;
        StatusView::from(answer).show(output)
    }
}
