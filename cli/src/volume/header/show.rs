//! `dawnkey volume header show`: what a disk's header says of itself, without any key.

use crate::outcome::{Exit, Failure, chain};
use crate::output::{Output, fields};
use crate::volume::disk;
use clap::Args;
use dawnkey_dm::blank;
use dawnkey_dm::disk::{Disk, OsDisk};
use dawnkey_dm::geometry::SECTOR_BYTES;
use dawnkey_dm::header::{self, Condition, HeaderError, Parsed};
use serde::Serialize;
use std::path::PathBuf;

/// Show what is on a disk: blank, a volume, a header that is refused, or something else
///
/// Nothing is written and no key is asked for, so that what is shown is what the header says, not what its seal proves: only
/// opening it does that. Exit code 0: a blank disk or a volume; 1: a header that is refused, or something else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume header show --disk /dev/vdb
  dawnkey volume header show --disk node-1.img --json | jq .state")]
pub(super) struct ShowArgs {
    /// A disk, an image, or a file with a saved header
    #[arg(long, value_name = "PATH")]
    disk: PathBuf,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Shown {
    /// The first 16 MiB read as zeros.
    Blank,
    /// A header that is taken.
    Volume(VolumeHeader),
    /// A LUKS header that is not.
    Refused { reason: String, repair: String },
    /// No LUKS header, and not blank.
    Other { content: String },
}

#[derive(Debug, Serialize)]
struct VolumeHeader {
    volume: String,
    epoch: u32,
    generation: u64,
    digest: String,
    integrity: String,
    journal_mac: bool,
    /// Bytes that can be used now.
    ready_bytes: u64,
    total_bytes: u64,
    /// `clean`, or which copy is damaged or one write behind; the next unlock mends it.
    copies: String,
}

impl ShowArgs {
    /// Runs the command.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let disk = disk::open(&self.disk)?;
        let region = disk::region(&disk)?;
        let shown = match header::parse(&region) {
            Ok(parsed) => Shown::Volume(parsed.into()),
            Err(HeaderError::Absent) => self.without_header(&disk)?,
            Err(error) => Shown::Refused {
                reason: chain(&error),
                repair: repair(&error).to_owned(),
            },
        };
        output.show(&shown, || shown.text())?;
        Ok(match shown {
            Shown::Blank | Shown::Volume(_) => Exit::Done,
            Shown::Refused { .. } | Shown::Other { .. } => Exit::Negative,
        })
    }

    fn without_header(&self, disk: &OsDisk) -> Result<Shown, Failure> {
        let content = blank::content(disk as &dyn Disk).map_err(|e| {
            Failure::local(
                format!("read the first 16 MiB: {e}"),
                self.disk.display(),
                "a readable disk of at least 16 MiB",
            )
        })?;
        Ok(content.map_or(Shown::Blank, |content| Shown::Other {
            content: content.to_string(),
        }))
    }
}

impl From<Parsed> for VolumeHeader {
    fn from(parsed: Parsed) -> Self {
        let (seen, layout) = (parsed.header.seen(), parsed.header.layout());
        Self {
            volume: parsed.header.volume().to_string(),
            epoch: seen.epoch,
            generation: seen.generation,
            digest: hex::encode(seen.digest),
            integrity: layout.integrity().to_string(),
            journal_mac: layout.journal_mac(),
            ready_bytes: layout.ready_sectors() * SECTOR_BYTES,
            total_bytes: layout.data_sectors() * SECTOR_BYTES,
            copies: match parsed.condition {
                Condition::Clean => "clean".to_owned(),
                Condition::Recovered { damaged, torn } => {
                    format!("the {damaged} copy is damaged: {torn}")
                }
                Condition::Interrupted { older } => {
                    format!("the {older} copy is one write behind")
                }
            },
        }
    }
}

impl Shown {
    fn text(&self) -> String {
        match self {
            Self::Blank => fields(&[("state", "blank: the first 16 MiB are zeros".to_owned())]),
            Self::Other { content } => fields(&[("state", format!("no volume: {content}"))]),
            Self::Refused { reason, repair } => fields(&[
                ("state", "a header that is refused".to_owned()),
                ("reason", reason.clone()),
                ("repair", repair.clone()),
            ]),
            Self::Volume(header) => header.text(),
        }
    }
}

impl VolumeHeader {
    fn text(&self) -> String {
        let mac = if self.journal_mac {
            ", journal with a MAC"
        } else {
            ""
        };
        fields(&[
            ("state", "volume".to_owned()),
            ("volume", self.volume.clone()),
            ("epoch", self.epoch.to_string()),
            ("generation", self.generation.to_string()),
            ("digest", self.digest.clone()),
            ("integrity", format!("{}{mac}", self.integrity)),
            (
                "ready",
                format!(
                    "{} of {} MiB",
                    self.ready_bytes >> 20,
                    self.total_bytes >> 20
                ),
            ),
            ("copies", self.copies.clone()),
        ])
    }
}

/// What brings a volume with such a header back.
fn repair(error: &HeaderError) -> &'static str {
    match error {
        HeaderError::BothTorn { .. } => {
            "`dawnkey volume header restore` with a saved header; a disk that was being formatted for the first time holds nothing yet: zero its first 16 MiB"
        }
        HeaderError::Luks1 => {
            "none: it is another LUKS volume; `cryptsetup convert --type luks2`, then `dawnkey volume adopt`"
        }
        _ => {
            "`dawnkey volume header restore` with a saved header, if this was a volume of Dawnkey's; `dawnkey volume adopt` takes other LUKS2 volumes"
        }
    }
}
