//! `dawnkey store export`.

use super::file::{Head, Writer};
use crate::admin::Admin;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_proto::wire;
use serde::Serialize;
use std::io::BufRead;
use std::path::PathBuf;
use uuid::Uuid;

/// Records of one call; each volume costs its KEK one unwrap.
const BATCH: usize = 16;
const TABLES: [&str; 4] = ["volumes", "instances", "keys", "nodes"];

/// Write the service's records to a file: a copy, or what another service takes over
///
/// DEKs stay wrapped by the KEK: the file opens no disk without it. A copy is for the day when the service and its store
/// are lost. With --hand-over-to the volumes leave this service for good: from then on it refuses their nodes, and only the
/// named service can import them. An export that broke off is repeated with the same --hand-over-to into another file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey store export --out records.jsonl
  dawnkey store export --hand-over-to 0b8e7f0a-3f0e-4c1c-8a51-5c3a3d1f9b02 --out move.jsonl
  dawnkey store export --hand-over-to 0b8e7f0a-3f0e-4c1c-8a51-5c3a3d1f9b02 \\
      --volume 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --out one.jsonl --yes")]
pub(super) struct ExportArgs {
    /// File to create; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Give the volumes to the service of this id (`service id` of its `dawnkey status`)
    #[arg(long, value_name = "SERVICE")]
    hand_over_to: Option<Uuid>,
    /// This volume only, without machines and other keys; may be repeated
    #[arg(long = "volume", value_name = "ID")]
    volumes: Vec<Uuid>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Exported {
    file: String,
    service: String,
    handed_over_to: Option<String>,
    records: u64,
}

impl ExportArgs {
    /// Runs the command. The file is made before anything is handed over.
    pub(super) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        files::must_be_absent(&self.out, "the export")?;
        self.confirm(std::io::stdin().lock())?;
        let mut admin = Admin::connect(profile.load()?)?;
        let listed = list(&mut admin, "volumes")?;
        let service = Uuid::from_slice(&listed.service_id).unwrap_or_default();
        let head = Head::new(service, self.hand_over_to);
        let mut writer = Writer::create(&self.out, &head)?;
        if self.volumes.is_empty() {
            for table in TABLES {
                let keys = list(&mut admin, table)?.keys;
                self.table(&mut admin, table, &keys, &mut writer)?;
            }
        } else {
            let keys: Vec<_> = self
                .volumes
                .iter()
                .map(|id| id.as_bytes().to_vec())
                .collect();
            self.table(&mut admin, "volumes", &keys, &mut writer)?;
        }
        let exported = Exported {
            file: self.out.display().to_string(),
            service: service.to_string(),
            handed_over_to: self.hand_over_to.map(|to| to.to_string()),
            records: writer.end()?,
        };
        output.show(&exported, || {
            fields(&[
                ("file", exported.file.clone()),
                ("service", exported.service.clone()),
                (
                    "handed over to",
                    exported.handed_over_to.clone().unwrap_or_default(),
                ),
                ("records", exported.records.to_string()),
            ])
        })?;
        Ok(Exit::Done)
    }

    fn table(
        &self,
        admin: &mut Admin,
        table: &str,
        keys: &[Vec<u8>],
        writer: &mut Writer,
    ) -> Result<(), Failure> {
        let mut done = 0;
        for batch in keys.chunks(BATCH) {
            let request = wire::ExportRecordsRequest {
                table: table.to_owned(),
                keys: batch.to_vec(),
                hand_over_to: self
                    .hand_over_to
                    .map_or_else(Vec::new, |to| to.as_bytes().to_vec()),
            };
            let answer = admin.call("export records", table, async |client| {
                client.export_records(request).await
            })?;
            writer.records(&answer.records)?;
            done += batch.len();
            output::note(&format!("{table}: {done} of {}", keys.len()));
        }
        Ok(())
    }

    fn confirm(&self, mut input: impl BufRead) -> Result<(), Failure> {
        let Some(to) = self.hand_over_to.filter(|_| !self.yes) else {
            return Ok(());
        };
        output::note(
            "From now on this service refuses the nodes of the volumes; only the other one can import them.",
        );
        output::note(&format!(
            "Type the id of the other service to go on ({to}):"
        ));
        let mut line = String::new();
        let read = std::io::Read::take(&mut input, 256).read_line(&mut line);
        match read {
            Ok(_) if line.trim() == to.to_string() => Ok(()),
            _ => Err(Failure::usage(
                "not confirmed; nothing was done",
                format!("service {to}"),
                "the service's id typed in full on standard input, or --yes",
            )),
        }
    }
}

fn list(admin: &mut Admin, table: &str) -> Result<wire::ListRecordsAnswer, Failure> {
    let request = wire::ListRecordsRequest {
        table: table.to_owned(),
    };
    admin.call("list records", table, async |client| {
        client.list_records(request).await
    })
}
