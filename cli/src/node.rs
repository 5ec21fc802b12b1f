//! `dawnkey node`: nodes that wait for an operator, and those that were decided about.

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, dash, fields, table};
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use serde::Serialize;

/// Arguments of `dawnkey node`.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List nodes that wait for an operator or were decided about
    #[command(after_help = "Examples:
  dawnkey node list
  dawnkey node list --pending
  dawnkey node list --json | jq -r '.[] | select(.standing == \"pending\") | .instance'")]
    List {
        /// Only those that wait
        #[arg(long)]
        pending: bool,
    },
    /// Let a node in where policy says `approval = \"required\"`, or let one in again
    #[command(after_help = "Examples:
  dawnkey node approve 000bd2c1…
  dawnkey node approve 000bd2c1… --profile /etc/dawnkey/admin.toml")]
    Approve {
        /// The instance as `dawnkey node list` shows it
        instance: String,
    },
    /// Do not let a node in, whatever policy says
    #[command(after_help = "Examples:
  dawnkey node deny 000bd2c1…")]
    Deny {
        /// The instance as `dawnkey node list` shows it
        instance: String,
    },
    /// Shut a node out: no key, no confirmation and no renewal of a lease from its next request on
    ///
    /// A volume that it has open stays open until its holder acts on the lost lease, as the volume policy's on_loss says.
    #[command(after_help = "Examples:
  dawnkey node revoke 000bd2c1…")]
    Revoke {
        /// The instance as `dawnkey node list` or `dawnkey volume show` shows it
        instance: String,
    },
}

/// A node as `--json` shows it.
#[derive(Debug, Serialize)]
struct NodeView {
    instance: String,
    standing: String,
    kind: String,
    endorsement: String,
    image: String,
    node_name: String,
    peer: String,
    volume: String,
    since: String,
    decided: String,
    decided_by: String,
}

impl From<wire::NodeRecord> for NodeView {
    fn from(record: wire::NodeRecord) -> Self {
        Self {
            instance: printable(&record.instance),
            standing: printable(&record.standing),
            kind: printable(&record.kind),
            endorsement: printable(&record.endorsement),
            image: printable(&record.image),
            node_name: printable(&record.node_name),
            peer: printable(&record.peer),
            volume: printable(&record.volume),
            since: printable(&record.since),
            decided: printable(&record.decided),
            decided_by: printable(&record.decided_by),
        }
    }
}

impl NodeArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let mut admin = Admin::connect(self.profile.load()?)?;
        match &self.command {
            Command::List { pending } => list(&mut admin, output, *pending),
            Command::Approve { instance } => decide(&mut admin, output, instance, "approved"),
            Command::Deny { instance } => decide(&mut admin, output, instance, "denied"),
            Command::Revoke { instance } => decide(&mut admin, output, instance, "revoked"),
        }
    }
}

fn list(admin: &mut Admin, output: Output, pending: bool) -> Result<Exit, Failure> {
    let answer = admin.call("list the nodes", "the service", async |client| {
        client.list_nodes(wire::ListNodesRequest {}).await
    })?;
    let views: Vec<NodeView> = answer.nodes.into_iter().map(NodeView::from).collect();
    let wanted = |view: &NodeView| !pending || view.standing == "pending";
    let views: Vec<NodeView> = views.into_iter().filter(wanted).collect();
    output.show(&views, || {
        if views.is_empty() {
            return "no node waits, and none was decided about\n".to_owned();
        }
        let rows: Vec<[String; 6]> = views
            .iter()
            .map(|v| {
                [
                    v.instance.clone(),
                    v.standing.clone(),
                    dash(&v.kind),
                    dash(&v.image),
                    dash(&v.node_name),
                    v.since.clone(),
                ]
            })
            .collect();
        table(
            [
                "INSTANCE",
                "STANDING",
                "KIND",
                "IMAGE",
                "CALLS ITSELF",
                "SINCE",
            ],
            &rows,
        )
    })?;
    Ok(Exit::Done)
}

fn decide(
    admin: &mut Admin,
    output: Output,
    instance: &str,
    standing: &str,
) -> Result<Exit, Failure> {
    let request = wire::DecideNodeRequest {
        instance: instance.to_owned(),
        standing: standing.to_owned(),
    };
    let subject = format!("node {instance}");
    let record = admin.call("decide about a node", &subject, async |client| {
        client.decide_node(request).await
    })?;
    let view = NodeView::from(record);
    output.show(&view, || {
        fields(&[
            ("instance", view.instance.clone()),
            ("standing", view.standing.clone()),
            ("kind", dash(&view.kind)),
            ("endorsement", dash(&view.endorsement)),
            ("image", dash(&view.image)),
            ("calls itself", dash(&view.node_name)),
            ("from", dash(&view.peer)),
            ("volume", dash(&view.volume)),
            ("since", view.since.clone()),
        ])
    })?;
    Ok(Exit::Done)
}
