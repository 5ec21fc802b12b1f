//! `dawnkey measure uki`: PCR values of a unified kernel image.

use super::{MAX_IMAGE, event_table, secure_boot::SecureBootArgs, unmeasured};
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields, note, table};
use crate::policy::snippet;
use clap::Args;
use dawnkey_attest::measure::{PredictedEvent, uki};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Predict the PCR values of a unified kernel image
///
/// Nothing is booted and no value is taken from a running machine. Assumes UEFI firmware that measures by the TCG's PC
/// Client profile, boots the image directly and finds no add-on beside it; where that does not hold, the values differ.
/// Whether Secure Boot is on decides about PCR 4 too: without --secure-boot it is taken to be off.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey measure uki node.efi
  dawnkey measure uki node.efi --json > node.json
  dawnkey measure uki node.efi --policy node-2026-11 >> policy.toml
  dawnkey measure uki node.efi --secure-boot on --pk pk.esl --kek kek.esl --db db.esl --dbx dbx.esl")]
pub(super) struct UkiArgs {
    /// The image
    file: PathBuf,
    /// Print the values as an `[[image]]` of a policy file, with this name
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    #[command(flatten)]
    secure_boot: SecureBootArgs,
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

impl UkiArgs {
    /// Runs the command.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let secure_boot = self.secure_boot.read()?;
        let image = files::read(&self.file, "the image", MAX_IMAGE)?;
        let found =
            uki(&image, secure_boot.as_ref()).map_err(|error| unmeasured(&self.file, &error))?;
        let measured = Measured {
            image: self.file.display().to_string(),
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
        output.show(&measured, || match &self.policy {
            Some(name) => format!("\n{}", snippet(name, &measured.pcrs.sha256)),
            None => measured.text(),
        })?;
        Ok(Exit::Done)
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
        format!(
            "{head}\n{}\n{}",
            table(["PCR", "SHA-256"], &values),
            event_table("PCR", &self.events)
        )
    }
}
