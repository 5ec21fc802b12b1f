//! `dawnkey measure`: what booting an image will be measured as, from files alone; and what a running system measured.

mod fragment;
mod log;
mod secure_boot;
mod snp;
mod tdx;
mod uki;

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, table};
use clap::{Args, Subcommand};
use dawnkey_attest::measure::{MeasureError, PredictedEvent};
use std::path::{Path, PathBuf};

/// Largest image, kernel or initrd that is read, in bytes.
const MAX_IMAGE: u64 = 1 << 30;
/// Largest firmware that is read, in bytes.
const MAX_FIRMWARE: u64 = 64 << 20;

/// Arguments of `dawnkey measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Uki(uki::UkiArgs),
    Snp(snp::SnpArgs),
    Tdx(Box<tdx::TdxArgs>),
    Log(log::LogArgs),
}

impl MeasureArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::Uki(args) => args.run(output),
            Command::Snp(args) => args.run(output),
            Command::Tdx(args) => args.run(output),
            Command::Log(args) => args.run(output),
        }
    }
}

/// A file that may not be given.
fn optional(path: Option<&PathBuf>, what: &str, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
    path.map(|path| files::read(path, what, limit)).transpose()
}

/// Events as a table; `register` heads the column of their registers.
fn event_table(register: &str, events: &[PredictedEvent]) -> String {
    let rows: Vec<[String; 4]> = events
        .iter()
        .map(|event| {
            [
                event.pcr.to_string(),
                event.event_type.clone(),
                event.digest.clone(),
                event.description.clone(),
            ]
        })
        .collect();
    table([register, "EVENT", "DIGEST", "WHAT"], &rows)
}

/// An image that cannot be measured.
fn unmeasured(path: &Path, error: &MeasureError) -> Failure {
    let right = match error {
        MeasureError::UnknownStub { .. } => "an image built with a systemd-stub that is known here",
        MeasureError::DoubleSection { .. } => "an image with one profile",
        MeasureError::SignatureList { .. } => {
            "EFI signature lists, or certificates in PEM or DER with --owner"
        }
        MeasureError::NoPlatformKey => "--pk with the platform key",
        MeasureError::NotAuthenticated { .. } => {
            "an image signed with a key that a certificate in db leads to"
        }
        _ => "a unified kernel image: systemd-stub with .linux, as ukify builds it",
    };
    let place = match error {
        MeasureError::SignatureList { variable, .. } => format!("--{}", variable.to_lowercase()),
        _ => path.display().to_string(),
    };
    Failure::local(format!("measure the image: {error}"), place, right)
}
