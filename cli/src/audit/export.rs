//! `dawnkey audit export`: lines of a range, byte for byte.

use super::unreadable;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, note, raw};
use clap::Args;
use dawnkey_keyservice::audit::{Record, read_files};
use jiff::Timestamp;
use std::path::PathBuf;

/// Arguments of `dawnkey audit export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The log's files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// From the record with this number on
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Up to the record with this number
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// From this time on, RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

impl ExportArgs {
    /// Runs the command. Nothing is written of a log that is not intact.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let (mut lines, mut records) = (Vec::new(), Vec::new());
        let checked = read_files(&self.files, |record, line| {
            if self.wants(&record) {
                lines.extend_from_slice(line);
                lines.push(b'\n');
                records.push(record);
            }
        });
        if let Err(error) = checked {
            let problem = unreadable(error)?;
            note(&format!("NOT intact: {problem}; nothing was exported"));
            return Ok(Exit::Negative);
        }
        if output.is_json() {
            output.show(&records, String::new)?;
            return Ok(Exit::Done);
        }
        raw(&lines)?;
        Ok(Exit::Done)
    }

    fn wants(&self, record: &Record) -> bool {
        self.from.is_none_or(|from| record.seq >= from)
            && self.to.is_none_or(|to| record.seq <= to)
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time <= until)
    }
}
