//! `dawnkey volume header`: the 32 KiB of a volume's header: shown, saved to a file and written back.
//!
//! A saved header opens nothing without the DEK. Written back it must be one that Dawnkey wrote for this volume, and
//! what it replaces is kept in a file first.

mod show;

use super::disk::{self, Held};
use crate::confirm;
use crate::files;
use crate::outcome::{Exit, Failure, chain};
use crate::output::{self, Output, fields};
use clap::{Args, Subcommand};
use dawnkey_dm::commit;
use dawnkey_dm::disk::Disk;
use dawnkey_dm::header::{self, Condition, SealedHeader};
use serde::Serialize;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Arguments of `dawnkey volume header`.
#[derive(Debug, Args)]
pub(crate) struct HeaderArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::ShowArgs),
    /// Save a volume's header to a file
    ///
    /// Every unlock writes a new header, so that a backup is of the moment: save it anew after unlocks that matter. It
    /// holds no key in clear. May be done while the volume is in use.
    #[command(after_help = "Examples:
  dawnkey volume header backup 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk /dev/vdb --to node-1.header")]
    Backup(BackupArgs),
    /// Write a saved header back to its disk
    ///
    /// The backup must be a whole header of this volume. What it replaces is saved to a file first. A backup that is
    /// older than the disk's header is refused without --older: the key service knows the newer one and takes
    /// the older for a rollback. Asks for the volume's id, typed in full, unless --yes is given.
    #[command(after_help = "Examples:
  dawnkey volume header restore 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk /dev/vdb --from node-1.header
  dawnkey volume header restore 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk node-1.img --from node-1.header \\
      --replaced node-1.header.before --older --yes")]
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// The volume's id
    id: Uuid,
    /// The volume's disk or image
    #[arg(long, value_name = "PATH")]
    disk: PathBuf,
    /// File to create; it must not exist
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// The volume's id
    id: Uuid,
    /// The volume's disk or image
    #[arg(long, value_name = "PATH")]
    disk: PathBuf,
    /// The saved header
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// File to create for what is replaced; ID.replaced-header if left out
    #[arg(long, value_name = "FILE")]
    replaced: Option<PathBuf>,
    /// Write a header that is older than the disk's
    #[arg(long)]
    older: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// A header as `--json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct HeaderView {
    epoch: u32,
    generation: u64,
    digest: String,
}

impl From<&SealedHeader> for HeaderView {
    fn from(header: &SealedHeader) -> Self {
        let seen = header.seen();
        Self {
            epoch: seen.epoch,
            generation: seen.generation,
            digest: hex::encode(seen.digest),
        }
    }
}

impl HeaderView {
    /// For people.
    fn text(&self) -> String {
        format!("epoch {}, generation {}", self.epoch, self.generation)
    }

    /// Whether it was written before `other`.
    fn older_than(&self, other: &Self) -> bool {
        (self.epoch, self.generation) < (other.epoch, other.generation)
    }
}

#[derive(Debug, Serialize)]
struct BackedUp {
    volume: String,
    header: HeaderView,
    file: String,
}

#[derive(Debug, Serialize)]
struct Restored {
    volume: String,
    header: HeaderView,
    /// `null`: what was there was no header.
    replaced: Option<HeaderView>,
    replaced_file: String,
}

impl HeaderArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Show(args) => args.run(output),
            Command::Backup(args) => args.run(output),
            Command::Restore(args) => args.run(output),
        }
    }
}

impl BackupArgs {
    fn run(&self, output: Output) -> Result<Exit, Failure> {
        files::must_be_absent(&self.to, "the header")?;
        let region = disk::region(&disk::open(&self.disk)?)?;
        let parsed = disk::parse(&region, &self.disk, self.id)?;
        files::create(&self.to, "the header", files::PRIVATE, &region)?;
        let done = BackedUp {
            volume: self.id.to_string(),
            header: (&parsed.header).into(),
            file: self.to.display().to_string(),
        };
        output.show(&done, || {
            fields(&[
                ("volume", done.volume.clone()),
                ("header", done.header.text()),
                ("digest", done.header.digest.clone()),
                ("file", done.file.clone()),
            ])
        })?;
        Ok(Exit::Done)
    }
}

impl RestoreArgs {
    fn run(&self, output: Output) -> Result<Exit, Failure> {
        let saved = disk::region(&disk::open(&self.from)?)?;
        let new = disk::parse(&saved, &self.from, self.id)?.header;
        let replaced = self
            .replaced
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("{}.replaced-header", self.id)));
        files::must_be_absent(&replaced, "what is replaced")?;

        let mut held = Held::claim(&self.disk)?;
        let old = disk::region(&held.disk)?;
        let (present, condition) = present(&old, &self.disk, self.id)?;
        fits(&new, &held.disk)?;
        let view = HeaderView::from(&new);
        self.may_replace(&view, present.as_ref())?;
        confirm::volume(self.id, self.yes, &consequence(&view, present.as_ref()))?;

        files::create(&replaced, "what is replaced", files::PRIVATE, &old)?;
        commit::write(&mut held.disk, &new, condition)
            .map_err(|e| torn(&self.disk, &replaced, &e.to_string()))?;
        let written = disk::region(&held.disk)?;
        if written != new.encode().as_slice() {
            let what = "the disk shows other bytes than were written";
            return Err(torn(&self.disk, &replaced, what));
        }
        self.show(view, present, &replaced, output)
    }

    /// Refuses an older header unless that is asked for.
    fn may_replace(&self, new: &HeaderView, old: Option<&HeaderView>) -> Result<(), Failure> {
        match old {
            Some(old) if new.older_than(old) && !self.older => Err(Failure::usage(
                format!(
                    "the saved header ({}) is older than the disk's ({}); nothing was done",
                    new.text(),
                    old.text()
                ),
                self.from.display(),
                "the newest backup, or --older: the key service then refuses the volume as rolled back (stale-generation, \
                 stale-epoch) unless its policy only warns of it",
            )),
            _ => Ok(()),
        }
    }

    fn show(
        &self,
        header: HeaderView,
        replaced: Option<HeaderView>,
        file: &Path,
        output: Output,
    ) -> Result<Exit, Failure> {
        let done = Restored {
            volume: self.id.to_string(),
            header,
            replaced,
            replaced_file: file.display().to_string(),
        };
        output.show(&done, || {
            let replaced = done.replaced.as_ref();
            fields(&[
                ("volume", done.volume.clone()),
                ("header", done.header.text()),
                (
                    "replaced",
                    replaced.map_or_else(|| "no header".to_owned(), HeaderView::text),
                ),
                ("saved to", done.replaced_file.clone()),
            ])
        })?;
        Ok(Exit::Done)
    }
}

/// What stands where the header goes: the volume's header, or something that is none. Another volume's is never
/// replaced.
fn present(
    region: &[u8],
    path: &Path,
    volume: Uuid,
) -> Result<(Option<HeaderView>, Condition), Failure> {
    if let Some(other) = header::claimed_volumes(region).find(|id| *id != volume) {
        return Err(Failure::local(
            format!("replace the header: the disk carries a header of {other}"),
            path.display(),
            format!("the disk of volume {volume}"),
        ));
    }
    match header::parse(region) {
        Ok(parsed) => Ok((Some((&parsed.header).into()), parsed.condition)),
        Err(e) => {
            output::note(&format!(
                "note: the disk has no header that can be read ({}); whether the saved one is the newest, the \
                 generation and epoch of `dawnkey volume show {volume}` tell",
                chain(&e)
            ));
            Ok((None, Condition::Clean))
        }
    }
}

/// A header whose data would reach beyond the disk is of another disk.
fn fits(header: &SealedHeader, disk: &dyn Disk) -> Result<(), Failure> {
    let (bytes, needed) = (disk.bytes(), header.layout().needed_disk_bytes());
    if bytes >= needed {
        return Ok(());
    }
    Err(Failure::local(
        format!("the disk has {bytes} bytes, the saved header's volume needs {needed}"),
        disk.path().display(),
        "the disk that the volume was formatted on, or a whole copy of it",
    ))
}

fn consequence(new: &HeaderView, old: Option<&HeaderView>) -> String {
    let old = old.map_or_else(|| "what is no header".to_owned(), HeaderView::text);
    format!(
        "The saved header ({}) replaces the disk's ({old}).",
        new.text()
    )
}

fn torn(disk: &Path, replaced: &Path, why: &str) -> Failure {
    Failure::local(
        format!("write the header: {why}"),
        disk.display(),
        format!(
            "a disk that takes writes; run this again, or write {} back",
            replaced.display()
        ),
    )
}
