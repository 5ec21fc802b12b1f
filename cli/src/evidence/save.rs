//! `dawnkey evidence save`: puts vendors' files into one file that says what it holds.

use super::input::InputArgs;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields};
use clap::Args;
use dawnkey_attest::evidence::file;
use serde::Serialize;
use std::path::PathBuf;

/// Put a vendor's evidence, with its certificates or collateral, into one file
///
/// Nothing is verified. The file is new; nothing is ever overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey evidence save report.bin --kind snp --vek vcek.der --chain chain.pem --out node.evidence
  dawnkey evidence save quote.bin --kind tdx --collateral collateral.json --event-log ccel.bin --out td.evidence")]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    input: InputArgs,
    /// The new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Saved {
    file: String,
    kind: &'static str,
}

impl SaveArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let evidence = self.input.read()?;
        let right = "evidence of a kind that travels";
        let text =
            file::write(&evidence).map_err(|e| Failure::local(e, self.out.display(), right))?;
        // What is written can be read again: every part is within its cap.
        file::read(text.as_bytes()).map_err(|e| Failure::local(e, self.out.display(), right))?;
        files::create(&self.out, "the evidence", files::PUBLIC, text.as_bytes())?;
        let saved = Saved {
            file: self.out.display().to_string(),
            kind: evidence.kind(),
        };
        output.show(&saved, || {
            fields(&[
                ("file", saved.file.clone()),
                ("kind", saved.kind.to_owned()),
            ])
        })?;
        Ok(Exit::Done)
    }
}
