//! `dawnkey endorsements`: vendors' certificates, revocation lists and TCB statements in a local store.

mod archive;
mod list;
mod sync;
mod transfer;

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::{Args, Subcommand};
use dawnkey_attest::snp::roots::Roots as AmdRoots;
use dawnkey_attest::tdx::TdxRoots;
use dawnkey_endorse::Trust;
use dawnkey_endorse::store::Store;
use dawnkey_keyservice::policy::Policy;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `dawnkey endorsements`.
#[derive(Debug, Args)]
pub(crate) struct EndorsementsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch endorsements from AMD's and Intel's services into the store
    ///
    /// Waits through the pauses that a service orders, up to --patience. What is fetched is checked against the roots and
    /// never replaces anything newer.
    #[command(after_help = "Examples:
  dawnkey endorsements sync --store endorsements --for node7.evidence
  dawnkey endorsements sync --store endorsements --product milan --product genoa
  dawnkey endorsements sync --store endorsements --fmspc 00806f050000 --intel-url https://pccs.example:8081
  dawnkey endorsements sync --store endorsements --product milan --chip 7f3a…e2 --tcb 04000000000018db")]
    Sync(sync::SyncArgs),
    /// Put an export, or files of vendors, into the store
    ///
    /// Takes directories, tar archives and loose files: certificates and revocation lists in DER or PEM, JSON answers of
    /// Intel's service. Issuer chains are found in PEM files and in saved response headers among the files. A file is what
    /// its signed content says, whatever its name; only lists of AMD that have \"vlek\" in their name count as such.
    #[command(after_help = "Examples:
  dawnkey endorsements import --store /var/lib/dawnkey/endorsements endorsements.tar
  dawnkey endorsements import --store endorsements vcek.der cert_chain.pem crl.der
  curl -D tcb.headers -o tcb.json https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=00806f050000
  dawnkey endorsements import --store endorsements tcb.json tcb.headers")]
    Import(transfer::ImportArgs),
    /// Write all of the store that is not refused to a directory or a tar archive
    #[command(after_help = "Examples:
  dawnkey endorsements export --store endorsements endorsements.tar
  dawnkey endorsements export --store endorsements /media/stick/endorsements")]
    Export(transfer::ExportArgs),
    /// List the store: what there is, until when, and what is refused
    ///
    /// Ends with 1 if something has expired or is refused.
    #[command(after_help = "Examples:
  dawnkey endorsements list --store /var/lib/dawnkey/endorsements
  dawnkey endorsements list --store endorsements --json | jq '.[] | select(.days_left < 14)'")]
    List(list::ListArgs),
}

impl EndorsementsArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Sync(args) => args.run(output),
            Command::Import(args) => args.run(output),
            Command::Export(args) => args.run(output),
            Command::List(args) => args.run(output),
        }
    }
}

/// Where the store is, and whom it trusts.
#[derive(Debug, Args)]
struct StoreArgs {
    /// The store's directory, `endorsements.path` of a key service
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Trust whom a policy trusts, instead of AMD's and Intel's own roots
    #[arg(long, value_name = "POLICY")]
    policy: Option<PathBuf>,
}

impl StoreArgs {
    fn trust(&self) -> Result<Trust, Failure> {
        let Some(path) = &self.policy else {
            let broken =
                |e: &dyn std::fmt::Display| Failure::local(e, "built-in roots", "another build");
            return Ok(Trust {
                snp: AmdRoots::amd().map_err(|e| broken(&e))?,
                tdx: TdxRoots::intel().map_err(|e| broken(&e))?,
                tpm: Vec::new(),
            });
        };
        let text = files::read_text(path, "the policy")?;
        let policy = Policy::parse(path, &text).map_err(|e| {
            let right = "a policy that `dawnkey policy lint` accepts";
            Failure::local(e, path.display(), right)
        })?;
        Ok(Trust::from(&policy.roots))
    }

    /// Opens a store that must be there.
    fn existing(&self) -> Result<Store, Failure> {
        if !self.store.is_dir() {
            return Err(Failure::local(
                "open the store: there is no such directory",
                self.store.display(),
                "the directory of a store; `import` and `sync` make one",
            ));
        }
        self.open()
    }

    fn open(&self) -> Result<Store, Failure> {
        Store::open(&self.store, Arc::new(self.trust()?)).map_err(|e| self.failure(&e))
    }

    fn failure(&self, error: &dyn std::error::Error) -> Failure {
        let right = "a directory that you may write";
        Failure::local(
            format!("use the store: {error}"),
            self.store.display(),
            right,
        )
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}
