//! `dawnkey cluster`: what identifies a cluster.

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields};
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};
use dawnkey_proto::wire;
use serde::Serialize;

/// Longest salt, in bytes.
const MAX_SALT: usize = 256;

/// Arguments of `dawnkey cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the cluster's id, and what it leaves in PCR 15 or RTMR 2 of its nodes
    ///
    /// As in Constellation: HKDF-SHA256 of the measurement secret with the cluster's measurement salt. The id is no secret.
    #[command(after_help = "Examples:
  dawnkey cluster id --salt 6a7b…
  dawnkey cluster id --salt 6a7b… --json | jq -r .pcr15")]
    Id {
        /// The measurement salt of the cluster, in hex
        #[arg(long, value_name = "HEX", value_parser = salt)]
        salt: Salt,
    },
}

/// A salt in bytes.
#[derive(Debug, Clone)]
struct Salt(Vec<u8>);

fn salt(text: &str) -> Result<Salt, String> {
    let bytes = hex::decode(text).map_err(|e| e.to_string())?;
    match (1..=MAX_SALT).contains(&bytes.len()) {
        true => Ok(Salt(bytes)),
        false => Err(format!("{} bytes instead of 1 to {MAX_SALT}", bytes.len())),
    }
}

/// The id as `--json` shows it.
#[derive(Debug, Serialize)]
struct IdView {
    cluster_id: String,
    pcr15: String,
    rtmr2: String,
}

impl ClusterArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let Command::Id { salt } = &self.command;
        let request = wire::ClusterIdRequest {
            measurement_salt: salt.0.clone(),
        };
        let mut admin = Admin::connect(self.profile.load()?)?;
        let answer = admin.call("show the cluster's id", "the cluster", async |client| {
            client.cluster_id(request).await
        })?;
        let view = IdView {
            cluster_id: hex::encode(&answer.cluster_id),
            pcr15: hex::encode(&answer.pcr15),
            rtmr2: hex::encode(&answer.rtmr2),
        };
        output.show(&view, || {
            fields(&[
                ("cluster id", view.cluster_id.clone()),
                ("PCR 15", view.pcr15.clone()),
                ("RTMR 2", view.rtmr2.clone()),
            ])
        })?;
        Ok(Exit::Done)
    }
}
