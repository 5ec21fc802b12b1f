//! `dawnkey measure`: the PCR values that an image will produce, from its file alone.

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields, note, table};
use crate::policy::snippet;
use clap::{Args, Subcommand};
use dawnkey_attest::measure::{MeasureError, PredictedEvent, uki};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Largest image that is read, in bytes.
const MAX_IMAGE: u64 = 1 << 30;

/// Arguments of `dawnkey measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Predict the PCR values of a unified kernel image
    ///
    /// Nothing is booted and no value is taken from a running machine. Assumes UEFI firmware that measures by the TCG's PC
    /// Client profile, boots the image directly and finds no add-on beside it; where that does not hold, the values differ.
    #[command(after_help = "Examples:
  dawnkey measure uki node.efi
  dawnkey measure uki node.efi --json > node.json
  dawnkey measure uki node.efi --policy node-2026-11 >> policy.toml")]
    Uki(UkiArgs),
}

#[derive(Debug, Args)]
struct UkiArgs {
    /// The image
    file: PathBuf,
    /// Print the values as an `[[image]]` of a policy file, with this name
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
}

/// The result as `--json` shows it and `dawnkey policy add-image` reads it.
#[derive(Debug, Serialize)]
struct Measured {
    image: String,
    stub: String,
    pcrs: Banks,
    events: Vec<PredictedEvent>,
    /// Why a PCR is absent.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Banks {
    sha256: BTreeMap<u8, String>,
}

impl MeasureArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let Command::Uki(args) = &self.command;
        let image = files::read(&args.file, "the image", MAX_IMAGE)?;
        let found = uki(&image).map_err(|e| args.unmeasured(&e))?;
        let measured = Measured {
            image: args.file.display().to_string(),
            stub: found.stub,
            pcrs: Banks {
                sha256: found.sha256,
            },
            events: found.events,
            notes: found.notes,
        };
        for text in &measured.notes {
            note(&format!("note: {text}"));
        }
        output.show(&measured, || match &args.policy {
            Some(name) => format!("\n{}", snippet(name, &measured.pcrs.sha256)),
            None => measured.text(),
        })?;
        Ok(Exit::Done)
    }
}

impl UkiArgs {
    fn unmeasured(&self, error: &MeasureError) -> Failure {
        let right = match error {
            MeasureError::UnknownStub { .. } => {
                "an image built with a systemd-stub that is known here"
            }
            MeasureError::DoubleSection { .. } => "an image with one profile",
            _ => "a unified kernel image: systemd-stub with .linux, as ukify builds it",
        };
        Failure::local(
            format!("measure the image: {error}"),
            self.file.display(),
            right,
        )
    }
}

impl Measured {
    fn text(&self) -> String {
        let head = fields(&[
            ("image", self.image.clone()),
            ("systemd-stub", self.stub.clone()),
        ]);
        let values: Vec<[String; 2]> = self
            .pcrs
            .sha256
            .iter()
            .map(|(pcr, value)| [pcr.to_string(), value.clone()])
            .collect();
        let events: Vec<[String; 4]> = self
            .events
            .iter()
            .map(|e| {
                [
                    e.pcr.to_string(),
                    e.event_type.clone(),
                    e.digest.clone(),
                    e.description.clone(),
                ]
            })
            .collect();
        format!(
            "{head}\n{}\n{}",
            table(["PCR", "SHA-256"], &values),
            table(["PCR", "EVENT", "DIGEST", "WHAT"], &events)
        )
    }
}
