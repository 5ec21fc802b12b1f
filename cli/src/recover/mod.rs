//! `dawnkey recover`: opens a volume of a node that no key service answers, by a signed grant.
//!
//! The node proves itself first. Whoever has the DEK judges the evidence by the policy, the operator is shown what was found
//! and says yes, and the grant goes to the very node that was judged.

mod fleet;
mod keeper;
mod node;
mod offline;
mod one;

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use crate::profile::ProfileArgs;
use crate::recovery_key;
use clap::Args;
use fleet::FleetArgs;
use keeper::Keeper;
use offline::{Offline, OfflineArgs};
use one::Terms;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Open a volume of a node that waits for an operator because no key service answers it
///
/// Verifies the node's evidence by the policy, shows what was found, asks for the volume's id, typed in full, and sends one
/// signed grant: one volume, this boot, once. The key service unwraps the key and writes it down; without any service, records
/// of an export and the offline recovery key do, and a hash-chained log of its own is kept. The node writes nothing to its disk.
///
/// With --all the volumes of an inventory are opened, several nodes at once. What is open stands in the state file, so that
/// a run that broke off goes on. It ends with 0, or with 10 and one more for each volume that is not open, at most 250.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey recover 10.0.2.15:7444 --volume 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --key grant.key
  dawnkey recover 10.0.2.15:7444 --volume 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --key grant.key \\
      --offline-export records.jsonl --policy policy.toml --recovery-key /media/safe/recovery.key
  dawnkey recover --request request.txt --volume 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --key grant.key
  dawnkey recover --all --inventory nodes.toml --key grant.key --yes --json")]
pub(crate) struct RecoverArgs {
    /// The waiting node, HOST:PORT
    #[arg(required_unless_present_any = ["all", "request"], conflicts_with_all = ["all", "request"])]
    node: Option<String>,
    /// The volume to open
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    volume: Option<Uuid>,
    /// The private key that signs the grant
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Without a network: the node's request as text; the grant is printed as text
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    request: Option<PathBuf>,
    /// Draw the grant as a QR code too, for a scanner at the node's console; takes a terminal of 97 columns
    #[arg(long, requires = "request", conflicts_with_all = ["all", "look"])]
    qr: bool,
    /// Seconds for which the grant is good, counted from the node's request
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    valid: u32,
    /// Seconds from the node's request before which the grant is not good
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    not_before: u32,
    /// Show what the node proves and give nothing
    #[arg(long, conflicts_with = "all")]
    look: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    offline: OfflineArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

/// Where keepers come from, one for each worker.
pub(super) struct Source {
    profile: ProfileArgs,
    offline: Option<Arc<Offline>>,
}

impl Source {
    /// A keeper of its own for one worker.
    fn keeper(&self) -> Result<Keeper, Failure> {
        match &self.offline {
            Some(offline) => Ok(Keeper::Offline(Arc::clone(offline))),
            None => Ok(Keeper::Service(Box::new(Admin::connect(
                self.profile.load()?,
            )?))),
        }
    }
}

impl RecoverArgs {
    /// Runs the command.
    pub(crate) fn run(self, output: Output) -> Result<Exit, Failure> {
        crate::volume::harden()?;
        let key = recovery_key::read(&self.key)?;
        let source = Source {
            profile: self.profile,
            offline: self.offline.open()?,
        };
        let terms = Terms {
            key: &key,
            not_before: self.not_before,
            valid: self.valid,
            yes: self.yes,
            look: self.look,
            qr: self.qr,
        };
        match (self.volume, &self.node, &self.request) {
            (Some(volume), Some(node), _) => {
                one::over_network(&terms, &mut source.keeper()?, node, volume, output)
            }
            (Some(volume), None, Some(file)) => {
                one::as_text(&terms, &mut source.keeper()?, file, volume, output)
            }
            _ => self.fleet.run(&terms, &source, output),
        }
    }
}
