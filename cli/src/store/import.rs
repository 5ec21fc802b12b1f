//! `dawnkey store import`.

use super::file::Checked;
use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_proto::wire;
use serde::Serialize;
use std::path::PathBuf;

/// Records of one call; each volume costs the KEK one unwrap.
const BATCH: u64 = 16;

/// Take the records of an export over
///
/// Nothing that is there already is changed. For each volume the service first proves that its KEK gives the DEK that the
/// exporting service had. An import that broke off is run again: what is in is counted and left alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey store import move.jsonl --dry-run
  dawnkey store import move.jsonl
  dawnkey store import records.jsonl --restore --json | jq .imported")]
pub(super) struct ImportArgs {
    /// A file that `dawnkey store export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Judge everything and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take a copy too: the service that made it is gone for ever. Two services with the same volumes would both release
    /// their keys, and neither would notice a clone or an older disk
    #[arg(long)]
    restore: bool,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Imported {
    from_service: String,
    dry_run: bool,
    imported: u64,
    present: u64,
}

impl ImportArgs {
    /// Runs the command. Nothing is sent before the file was found to be complete.
    pub(super) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let mut export = Checked::open(&self.file)?;
        let all = export.records;
        let mut admin = Admin::connect(profile.load()?)?;
        let mut done = Imported {
            from_service: export.head.service.to_string(),
            dry_run: self.dry_run,
            imported: 0,
            present: 0,
        };
        loop {
            let records = export.next(BATCH)?;
            if records.is_empty() {
                break;
            }
            let request = wire::ImportRecordsRequest {
                records,
                dry_run: self.dry_run,
                restore: self.restore,
            };
            let subject = self.file.display().to_string();
            let answer = admin.call("import records", &subject, async |client| {
                client.import_records(request).await
            })?;
            done.imported += u64::from(answer.imported);
            done.present += u64::from(answer.present);
            output::note(&format!("{} of {all}", done.imported + done.present));
        }
        output.show(&done, || {
            let imported = if self.dry_run {
                "would be imported"
            } else {
                "imported"
            };
            fields(&[
                ("from service", done.from_service.clone()),
                (imported, done.imported.to_string()),
                ("there already", done.present.to_string()),
            ])
        })?;
        Ok(Exit::Done)
    }
}
