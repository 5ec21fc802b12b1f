//! `dawnkey kek recovery`: the offline recovery key, made and used where no key service is.

use super::restore;
use crate::admin::Admin;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::{Args, Subcommand};
use dawnkey_kek::Aad;
use dawnkey_kek::recovery::{RecoveryError, RecoveryKey};
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Arguments of `dawnkey kek recovery`.
#[derive(Debug, Args)]
pub(super) struct RecoveryArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(NewArgs),
    Export(ExportArgs),
    Open(OpenArgs),
}

/// Make a recovery key pair: two new files
///
/// The public file goes to the key service (kek.recovery_recipient). Keep the private file where no key service and no
/// backup of its store is: with both, all volumes can be opened. A file and not words, because a key that outlives a
/// quantum computer has thousands of digits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey kek recovery new --key /media/safe/recovery.key --public recovery.pub")]
struct NewArgs {
    /// File to create for the private key; it must not exist
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File to create for the public key; it must not exist
    #[arg(long, value_name = "FILE")]
    public: PathBuf,
}

/// Save what was sealed to the recovery key, to be opened elsewhere
///
/// The file holds no key in clear. Without a volume's id, the DEKs of all records are saved.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey kek recovery export --out sealed.json
  dawnkey kek recovery export 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --out node-1.json")]
struct ExportArgs {
    /// Only this volume
    id: Option<Uuid>,
    /// File to create; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Open a volume's DEK with the recovery key, without a key service
///
/// The DEK goes in hex to a new file, for `dawnkey volume rescue --dek-fd`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey kek recovery open 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 \\
      --key /media/safe/recovery.key --sealed sealed.json --out node-1.dek
  dawnkey volume rescue 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk node-1.img --dek-fd 0 < node-1.dek")]
struct OpenArgs {
    /// The volume's id
    id: Uuid,
    /// Another epoch than the newest in the file
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    /// The private key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What `dawnkey kek recovery export` saved
    #[arg(long, value_name = "FILE")]
    sealed: PathBuf,
    /// File to create for the DEK; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// One sealed DEK in the file of `export`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedDek {
    id: Uuid,
    /// `volume` or `key`.
    owner: String,
    epoch: u32,
    recipient: String,
    #[serde(with = "hex::serde")]
    sealed: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct Made {
    recipient: String,
    key_file: String,
    public_file: String,
}

#[derive(Debug, Serialize)]
struct Exported {
    deks: usize,
    /// DEKs that were never sealed to a recovery key, so that the file has none of them.
    without: usize,
    file: String,
}

#[derive(Debug, Serialize)]
struct Opened {
    id: String,
    epoch: u32,
    key_file: String,
}

impl RecoveryArgs {
    /// Runs the command.
    pub(super) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::New(args) => args.run(output),
            Command::Export(args) => args.run(profile, output),
            Command::Open(args) => args.run(output),
        }
    }
}

fn failed(error: RecoveryError) -> Failure {
    Failure::local(error, "this machine", "a working random generator")
}

impl NewArgs {
    fn run(&self, output: Output) -> Result<Exit, Failure> {
        files::must_be_absent(&self.key, "the private key")?;
        files::must_be_absent(&self.public, "the public key")?;
        crate::volume::harden()?;
        let key = RecoveryKey::generate().map_err(failed)?;
        let recipient = key.recipient().map_err(failed)?;
        let mut text = key.text().map_err(failed)?;
        text.push('\n');
        files::create(
            &self.key,
            "the private key",
            files::PRIVATE,
            text.as_bytes(),
        )?;
        let line = format!("{}\n", recipient.text());
        files::create(
            &self.public,
            "the public key",
            files::PUBLIC,
            line.as_bytes(),
        )?;
        let made = Made {
            recipient: recipient.fingerprint(),
            key_file: self.key.display().to_string(),
            public_file: self.public.display().to_string(),
        };
        output.show(&made, || {
            fields(&[
                ("recipient", made.recipient.clone()),
                ("private key", made.key_file.clone()),
                ("public key", made.public_file.clone()),
            ])
        })?;
        output::note(
            "note: name the public file as recovery_recipient in [kek], restart, and run `dawnkey kek rewrap`\n\
             warning: whoever has the private file and a copy of the service's store can open every volume",
        );
        Ok(Exit::Done)
    }
}

impl ExportArgs {
    fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        files::must_be_absent(&self.out, "the sealed DEKs")?;
        let mut admin = Admin::connect(profile.load()?)?;
        let answer = restore::sealed(&mut admin, self.id)?;
        let all = answer.deks.len();
        let deks: Vec<SealedDek> = answer.deks.into_iter().filter_map(kept).collect();
        let text = serde_json::to_vec_pretty(&deks)
            .map_err(|e| Failure::local(e, "the answer", "DEKs that JSON can hold"))?;
        files::create(&self.out, "the sealed DEKs", files::PRIVATE, &text)?;
        let exported = Exported {
            deks: deks.len(),
            without: all.saturating_sub(deks.len()),
            file: self.out.display().to_string(),
        };
        output.show(&exported, || {
            fields(&[
                ("sealed DEKs", exported.deks.to_string()),
                ("never sealed", exported.without.to_string()),
                ("file", exported.file.clone()),
            ])
        })?;
        Ok(match exported.without {
            0 => Exit::Done,
            _ => Exit::Negative,
        })
    }
}

fn kept(given: wire::KekSealedDek) -> Option<SealedDek> {
    let id = Uuid::from_slice(&given.owner_id).ok()?;
    (!given.sealed.is_empty()).then(|| SealedDek {
        id,
        owner: printable(&given.owner),
        epoch: given.epoch,
        recipient: printable(&given.recipient),
        sealed: given.sealed,
    })
}

/// Reads the private key's file.
pub(crate) fn read_key(path: &Path) -> Result<RecoveryKey, Failure> {
    let bytes = files::read_private(path, "the recovery key")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| RecoveryError::NotAPrivateKey);
    let key = text.and_then(RecoveryKey::parse);
    key.map_err(|e| Failure::local(e, path.display(), "the file that `recovery new` wrote"))
}

impl OpenArgs {
    fn run(&self, output: Output) -> Result<Exit, Failure> {
        files::must_be_absent(&self.out, "the DEK")?;
        let text = files::read_text(&self.sealed, "the sealed DEKs")?;
        let all: Vec<SealedDek> = serde_json::from_str(&text)
            .map_err(|e| Failure::local(e, self.sealed.display(), "a file of `recovery export`"))?;
        let wanted = |dek: &&SealedDek| {
            dek.id == self.id && self.epoch.is_none_or(|epoch| epoch == dek.epoch)
        };
        let found = all.iter().filter(wanted).max_by_key(|dek| dek.epoch);
        let sealed = found.ok_or_else(|| {
            Failure::local(
                format!(
                    "open a DEK: the file has none of {} and this epoch",
                    self.id
                ),
                self.sealed.display(),
                "an id and epoch that the file has",
            )
        })?;
        crate::volume::harden()?;
        let key = read_key(&self.key)?;
        let aad = Aad::new(sealed.id, sealed.epoch);
        let dek = key.open(&sealed.sealed, &aad).map_err(|e| {
            let right = format!("the private key of recipient {}", sealed.recipient);
            Failure::local(e, self.key.display(), right)
        })?;
        let mut text = Zeroizing::new(vec![b'\n'; 2 * dek.expose().len() + 1]);
        if let Some((_, digits)) = text.split_last_mut() {
            hex::encode_to_slice(dek.expose(), digits)
                .map_err(|e| Failure::local(e, "the DEK", "64 hex digits"))?;
        }
        files::create(&self.out, "the DEK", files::PRIVATE, &text)?;
        let opened = Opened {
            id: sealed.id.to_string(),
            epoch: sealed.epoch,
            key_file: self.out.display().to_string(),
        };
        output.show(&opened, || {
            fields(&[
                ("id", opened.id.clone()),
                ("epoch", opened.epoch.to_string()),
                ("key file", opened.key_file.clone()),
            ])
        })?;
        output::note("warning: the file holds the DEK in clear; `shred -u` it after use");
        Ok(Exit::Done)
    }
}
