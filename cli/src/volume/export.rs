//! `dawnkey volume export-key`: the volume key in a file, for `cryptsetup` and disaster recovery.
//!
//! The header gives the sealed volume key, the key service the DEK that opens it. Only together they yield the key, and only
//! after the operator has typed the volume's id. The key goes to a new file and nowhere else.

use super::{disk, harden, subject};
use crate::admin::Admin;
use crate::confirm;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_proto::seal::{Purpose, Recipient, Sealed};
use dawnkey_proto::wire;
use dawnkey_secret::Dek;
use serde::Serialize;
use std::path::PathBuf;
use uuid::Uuid;

/// Write a volume's key to a file
///
/// Whoever has the file and a copy of the disk can read the volume, without the key service and without a trace.
/// Asks for the volume's id, typed in full, unless --yes is given. The service writes an audit record.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume export-key 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 \\
      --header /dev/vdb --out volume.key
  cryptsetup open --type luks2 --volume-key-file volume.key --key-size 768 /dev/vdb state
  shred -u volume.key")]
pub(crate) struct ExportArgs {
    /// The volume's id
    id: Uuid,
    /// The volume's disk, or a file with its first 32 KiB
    #[arg(long, value_name = "DISK_OR_FILE")]
    header: PathBuf,
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
    epoch: u32,
    generation: u64,
    key_file: String,
    key_bytes: usize,
}

impl ExportArgs {
    /// Runs the command. Nothing is asked of the service and nothing is written before the confirmation.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let region = disk::region(&disk::open(&self.header)?)?;
        let header = disk::parse(&region, &self.header, self.id)?.header;
        files::must_be_absent(&self.out, "the volume key")?;
        confirm::volume(
            self.id,
            self.yes,
            "Whoever has the exported key and a copy of the disk can read the volume, without the key service.",
        )?;
        harden()?;
        let seen = header.seen();
        let dek = ask(profile, self.id, seen.epoch)?;
        let key = header.open(&dek).map_err(|e| {
            Failure::local(
                e,
                self.header.display(),
                "the disk of this volume as the agent last wrote its header",
            )
        })?;
        files::create(&self.out, "the volume key", files::PRIVATE, key.expose())?;
        let exported = Exported {
            volume: self.id.to_string(),
            epoch: seen.epoch,
            generation: seen.generation,
            key_file: self.out.display().to_string(),
            key_bytes: key.expose().len(),
        };
        output.show(&exported, || {
            fields(&[
                ("volume", exported.volume.clone()),
                ("epoch", exported.epoch.to_string()),
                ("generation", exported.generation.to_string()),
                ("key file", exported.key_file.clone()),
                ("key bytes", exported.key_bytes.to_string()),
            ])
        })?;
        output::note(&format!(
            "warning: {file} holds the volume key in clear; `shred -u` it after use\n\
             note: cryptsetup open --type luks2 --volume-key-file {file} --key-size {bits} DISK NAME",
            file = self.out.display(),
            bits = 8 * exported.key_bytes,
        ));
        Ok(Exit::Done)
    }
}

/// Asks the service for the DEK, sealed to a key of this run.
fn ask(profile: &ProfileArgs, volume: Uuid, epoch: u32) -> Result<Dek, Failure> {
    let recipient = Recipient::generate()
        .map_err(|e| Failure::local(e, "this machine", "a working random generator"))?;
    let request = wire::ExportDekRequest {
        volume_id: volume.as_bytes().to_vec(),
        epoch,
        hpke_public_key: recipient.public_key().to_vec(),
    };
    let mut admin = Admin::connect(profile.load()?)?;
    let answer = admin.call("export a key", &subject(volume), async |client| {
        client.export_dek(request).await
    })?;
    let sealed = Sealed {
        encapsulated_key: answer.encapsulated_key,
        ciphertext: answer.ciphertext,
    };
    let purpose = Purpose {
        volume,
        epoch,
        generation: 0,
    };
    recipient.open_export(&sealed, &purpose).map_err(|e| {
        Failure::new(
            Exit::Refused,
            e,
            subject(volume),
            format!("a key of epoch {epoch}, sealed for this call"),
        )
    })
}
