//! What migrating and adopting share: the record at the key service, the backup of what was on the disk.

use super::subject;
use super::unseal;
use super::view::VolumeView;
use crate::admin::Admin;
use crate::files;
use crate::outcome::{Failure, chain};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_dm::adopt::Foreign;
use dawnkey_dm::disk::Disk;
use dawnkey_proto::wire;
use dawnkey_secret::Dek;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Epoch and generation that a taken volume begins with.
pub(super) const FIRST: u32 = 1;

/// Options of both commands.
#[derive(Debug, Args)]
pub(super) struct TakingArgs {
    /// The disk or image; nothing may map it
    #[arg(long, value_name = "PATH")]
    pub(super) disk: PathBuf,
    /// Name of a `[volume-policy]` of the service's policy file
    #[arg(long)]
    pub(super) policy: String,
    /// A text for people
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) label: String,
    /// File to create for the old header with its keyslots; `cryptsetup luksHeaderRestore` takes it
    #[arg(long, value_name = "FILE")]
    pub(super) old_header: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

/// The service's side.
pub(super) struct Service<'a> {
    profile: &'a ProfileArgs,
    volume: Uuid,
}

impl<'a> Service<'a> {
    pub(super) fn new(profile: &'a ProfileArgs, volume: Uuid) -> Self {
        Self { profile, volume }
    }

    fn connect(&self) -> Result<Admin, Failure> {
        Admin::connect(self.profile.load()?)
    }

    /// The record, if there is one.
    fn record(&self) -> Result<Option<wire::VolumeRecord>, Failure> {
        let what = "list the volumes";
        let known = self.connect()?.call(what, "the service", async |client| {
            client.list_volumes(wire::ListVolumesRequest {}).await
        })?;
        let id = self.volume.as_bytes();
        let mut records = known.volumes.into_iter();
        Ok(records.find(|record| record.volume_id == id))
    }

    /// The record of a volume that an earlier run handed over and that no node has opened since.
    pub(super) fn taken(&self) -> Result<Option<VolumeView>, Failure> {
        let first = |record: &wire::VolumeRecord| {
            record.state == "active" && record.generation == u64::from(FIRST)
        };
        Ok(self.record()?.filter(first).map(VolumeView::from))
    }

    /// Makes the record, unless an earlier run did, and gives the DEK of the first epoch.
    pub(super) fn dek(&self, args: &TakingArgs) -> Result<Dek, Failure> {
        if self.record()?.is_none() {
            let id = self.volume.as_bytes().to_vec();
            let request = wire::CreateVolumeRequest {
                volume_id: id,
                policy: args.policy.clone(),
                label: args.label.clone(),
            };
            self.connect()?
                .call("create a volume", &subject(self.volume), async |client| {
                    client.create_volume(request).await
                })?;
        }
        unseal::ask(self.profile, self.volume, FIRST).map(|(dek, _)| dek)
    }

    /// Tells the service that the volume is there.
    pub(super) fn adopt(
        &self,
        args: &TakingArgs,
        kind: &str,
        digest: [u8; 32],
    ) -> Result<VolumeView, Failure> {
        let request = wire::AdoptVolumeRequest {
            volume_id: self.volume.as_bytes().to_vec(),
            policy: args.policy.clone(),
            label: args.label.clone(),
            kind: kind.to_owned(),
            epoch: FIRST,
            generation: u64::from(FIRST),
            header_digest: digest.to_vec(),
        };
        let record =
            self.connect()?
                .call("adopt a volume", &subject(self.volume), async |client| {
                    client.adopt_volume(request).await
                })?;
        Ok(VolumeView::from(record))
    }
}

/// Reads and judges the LUKS2 header of a disk.
pub(super) fn foreign(disk: &dyn Disk) -> Result<Foreign, Failure> {
    Foreign::read(disk).map_err(|e| {
        Failure::local(
            chain(&e),
            disk.path().display(),
            "a LUKS2 volume as `cryptsetup luksFormat` makes it",
        )
    })
}

/// Saves header and keyslots as `cryptsetup luksHeaderBackup` does.
pub(super) fn back_up(foreign: &Foreign, to: &Path) -> Result<(), Failure> {
    files::create(to, "the old header", files::PRIVATE, foreign.area())
}
