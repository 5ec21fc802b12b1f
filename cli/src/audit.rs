//! `dawnkey audit`: is the log one unbroken chain, and what does it say.

mod export;

use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields, note, table};
use clap::{Args, Subcommand};
use dawnkey_keyservice::audit::{AuditError, FileError, Record, Summary, read_files};
use dawnkey_proto::message::printable;
use export::ExportArgs;
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::PathBuf;

/// Arguments of `dawnkey audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that an audit log is one unbroken chain
    ///
    /// Every changed, removed, inserted or swapped record is found, except records cut off at the end: give --head with a
    /// hash that `dawnkey status` showed, and the record with that hash must still be there. Ends with code 1 if it is not.
    ///
    /// Files of one log may be given in any order; they must follow one another. When the first file does not begin with
    /// record 1, earlier ones are missing: the line `begins` says where, and --complete makes it a failure.
    #[command(after_help = "Examples:
  dawnkey audit verify audit.log
  dawnkey audit verify audit.log audit.log.* --complete
  dawnkey audit verify audit.log --head \"$(cat noted-last-week)\"")]
    Verify(VerifyArgs),
    /// Show the records of an audit log, checking the chain
    #[command(after_help = "Examples:
  dawnkey audit show audit.log --last 20
  dawnkey audit show audit.log --event refuse
  dawnkey audit show audit.log --volume 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --json")]
    Show(ShowArgs),
    /// Write the records of a range as they stand in the log, for keeping elsewhere
    ///
    /// The lines are not changed: `dawnkey audit verify` accepts them, and files exported one after the other verify
    /// together. With --json an array of records is printed instead.
    #[command(after_help = "Examples:
  dawnkey audit export audit.log audit.log.* --from 5001 --to 6000 > part.log
  dawnkey audit export audit.log --since 2026-11-01T00:00:00Z > november.log")]
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The log's files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The files must begin with record 1
    #[arg(long)]
    complete: bool,
    /// Hash of a record that must be in the log, in hex
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The log's files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only records of this event
    #[arg(long)]
    event: Option<String>,
    /// Only records about this volume
    #[arg(long, value_name = "UUID")]
    volume: Option<uuid::Uuid>,
    /// Only the last N records that remain
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

impl AuditArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Verify(args) => args.run(output),
            Command::Show(args) => args.run(output),
            Command::Export(args) => args.run(output),
        }
    }
}

/// A log that cannot be read is a failure; one that is read and is no chain is a verdict.
fn unreadable(error: FileError) -> Result<String, Failure> {
    match error.source {
        AuditError::Read(source) => Err(Failure::local(
            format!("read the audit log: {source}"),
            error.path.display(),
            "files that [audit] of keyservice.toml names",
        )),
        broken => Ok(format!("{}: {broken}", error.path.display())),
    }
}

/// The result of `verify` as `--json` shows it.
#[derive(Debug, Serialize)]
struct Verdict {
    log: String,
    intact: bool,
    problem: Option<String>,
    #[serde(flatten)]
    summary: Option<Summary>,
}

impl VerifyArgs {
    fn run(&self, output: Output) -> Result<Exit, Failure> {
        let mut seen = self.head.is_none();
        let wanted = self.head.as_deref().unwrap_or_default();
        let checked = read_files(&self.files, |record, _| {
            seen |= record.hash.eq_ignore_ascii_case(wanted);
        });
        let (summary, problem) = match checked {
            Ok(summary) => {
                let problem = self.shortcoming(&summary, seen);
                (Some(summary), problem)
            }
            Err(e) => (None, Some(unreadable(e)?)),
        };
        let names: Vec<String> = self.files.iter().map(|f| f.display().to_string()).collect();
        let verdict = Verdict {
            log: names.join(" "),
            intact: problem.is_none(),
            problem,
            summary,
        };
        output.show(&verdict, || verdict.text())?;
        Ok(if verdict.intact {
            Exit::Done
        } else {
            Exit::Negative
        })
    }
}

impl VerifyArgs {
    /// What an unbroken chain lacks of what was asked for.
    fn shortcoming(&self, summary: &Summary, seen: bool) -> Option<String> {
        let wanted = self.head.as_deref().unwrap_or_default();
        if !seen {
            return Some(format!(
                "no record has the hash {wanted}: records were cut off"
            ));
        }
        let first = summary.first_seq;
        let incomplete = self.complete && first > 1;
        incomplete.then(|| format!("it begins with record {first}: earlier files are missing"))
    }
}

impl Verdict {
    fn text(&self) -> String {
        let mut pairs = vec![match &self.problem {
            None => ("intact", self.log.clone()),
            Some(problem) => ("NOT intact", problem.clone()),
        }];
        if let Some(summary) = &self.summary {
            let time = |t: Option<jiff::Timestamp>| t.map_or_else(String::new, |t| t.to_string());
            pairs.push(("records", summary.records.to_string()));
            if summary.first_seq > 1 {
                let begins = format!(
                    "with record {}; earlier ones are in other files",
                    summary.first_seq
                );
                pairs.push(("begins", begins));
            }
            pairs.push(("first", time(summary.first)));
            pairs.push(("last", time(summary.last)));
            pairs.push(("head", summary.head.clone()));
        }
        fields(&pairs)
    }
}

impl ShowArgs {
    fn run(&self, output: Output) -> Result<Exit, Failure> {
        let mut kept = VecDeque::new();
        let checked = read_files(&self.files, |record, _| {
            if self.wants(&record) {
                kept.push_back(record);
                if self.last.is_some_and(|last| kept.len() > last) {
                    kept.pop_front();
                }
            }
        });
        let problem = match checked {
            Ok(_) => None,
            Err(e) => Some(unreadable(e)?),
        };
        output.show(&kept, || {
            let rows: Vec<[String; 4]> = kept.iter().map(row).collect();
            table(["SEQ", "TIME", "EVENT", "FIELDS"], &rows)
        })?;
        match problem {
            None => Ok(Exit::Done),
            Some(problem) => {
                note(&format!(
                    "NOT intact: {problem}; the records before it are shown"
                ));
                Ok(Exit::Negative)
            }
        }
    }

    fn wants(&self, record: &Record) -> bool {
        let volume = self.volume.map(|id| id.to_string());
        self.event.as_ref().is_none_or(|e| *e == record.event)
            && volume.is_none_or(|id| record.fields.get("volume") == Some(&Value::String(id)))
    }
}

fn row(record: &Record) -> [String; 4] {
    let fields: Vec<String> = record
        .fields
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) if !text.contains([' ', '"']) && !text.is_empty() => {
                format!("{name}={text}")
            }
            other => format!("{name}={other}"),
        })
        .collect();
    [
        record.seq.to_string(),
        record.time.to_string(),
        printable(&record.event),
        fields.join(" ").replace(|c: char| c.is_control(), " "),
    ]
}
