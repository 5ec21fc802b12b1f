//! `dawnkey volume rescue`: opens a volume with stock `cryptsetup`, on any Linux, from a disk or an image.
//!
//! Everything is checked here first, with the agent's own code: the header, the seal, the disk's size, the integrity
//! layer's superblock. Then cryptsetup gets the checked header and the key, neither of them through a file on a disk.

use super::stock::{self, Key, Opening};
use super::unseal::{self, DekArgs};
use super::{disk, harden};
use crate::confirm;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_dm::MappedName;
use dawnkey_dm::disk::Disk;
use dawnkey_dm::geometry::DATA_OFFSET_BYTES;
use dawnkey_dm::header::SealedHeader;
use dawnkey_dm::superblock::{self, SUPERBLOCK_BYTES};
use dawnkey_secret::VolumeKey;
use serde::Serialize;
use std::path::PathBuf;
use uuid::Uuid;

/// Open a volume with stock cryptsetup, from its disk or an image of it
///
/// Works on any Linux that has cryptsetup: no TPM, no agent, no measured boot. The DEK comes from the key service, which
/// writes an audit record, or from a file descriptor if it was handed over earlier (`dawnkey volume export-key --dek`).
/// Header, seal, size and integrity superblock are checked first; the volume key goes to cryptsetup through a pipe and never
/// into a file. The volume is opened read-only unless --read-write is given.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume rescue 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk node-1.img
  mount -o ro,noload /dev/mapper/rescue-5f3c2f0e /mnt
  umount /mnt; cryptsetup close rescue-5f3c2f0e

  dawnkey volume rescue 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk /dev/vdb --name state --dek-fd 0 < node-1.dek
  dawnkey volume rescue 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk /dev/vdb --check --json")]
pub(crate) struct RescueArgs {
    /// The volume's id
    id: Uuid,
    /// The volume's disk, or an image of it
    #[arg(long, value_name = "PATH")]
    disk: PathBuf,
    /// Name of the mapping; rescue- and the id's first eight digits if left out
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    dek: DekArgs,
    /// Open it for writing, after the volume's id was typed in full
    #[arg(long, conflicts_with_all = ["check", "print"])]
    read_write: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Check everything, let cryptsetup try the key, open nothing
    #[arg(long, conflicts_with = "print")]
    check: bool,
    /// Check everything, print the command for a volume key in a file, open nothing
    #[arg(long)]
    print: bool,
}

/// The result as `--json` shows it. It holds no key.
#[derive(Debug, Serialize)]
struct Rescued {
    volume: String,
    disk: String,
    epoch: u32,
    generation: u64,
    integrity: String,
    key_bits: usize,
    read_only: bool,
    /// `null`: nothing was opened.
    device: Option<String>,
    /// What does the same with the volume key in the file `KEY`.
    command: String,
}

impl RescueArgs {
    /// Runs the command.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let name = self.mapping_name()?;
        let disk = disk::open(&self.disk)?;
        let region = disk::region(&disk)?;
        let header = disk::parse(&region, &self.disk, self.id)?.header;
        check_disk(&header, &disk)?;
        harden()?;
        let seen = header.seen();
        let dek = self.dek.dek(profile, self.id, seen.epoch)?;
        let key = unseal::volume_key(&header, &dek, &self.disk)?;
        drop(dek);
        if self.read_write {
            let consequence = "The volume is opened for writing. Make sure that no node runs it: two machines writing to \
                               one volume destroy it.";
            confirm::volume(self.id, self.yes, consequence)?;
        }
        let mut opening = Opening {
            disk: &self.disk,
            name: Some(name.as_str()),
            read_only: !self.read_write,
        };
        let volume_key = Key::Volume(key.expose());
        let command = stock::quoted(&opening.words(volume_key, "KEY", None));
        let opened = !self.print && !self.check;
        if self.check {
            opening.name = None;
        }
        if !self.print {
            opening.run(volume_key, header.encode().as_slice())?;
        }
        self.show(&header, &key, opened.then_some(&name), command, output)?;
        if opened {
            self.advise(&header, &name);
        }
        Ok(Exit::Done)
    }

    fn mapping_name(&self) -> Result<MappedName, Failure> {
        let id = self.id.simple().to_string();
        let default = || format!("rescue-{}", id.get(..8).unwrap_or_default());
        MappedName::new(&self.name.clone().unwrap_or_else(default))
            .map_err(|e| Failure::usage(e, "--name", "a name such as `state`"))
    }

    fn show(
        &self,
        header: &SealedHeader,
        key: &VolumeKey,
        opened: Option<&MappedName>,
        command: String,
        output: Output,
    ) -> Result<(), Failure> {
        let seen = header.seen();
        let done = Rescued {
            volume: self.id.to_string(),
            disk: self.disk.display().to_string(),
            epoch: seen.epoch,
            generation: seen.generation,
            integrity: header.integrity().to_string(),
            key_bits: 8 * key.expose().len(),
            read_only: !self.read_write,
            device: opened.map(|name| format!("/dev/mapper/{name}")),
            command,
        };
        output.show(&done, || {
            if self.print {
                return done.command.clone();
            }
            fields(&[
                ("volume", done.volume.clone()),
                ("epoch", done.epoch.to_string()),
                ("generation", done.generation.to_string()),
                ("integrity", done.integrity.clone()),
                ("device", done.device.clone().unwrap_or_default()),
            ])
        })
    }

    /// What to do with the open volume.
    fn advise(&self, header: &SealedHeader, name: &MappedName) {
        if self.read_write {
            output::note(&format!(
                "note: cryptsetup close {name} takes it away again"
            ));
            return;
        }
        output::note(&format!(
            "note: mount -o ro,noload /dev/mapper/{name} DIR; cryptsetup close {name} takes it away again"
        ));
        if header.integrity().has_tags() {
            output::note(
                "note: a disk that was not closed cleanly may hold its last writes in the integrity journal only, which \
                 is not replayed read-only; --read-write on a copy of the disk replays it",
            );
        }
    }
}

/// Compares the disk with what the header says of it.
fn check_disk(header: &SealedHeader, disk: &dyn Disk) -> Result<(), Failure> {
    let (bytes, needed) = (disk.bytes(), header.layout().needed_disk_bytes());
    let place = disk.path().display();
    if bytes < needed {
        return Err(Failure::local(
            format!("the disk has {bytes} bytes, its volume needs {needed}"),
            place,
            "the whole disk or a whole copy; `truncate -s` brings a copy back to its length",
        ));
    }
    if !header.integrity().has_tags() {
        return Ok(());
    }
    let mut found = [0; SUPERBLOCK_BYTES];
    disk.read_at(DATA_OFFSET_BYTES, &mut found).map_err(|e| {
        Failure::local(
            format!("read the dm-integrity superblock: {e}"),
            place.to_string(),
            "a readable disk",
        )
    })?;
    let layout = header.layout();
    superblock::check(&found, &layout, layout.data_sectors()).map_err(|e| {
        Failure::local(
            e,
            place,
            "a disk whose integrity superblock is whole; docs/rescue.md says how one is written anew",
        )
    })
}
