//! `dawnkey volume`: the volumes that the key service knows.

#[cfg(feature = "adopt")]
mod adopt;
#[cfg(feature = "adopt")]
mod constellation;
mod disk;
mod export;
mod header;
#[cfg(feature = "adopt")]
mod migrate;
mod rescue;
mod retire;
mod rotate;
mod status;
mod stock;
#[cfg(feature = "adopt")]
mod taking;
mod unseal;
mod view;

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output};
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};
use dawnkey_proto::wire;
use dawnkey_secret::process::{HardenError, harden as harden_process};
use uuid::Uuid;
use view::VolumeView;

/// Arguments of `dawnkey volume`.
#[derive(Debug, Args)]
pub(crate) struct VolumeArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a volume: the first attested node that asks with a blank disk may format it
    #[command(after_help = "Examples:
  dawnkey volume create --policy state --label node-1
  dawnkey volume create --policy services --secret --label keyservice-2
  dawnkey volume create --policy state --id 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11")]
    Create(CreateArgs),
    /// List all volumes
    #[command(after_help = "Examples:
  dawnkey volume list
  dawnkey volume list --json | jq -r '.[] | select(.state == \"active\") | .id'")]
    List,
    /// Show one volume
    #[command(after_help = "Examples:
  dawnkey volume show 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11")]
    Show(IdArgs),
    Retire(retire::RetireArgs),
    Status(status::StatusArgs),
    /// End a lease that its holder will not end, so that another instance may unlock
    ///
    /// Make sure first that the holder is off: two machines writing to one volume destroy it.
    #[command(after_help = "Examples:
  dawnkey volume break-lease 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11")]
    BreakLease(IdArgs),
    /// Give a volume a new key: the node seals the header with it at its next unlock
    ///
    /// No data is written anew. The old key is forgotten once that unlock is confirmed; until then `volume show` names
    /// both epochs. A backup of the header that was made before opens with the old key only: make a new one.
    #[command(after_help = "Examples:
  dawnkey volume rotate 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11
  dawnkey volume show 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --json | jq .next_epoch")]
    Rotate(IdArgs),
    ExportKey(export::ExportArgs),
    /// Show a volume's header, save it to a file, write it back
    Header(header::HeaderArgs),
    Rescue(rescue::RescueArgs),
    #[cfg(feature = "adopt")]
    Migrate(migrate::MigrateArgs),
    #[cfg(feature = "adopt")]
    Adopt(adopt::AdoptArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Name of a `[volume-policy]` of the service's policy file
    #[arg(long)]
    policy: String,
    /// The volume's id; the service makes one when it is left out
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// A text for people
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// Create a secret: a key for `dawnkey-agent secret`, without a disk; its policy must say `adopted = true`
    #[arg(long)]
    secret: bool,
}

#[derive(Debug, Args)]
struct IdArgs {
    /// The volume's id
    id: Uuid,
}

impl VolumeArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Create(args) => self.create(args, output),
            Command::List => self.list(output),
            Command::Show(args) => self.show(args.id, output),
            Command::Retire(args) => args.run(&self.profile, output),
            Command::Status(args) => args.run(&self.profile, output),
            Command::BreakLease(args) => self.break_lease(args.id, output),
            Command::Rotate(args) => self.rotate(args.id, output),
            Command::ExportKey(args) => args.run(&self.profile, output),
            Command::Header(args) => args.run(output),
            Command::Rescue(args) => args.run(&self.profile, output),
            #[cfg(feature = "adopt")]
            Command::Migrate(args) => args.run(&self.profile, output),
            #[cfg(feature = "adopt")]
            Command::Adopt(args) => args.run(&self.profile, output),
        }
    }

    fn connect(&self) -> Result<Admin, Failure> {
        Admin::connect(self.profile.load()?)
    }

    fn create(&self, args: &CreateArgs, output: Output) -> Result<Exit, Failure> {
        let subject = format!("policy {}", args.policy);
        let request = wire::CreateVolumeRequest {
            volume_id: args.id.map_or_else(Vec::new, |id| id.as_bytes().to_vec()),
            policy: args.policy.clone(),
            label: args.label.clone(),
        };
        let mut admin = self.connect()?;
        let mut record = admin.call("create a volume", &subject, async |client| {
            client.create_volume(request).await
        })?;
        if args.secret {
            let made = record.volume_id;
            let request = adopting_secret(made.clone());
            let adopted = admin.call("make it a secret", &subject, async |client| {
                client.adopt_volume(request).await
            });
            record = match adopted {
                Ok(adopted) => adopted,
                Err(failure) => {
                    // As it is, a node with a blank disk could take it.
                    let made = wire::VolumeRef { volume_id: made };
                    admin.call("take the volume back", &subject, async |client| {
                        client.retire_volume(made).await
                    })?;
                    return Err(failure);
                }
            };
        }
        VolumeView::from(record).show(output)
    }

    fn list(&self, output: Output) -> Result<Exit, Failure> {
        let answer = self
            .connect()?
            .call("list the volumes", "the service", async |client| {
                client.list_volumes(wire::ListVolumesRequest {}).await
            })?;
        view::show_list(answer.volumes, output)
    }

    fn show(&self, id: Uuid, output: Output) -> Result<Exit, Failure> {
        let record = self
            .connect()?
            .call("show a volume", &subject(id), async |client| {
                client.show_volume(reference(id)).await
            })?;
        VolumeView::from(record).show(output)
    }

    fn break_lease(&self, id: Uuid, output: Output) -> Result<Exit, Failure> {
        let record = self
            .connect()?
            .call("break a lease", &subject(id), async |client| {
                client.break_lease(reference(id)).await
            })?;
        VolumeView::from(record).show(output)
    }
}

/// A secret is an adopted volume with a header by agreement.
fn adopting_secret(volume_id: Vec<u8>) -> wire::AdoptVolumeRequest {
    let header = dawnkey_proto::secret::header();
    wire::AdoptVolumeRequest {
        volume_id,
        policy: String::new(),
        label: String::new(),
        kind: "adopted".into(),
        epoch: header.epoch,
        generation: header.generation,
        header_digest: header.digest.to_vec(),
    }
}

fn reference(id: Uuid) -> wire::VolumeRef {
    wire::VolumeRef {
        volume_id: id.as_bytes().to_vec(),
    }
}

/// How messages name a volume.
fn subject(id: Uuid) -> String {
    format!("volume {id}")
}

/// Keeps this process's memory out of core dumps and, where the limits allow it, out of swap.
pub(crate) fn harden() -> Result<(), Failure> {
    match harden_process() {
        Ok(()) => Ok(()),
        Err(HardenError::MemoryLock(_)) => {
            output::note(
                "note: memory could not be locked, so the key may reach swap; `ulimit -l unlimited` allows it",
            );
            Ok(())
        }
        Err(e) => Err(Failure::local(e, "this process", "a kernel that allows it")),
    }
}
