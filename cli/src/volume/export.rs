//! `dawnkey volume export-key`: a key in a file, for work where no key service is: the volume key for `cryptsetup`
//! alone, or the DEK for `dawnkey volume rescue`.
//!
//! The header gives the sealed volume key, the key service the DEK that opens it. Only together they yield the key, and only
//! after the operator has typed the volume's id. A key goes to a new file and nowhere else.

use super::{harden, unseal};
use crate::confirm;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Write a volume's key, or the DEK that opens its header, to a file
///
/// Whoever has the file and a copy of the disk can read the volume, without the key service and without a trace.
/// Asks for the volume's id, typed in full, unless --yes is given. The service writes an audit record.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume export-key 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 \\
      --header /dev/vdb --out volume.key
  cryptsetup open --type luks2 --volume-key-file volume.key --key-size 768 /dev/vdb state
  shred -u volume.key

  dawnkey volume export-key 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --dek --out node-1.dek
  dawnkey volume rescue 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk node-1.img --dek-fd 0 < node-1.dek")]
pub(crate) struct ExportArgs {
    /// The volume's id
    id: Uuid,
    /// Write the volume key: the volume's disk, or a file with its header
    #[arg(
        long,
        value_name = "DISK_OR_FILE",
        required_unless_present = "dek",
        conflicts_with = "dek"
    )]
    header: Option<PathBuf>,
    /// Write the DEK in hex instead, for `dawnkey volume rescue --dek-fd`
    #[arg(long)]
    dek: bool,
    /// With --dek: another epoch than the service's current one
    #[arg(
        long,
        value_name = "N",
        requires = "dek",
        default_value = "0",
        hide_default_value = true
    )]
    epoch: u32,
    /// File to create for the key; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// The result as `--json` shows it. It holds no key.
#[derive(Debug, Serialize)]
struct Exported {
    volume: String,
    /// `volume-key` or `dek`.
    kind: &'static str,
    epoch: u32,
    /// Of the header that was opened; `null` for a DEK.
    generation: Option<u64>,
    key_file: String,
    key_bytes: usize,
}

impl ExportArgs {
    /// Runs the command. Nothing is asked of the service and nothing is written before the confirmation.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        match &self.header {
            Some(path) => self.volume_key(path, profile, output),
            None => self.dek(profile, output),
        }
    }

    fn volume_key(
        &self,
        path: &Path,
        profile: &ProfileArgs,
        output: Output,
    ) -> Result<Exit, Failure> {
        let header = unseal::header(path, self.id)?;
        self.confirm()?;
        let seen = header.seen();
        let (dek, _) = unseal::ask(profile, self.id, seen.epoch)?;
        let key = unseal::volume_key(&header, &dek, path)?;
        files::create(&self.out, "the volume key", files::PRIVATE, key.expose())?;
        self.show(
            output,
            &Exported {
                volume: self.id.to_string(),
                kind: "volume-key",
                epoch: seen.epoch,
                generation: Some(seen.generation),
                key_file: self.out.display().to_string(),
                key_bytes: key.expose().len(),
            },
        )?;
        output::note(&format!(
            "warning: {file} holds the volume key in clear; `shred -u` it after use\n\
             note: cryptsetup open --type luks2 --volume-key-file {file} --key-size {bits} DISK NAME",
            file = self.out.display(),
            bits = 8 * key.expose().len(),
        ));
        Ok(Exit::Done)
    }

    fn dek(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        self.confirm()?;
        let (dek, epoch) = unseal::ask(profile, self.id, self.epoch)?;
        let mut text = Zeroizing::new(vec![b'\n'; 2 * dek.expose().len() + 1]);
        if let Some((_, digits)) = text.split_last_mut() {
            hex::encode_to_slice(dek.expose(), digits)
                .map_err(|e| Failure::local(e, "the DEK", "64 hex digits"))?;
        }
        files::create(&self.out, "the DEK", files::PRIVATE, &text)?;
        self.show(
            output,
            &Exported {
                volume: self.id.to_string(),
                kind: "dek",
                epoch,
                generation: None,
                key_file: self.out.display().to_string(),
                key_bytes: dek.expose().len(),
            },
        )?;
        output::note(&format!(
            "warning: {file} holds the DEK in clear; `shred -u` it after use\n\
             note: dawnkey volume rescue {id} --disk DISK --dek-fd 0 < {file}",
            file = self.out.display(),
            id = self.id,
        ));
        Ok(Exit::Done)
    }

    fn confirm(&self) -> Result<(), Failure> {
        files::must_be_absent(&self.out, "the key")?;
        confirm::volume(
            self.id,
            self.yes,
            "Whoever has the exported key and a copy of the disk can read the volume, without the key service.",
        )?;
        harden()
    }

    fn show(&self, output: Output, exported: &Exported) -> Result<(), Failure> {
        output.show(exported, || {
            let generation = exported.generation.map(|g| g.to_string());
            fields(&[
                ("volume", exported.volume.clone()),
                ("kind", exported.kind.to_owned()),
                ("epoch", exported.epoch.to_string()),
                ("generation", generation.unwrap_or_default()),
                ("key file", exported.key_file.clone()),
                ("key bytes", exported.key_bytes.to_string()),
            ])
        })
    }
}
