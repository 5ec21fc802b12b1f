//! `dawnkey instance`: the enrolled attestation keys.

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, dash, fields, table};
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use serde::Serialize;

/// Arguments of `dawnkey instance`.
#[derive(Debug, Args)]
pub(crate) struct InstanceArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the enrolled instances
    #[command(after_help = "Examples:
  dawnkey instance list
  dawnkey instance list --json | jq -r '.[].instance'")]
    List,
    /// Forget an instance: it must be enrolled anew before its next unlock
    ///
    /// Volumes stay bound to the instance that first provisioned them.
    #[command(after_help = "Examples:
  dawnkey instance forget 000bd2c1…
  dawnkey instance forget 000bd2c1… --profile /etc/dawnkey/admin.toml")]
    Forget {
        /// The instance as `dawnkey instance list` shows it
        instance: String,
    },
}

/// An instance as `--json` shows it.
#[derive(Debug, Serialize)]
struct InstanceView {
    instance: String,
    kind: String,
    endorsement: String,
    enrolled: String,
    last_seen: String,
}

impl From<wire::InstanceRecord> for InstanceView {
    fn from(record: wire::InstanceRecord) -> Self {
        Self {
            instance: printable(&record.instance),
            kind: printable(&record.kind),
            endorsement: printable(&record.endorsement),
            enrolled: printable(&record.enrolled),
            last_seen: printable(&record.last_seen),
        }
    }
}

impl InstanceArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let mut admin = Admin::connect(self.profile.load()?)?;
        match &self.command {
            Command::List => list(&mut admin, output),
            Command::Forget { instance } => forget(&mut admin, output, instance),
        }
    }
}

fn list(admin: &mut Admin, output: Output) -> Result<Exit, Failure> {
    let answer = admin.call("list the instances", "the service", async |client| {
        client.list_instances(wire::ListInstancesRequest {}).await
    })?;
    let views: Vec<InstanceView> = answer.instances.into_iter().map(Into::into).collect();
    output.show(&views, || {
        if views.is_empty() {
            return "no instance is enrolled\n".to_owned();
        }
        let rows: Vec<[String; 5]> = views
            .iter()
            .map(|v| {
                [
                    v.instance.clone(),
                    v.kind.clone(),
                    dash(&v.endorsement),
                    v.enrolled.clone(),
                    dash(&v.last_seen),
                ]
            })
            .collect();
        table(
            ["INSTANCE", "KIND", "ENDORSEMENT", "ENROLLED", "LAST SEEN"],
            &rows,
        )
    })?;
    Ok(Exit::Done)
}

fn forget(admin: &mut Admin, output: Output, instance: &str) -> Result<Exit, Failure> {
    let subject = format!("instance {instance}");
    let request = wire::InstanceRef {
        instance: instance.to_owned(),
    };
    let record = admin.call("forget an instance", &subject, async |client| {
        client.forget_instance(request).await
    })?;
    let view = InstanceView::from(record);
    output.show(&view, || {
        fields(&[
            ("forgotten", view.instance.clone()),
            ("kind", view.kind.clone()),
            ("endorsement", view.endorsement.clone()),
            ("enrolled", view.enrolled.clone()),
            ("last seen", view.last_seen.clone()),
        ])
    })?;
    Ok(Exit::Done)
}
