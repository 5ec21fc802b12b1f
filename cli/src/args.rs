//! The command line.

use crate::audit::AuditArgs;
use crate::cluster::ClusterArgs;
use crate::endorsements::EndorsementsArgs;
use crate::evidence::EvidenceArgs;
use crate::generate::{CompletionsArgs, ManArgs};
use crate::import_uri::ImportUriArgs;
use crate::init::InitArgs;
use crate::instance::InstanceArgs;
use crate::kek::KekArgs;
use crate::kek::doctor::DoctorArgs;
use crate::kubernetes_kms::KubernetesKmsArgs;
use crate::master_secret::MasterSecretArgs;
use crate::measure::MeasureArgs;
use crate::node::NodeArgs;
use crate::outcome::{EXIT_CODES, Exit, Failure};
use crate::output::Output;
use crate::policy::PolicyArgs;
use crate::recover::RecoverArgs;
use crate::recovery_key::RecoveryKeyArgs;
use crate::status::StatusArgs;
use crate::store::StoreArgs;
use crate::volume::VolumeArgs;
use clap::{Parser, Subcommand};

/// Operate Dawnkey: keys and certificates, volumes, policy, measurements, audit
#[derive(Debug, Parser)]
#[command(
    name = "dawnkey",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print the result as one JSON document
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(InitArgs),
    /// Make the master secret of a key service in `cluster` mode, and give it to one that waits for it
    MasterSecret(MasterSecretArgs),
    ImportUri(ImportUriArgs),
    /// Create, list, show and retire volumes; break leases; export keys
    Volume(VolumeArgs),
    /// List and forget enrolled instances
    Instance(InstanceArgs),
    /// List, approve, deny and revoke nodes
    Node(NodeArgs),
    /// Show what identifies the cluster
    Cluster(ClusterArgs),
    /// Make, rotate and show the key of the Kubernetes KMS plugin
    KubernetesKms(KubernetesKmsArgs),
    /// Show, rotate, rewrap and remove KEK providers; offline recovery
    Kek(KekArgs),
    Doctor(DoctorArgs),
    Recover(Box<RecoverArgs>),
    /// Make keys that sign recovery grants
    RecoveryKey(RecoveryKeyArgs),
    /// Show the key service as it sees itself, its volumes and nodes at a glance, and what waits for an operator
    #[command(after_help = "Examples:
  dawnkey status
  dawnkey status --profile /etc/dawnkey/admin.toml --json")]
    Status(StatusArgs),
    /// Move records to another store or another key service
    Store(StoreArgs),
    /// Check, explain and extend policy files
    Policy(PolicyArgs),
    /// Show, verify and save recorded evidence
    Evidence(EvidenceArgs),
    /// Fetch, import, export and list what vendors say about platforms
    Endorsements(EndorsementsArgs),
    /// Predict the measurements of images
    Measure(MeasureArgs),
    /// Verify and show audit logs
    Audit(AuditArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  dawnkey completions bash > /etc/bash_completion.d/dawnkey
  dawnkey completions zsh > /usr/local/share/zsh/site-functions/_dawnkey")]
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command
    #[command(after_help = "Examples:
  dawnkey man /usr/local/share/man/man1")]
    Man(ManArgs),
}

impl Cli {
    /// Runs the command that was given.
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let output = Output::new(self.json);
        match self.command {
            Command::Init(args) => args.run(output),
            Command::MasterSecret(args) => args.run(output),
            Command::ImportUri(args) => args.run(output),
            Command::Volume(args) => args.run(output),
            Command::Instance(args) => args.run(output),
            Command::Cluster(args) => args.run(output),
            Command::Node(args) => args.run(output),
            Command::KubernetesKms(args) => args.run(output),
            Command::Kek(args) => args.run(output),
            Command::Doctor(args) => args.run(output),
            Command::Recover(args) => args.run(output),
            Command::RecoveryKey(args) => args.run(output),
            Command::Status(args) => args.run(output),
            Command::Store(args) => args.run(output),
            Command::Policy(args) => args.run(output),
            Command::Audit(args) => args.run(output),
            Command::Evidence(args) => args.run(output),
            Command::Endorsements(args) => args.run(output),
            Command::Measure(args) => args.run(output),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_summary_and_every_leaf_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no summary");
            let mut subs = command.get_subcommands().peekable();
            if subs.peek().is_none() {
                let help = command.get_after_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(
                    help.contains("Examples:\n  dawnkey"),
                    "{path} has no examples"
                );
            }
            for sub in subs {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Cli::command(), "dawnkey");
    }
}
