//! `dawnkey endorsements import` and `export`.

use super::{StoreArgs, archive, now};
use crate::outcome::{Exit, Failure};
use crate::output::{Output, table};
use clap::Args;
use dawnkey_endorse::exchange::{Imported, import};
use dawnkey_endorse::store::Put;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `dawnkey endorsements import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Directories, tar archives and files
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    from: Vec<PathBuf>,
}

/// Arguments of `dawnkey endorsements export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A path that does not exist yet: a tar archive if it ends in `.tar`, else a directory
    #[arg(value_name = "DIR|FILE.tar")]
    to: PathBuf,
}

/// What became of an item, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) from: String,
    /// `added`, `replaced`, `unchanged`, `refused`.
    pub(super) outcome: &'static str,
    pub(super) item: Option<String>,
    pub(super) problem: Option<String>,
}

/// A stable name of an outcome.
pub(super) fn name(put: Put) -> &'static str {
    match put {
        Put::Added => "added",
        Put::Replaced => "replaced",
        Put::Unchanged => "unchanged",
    }
}

impl Row {
    fn of(imported: &Imported) -> Self {
        let from = imported.path.display().to_string();
        match &imported.outcome {
            Ok((item, put)) => Self {
                from,
                outcome: name(*put),
                item: Some(item.to_string()),
                problem: None,
            },
            Err(error) => Self {
                from,
                outcome: "refused",
                item: None,
                problem: Some(error.to_string()),
            },
        }
    }
}

/// Prints rows; negative if one of them is a refusal.
pub(super) fn show(rows: &[Row], output: Output) -> Result<Exit, Failure> {
    output.show(&rows, || {
        let cells: Vec<[String; 3]> = rows
            .iter()
            .map(|row| {
                let what = row.item.as_ref().or(row.problem.as_ref());
                [
                    row.outcome.to_owned(),
                    row.from.clone(),
                    what.cloned().unwrap_or_default(),
                ]
            })
            .collect();
        table(["OUTCOME", "FROM", "WHAT"], &cells)
    })?;
    let refused = rows.iter().any(|row| row.problem.is_some());
    Ok(if refused { Exit::Negative } else { Exit::Done })
}

impl ImportArgs {
    /// Imports.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let mut files = Vec::new();
        for path in &self.from {
            archive::read(path, &mut files)?;
        }
        let store = self.store.open()?;
        let imported = import(&store, &files, now()).map_err(|e| self.store.failure(&e))?;
        let rows: Vec<Row> = imported.iter().map(Row::of).collect();
        show(&rows, output)
    }
}

/// An export as `--json` shows it.
#[derive(Debug, Serialize)]
struct Exported {
    to: String,
    files: usize,
}

impl ExportArgs {
    /// Exports.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let store = self.store.existing()?;
        let files = store.files(now()).map_err(|e| self.store.failure(&e))?;
        archive::write(&self.to, &files)?;
        let exported = Exported {
            to: self.to.display().to_string(),
            files: files.len(),
        };
        output.show(&exported, || {
            format!("{} files in {}", exported.files, exported.to)
        })?;
        Ok(Exit::Done)
    }
}
