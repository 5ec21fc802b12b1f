//! `dawnkey kubernetes-kms`: the key of the Kubernetes KMS plugin.

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, dash, fields};
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use serde::Serialize;

/// Arguments of `dawnkey kubernetes-kms`.
#[derive(Debug, Args)]
pub(crate) struct KubernetesKmsArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the key, once: until then the plugin says that it is not healthy
    #[command(after_help = "Examples:
  dawnkey kubernetes-kms create
  dawnkey kubernetes-kms create --profile /etc/dawnkey/admin.toml --json")]
    Create,
    /// Encrypt with a new key from now on; what older keys encrypted still decrypts
    ///
    /// The API server sees the new key id within a minute and encrypts what it writes from then on with it. To have older
    /// objects written again: kubectl get secrets -A -o json | kubectl replace -f -
    #[command(after_help = "Examples:
  dawnkey kubernetes-kms rotate
  dawnkey kubernetes-kms rotate --json | jq -r .key_id")]
    Rotate,
    /// Show the key ids
    #[command(after_help = "Examples:
  dawnkey kubernetes-kms show
  dawnkey kubernetes-kms show --json")]
    Show,
}

/// The key as `--json` shows it.
#[derive(Debug, Serialize)]
struct KeyView {
    key_id: String,
    old_key_ids: Vec<String>,
    created: String,
    rotated: String,
}

impl From<wire::KubernetesKeyRecord> for KeyView {
    fn from(record: wire::KubernetesKeyRecord) -> Self {
        Self {
            key_id: printable(&record.key_id),
            old_key_ids: record.old_key_ids.iter().map(|id| printable(id)).collect(),
            created: printable(&record.created),
            rotated: printable(&record.rotated),
        }
    }
}

impl KubernetesKmsArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let mut admin = Admin::connect(self.profile.load()?)?;
        let asked = wire::KubernetesKeyRequest {};
        let subject = "the Kubernetes plugin's key";
        let record = match &self.command {
            Command::Create => admin.call("make the key", subject, async |client| {
                client.create_kubernetes_key(asked).await
            }),
            Command::Rotate => admin.call("rotate the key", subject, async |client| {
                client.rotate_kubernetes_key(asked).await
            }),
            Command::Show => admin.call("show the key", subject, async |client| {
                client.show_kubernetes_key(asked).await
            }),
        };
        let view = KeyView::from(record?);
        output.show(&view, || {
            fields(&[
                ("key id", view.key_id.clone()),
                ("old key ids", dash(&view.old_key_ids.join(", "))),
                ("created", view.created.clone()),
                ("rotated", dash(&view.rotated)),
            ])
        })?;
        Ok(Exit::Done)
    }
}
