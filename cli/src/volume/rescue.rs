//! `dawnkey volume rescue`: opens a volume with stock `cryptsetup`, on any Linux, from a disk or an image.
//!
//! Everything is checked here first, with the agent's own code: the header, the seal, the disk's size, the integrity
//! layer's superblock. Then cryptsetup gets the checked header and the key, neither of them through a file on a disk.

mod subject;

use super::stock::{self, Opening};
use super::unseal::DekArgs;
use super::{disk, harden};
use crate::confirm;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_dm::MappedName;
use serde::Serialize;
use std::path::PathBuf;
use subject::{Opener, Subject};
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
    /// An adopted volume: the key is the passphrase of a keyslot.
    adopted: bool,
    integrity: String,
    key_bits: usize,
    read_only: bool,
    /// `null`: nothing was opened.
    device: Option<String>,
    /// What does the same with the key in the file `KEY`.
    command: String,
}

impl RescueArgs {
    /// Runs the command.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let name = self.mapping_name()?;
        let disk = disk::open(&self.disk)?;
        let subject = Subject::read(&disk, self.id)?;
        harden()?;
        let (epoch, _) = subject.epoch_and_generation();
        let dek = self.dek.dek(profile, self.id, epoch)?;
        let opener = subject.open(dek, &self.disk)?;
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
        let command = stock::quoted(&opening.words(opener.key(), "KEY", None));
        let opened = !self.print && !self.check;
        if self.check {
            opening.name = None;
        }
        if !self.print {
            opening.run(opener.key(), &subject.area())?;
        }
        self.show(&subject, &opener, opened.then_some(&name), command, output)?;
        if opened {
            self.advise(&subject, &name);
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
        subject: &Subject,
        opener: &Opener,
        opened: Option<&MappedName>,
        command: String,
        output: Output,
    ) -> Result<(), Failure> {
        let (epoch, generation) = subject.epoch_and_generation();
        let done = Rescued {
            volume: self.id.to_string(),
            disk: self.disk.display().to_string(),
            epoch,
            generation,
            adopted: matches!(subject, Subject::Adopted(_)),
            integrity: subject.integrity().to_string(),
            key_bits: opener.key().bits(),
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
    fn advise(&self, subject: &Subject, name: &MappedName) {
        if let Some(ready) = subject.unfinished() {
            output::note(&format!(
                "note: the wipe behind the volume had not ended: the mapping is as long as the volume will be, the filesystem is \
                 within its first {} MiB; what is behind has never been written and gives read errors",
                ready >> 20
            ));
        }
        if self.read_write {
            output::note(&format!(
                "note: cryptsetup close {name} takes it away again"
            ));
            return;
        }
        output::note(&format!(
            "note: mount -o ro,noload /dev/mapper/{name} DIR; cryptsetup close {name} takes it away again"
        ));
        if subject.integrity().has_tags() {
            output::note(
                "note: a disk that was not closed cleanly may hold its last writes in the integrity journal only, which \
                 need not be replayed read-only; --read-write on a copy of the disk replays it",
            );
        }
    }
}
