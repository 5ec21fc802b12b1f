//! `dawnkey volume migrate`: a Constellation state disk becomes a volume of Dawnkey's, in place and without touching data.
//!
//! The secondary copy of the header is written first, with a sequence number below the old one's: until the primary copy is
//! being written, every tool that knows LUKS2 takes the old header; from then on this one is the only whole one.

use super::constellation::{self, TOKEN};
use super::disk::Held;
use super::taking::{self, FIRST, Service, TakingArgs};
use super::{disk, harden, unseal};
use crate::confirm;
use crate::files;
use crate::outcome::{Exit, Failure, chain};
use crate::output::{self, Output};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_dm::adopt::Foreign;
use dawnkey_dm::commit;
use dawnkey_dm::disk::{Disk, OsDisk};
use dawnkey_dm::geometry::{BLOCK_BYTES, DATA_OFFSET_BYTES, Layout};
use dawnkey_dm::header::{self, Condition, HEADER_COPY_BYTES, REGION_BYTES, SealedHeader};
use dawnkey_dm::superblock::{self, SUPERBLOCK_BYTES};
use dawnkey_secret::{Dek, VolumeKey};
use std::path::PathBuf;
use uuid::Uuid;

/// Bytes of zeros that are written at once over the old keyslots.
const CHUNK_BYTES: usize = 1 << 20;

/// Make a Constellation state disk a volume of Dawnkey's
///
/// Opens the disk's keyslot with the key that follows from Constellation's master secret, salt and the disk's UUID, writes
/// Dawnkey's header around the volume key, tells the key service, and overwrites the old keyslots. Data is not touched, the UUID
/// stays. The old header is saved to a file first: with the master secret it still opens the disk, so destroy it
/// when the node has booted. A run that was cut short is finished by running the command again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume migrate --disk /dev/vdb --policy state --label node-1 \\
      --master-secret constellation-mastersecret.json --old-header node-1.luks
  dawnkey volume migrate --disk node-1.img --policy state --master-secret secret.hex --salt salt.hex \\
      --old-header node-1.luks --yes --json")]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    taking: TakingArgs,
    /// constellation-mastersecret.json, or a file with the master secret in hex; readable by you only
    #[arg(long, value_name = "FILE")]
    master_secret: PathBuf,
    /// File with the salt in hex, beside a master secret in hex
    #[arg(long, value_name = "FILE")]
    salt: Option<PathBuf>,
}

impl MigrateArgs {
    /// Runs the command. Nothing is written, and nothing asked of the service, before the confirmation.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let mut held = Held::claim(&self.taking.disk)?;
        let region = disk::region(&held.disk)?;
        harden()?;
        if let Some((header, condition)) = begun(&region) {
            return self.finish(profile, &mut held.disk, &header, condition, output);
        }
        let old = taking::foreign(&held.disk)?;
        let volume = old.header().volume();
        let layout = layout(&old, &held.disk)?;
        let dek = constellation::dek(&self.master_secret, self.salt.as_deref(), volume)?;
        let key = old.volume_key(dek.expose()).map_err(|e| {
            Failure::local(
                chain(&e),
                self.taking.disk.display(),
                "the master secret and salt of the cluster that this disk belongs to",
            )
        })?;
        drop(dek);
        files::must_be_absent(&self.taking.old_header, "the old header")?;
        self.confirm(volume)?;
        let service = Service::new(profile, volume);
        let dek = service.dek(&self.taking)?;
        let new = around(volume, layout, &dek, &key)?;
        taking::back_up(&old, &self.taking.old_header)?;
        self.write(&mut held.disk, &new, Condition::Clean)?;
        self.hand_over(&service, &mut held.disk, &new, &dek, output)
    }

    fn confirm(&self, volume: Uuid) -> Result<(), Failure> {
        confirm::volume(
            volume,
            self.taking.yes,
            "The disk's header is replaced: from then on the key service opens it, and the cluster's master secret no more.",
        )
    }

    /// Finishes what an earlier run began: both copies, the record, the old keyslots.
    fn finish(
        &self,
        profile: &ProfileArgs,
        disk: &mut OsDisk,
        header: &SealedHeader,
        condition: Condition,
        output: Output,
    ) -> Result<Exit, Failure> {
        let volume = header.volume();
        output::note("note: the disk has Dawnkey's header already; what is left is finished");
        self.confirm(volume)?;
        let service = Service::new(profile, volume);
        let dek = service.dek(&self.taking)?;
        if condition != Condition::Clean {
            unseal::volume_key(header, &dek, &self.taking.disk)?;
            self.write(disk, header, condition)?;
        }
        self.hand_over(&service, disk, header, &dek, output)
    }

    fn write(
        &self,
        disk: &mut OsDisk,
        header: &SealedHeader,
        condition: Condition,
    ) -> Result<(), Failure> {
        commit::write(disk, header, condition).map_err(|e| {
            Failure::local(
                format!("write the header: {e}"),
                self.taking.disk.display(),
                "a disk that takes writes; run this again, or bring the old header back with `cryptsetup luksHeaderRestore`",
            )
        })
    }

    /// What was written must open; then the service takes the volume; then the old keyslots go.
    fn hand_over(
        &self,
        service: &Service<'_>,
        disk: &mut OsDisk,
        header: &SealedHeader,
        dek: &Dek,
        output: Output,
    ) -> Result<Exit, Failure> {
        let region = disk::region(disk)?;
        let written = disk::parse(&region, &self.taking.disk, header.volume())?.header;
        unseal::volume_key(&written, dek, &self.taking.disk)?;
        let view = match service.taken()? {
            Some(view) => view,
            None => service.adopt(&self.taking, "migrated", written.seen().digest)?,
        };
        forget_keyslots(disk).map_err(|e| {
            Failure::local(
                format!("overwrite the old keyslots: {e}; the volume itself is migrated"),
                self.taking.disk.display(),
                "a disk that takes writes; zeros from byte 32768 to byte 16777216",
            )
        })?;
        view.show(output)?;
        output::note(
            "note: destroy the file with the old header when the node has booted: with the master secret it opens the disk",
        );
        Ok(Exit::Done)
    }
}

/// Dawnkey's header, if a run before this one has written at least the secondary copy.
fn begun(region: &[u8]) -> Option<(SealedHeader, Condition)> {
    if let Ok(parsed) = header::parse(region) {
        return Some((parsed.header, parsed.condition));
    }
    // The primary copy is still the old header, which our parser refuses; the secondary has to stand alone.
    let mut alone = region.to_vec();
    alone.get_mut(..HEADER_COPY_BYTES)?.fill(0);
    header::parse(&alone)
        .ok()
        .map(|parsed| (parsed.header, parsed.condition))
}

/// The layout that Dawnkey would have given this disk. A volume with any other is refused.
fn layout(old: &Foreign, disk: &dyn Disk) -> Result<Layout, Failure> {
    let place = disk.path().display();
    let header = old.header();
    if !header.tokens().iter().any(|kind| kind == TOKEN) {
        return Err(Failure::local(
            format!("the header has no token of type {TOKEN}"),
            place,
            "a state disk of Constellation; `dawnkey volume adopt` takes other LUKS2 volumes",
        ));
    }
    let found = (header.data_offset(), header.sector_size());
    if found != (DATA_OFFSET_BYTES, BLOCK_BYTES) {
        return Err(Failure::local(
            format!(
                "the data begins at byte {} in sectors of {} bytes",
                found.0, found.1
            ),
            place,
            "16777216 and 4096; `dawnkey volume adopt` takes other LUKS2 volumes",
        ));
    }
    let layout = Layout::for_disk(header.integrity(), old.disk_bytes())
        .map_err(|e| Failure::local(e, disk.path().display(), "a larger disk"))?;
    if header.integrity().has_tags() {
        let mut found = [0; SUPERBLOCK_BYTES];
        disk.read_at(DATA_OFFSET_BYTES, &mut found).map_err(|e| {
            Failure::local(
                format!("read the dm-integrity superblock: {e}"),
                disk.path().display(),
                "a readable disk",
            )
        })?;
        superblock::check_new(&found, &layout, layout.data_sectors()).map_err(|e| {
            Failure::local(
                e,
                disk.path().display(),
                "an integrity layer as the kernel lays it out on this disk; copy the data to a new volume, or use `dawnkey volume adopt`",
            )
        })?;
    }
    Ok(layout)
}

fn around(
    volume: Uuid,
    layout: Layout,
    dek: &Dek,
    key: &VolumeKey,
) -> Result<SealedHeader, Failure> {
    SealedHeader::around(volume, FIRST, u64::from(FIRST), layout, dek, key)
        .map_err(|e| Failure::local(e, "the new header", "a volume key of this cipher"))
}

/// Overwrites the keyslot area with zeros.
fn forget_keyslots(disk: &mut dyn Disk) -> std::io::Result<()> {
    let zeros = vec![0; CHUNK_BYTES];
    let mut at = REGION_BYTES as u64;
    while at < DATA_OFFSET_BYTES {
        let left = usize::try_from(DATA_OFFSET_BYTES - at).unwrap_or(CHUNK_BYTES);
        let part = zeros.get(..left.min(CHUNK_BYTES)).unwrap_or_default();
        disk.write_at(at, part)?;
        at += part.len() as u64;
    }
    disk.flush()
}
