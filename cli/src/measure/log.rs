//! `dawnkey measure log`: what a running system says it measured, and the registers that this leaves.

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, table};
use clap::Args;
use dawnkey_attest::cel::{self, Place, Record};
use dawnkey_attest::tpm::hash::Hash;
use dawnkey_proto::closing::Recorded;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Replay a node's log of measurements: what the agent and systemd extended PCRs or RTMR 3 with
///
/// The log is a file of the node, /run/log/systemd/tpm2-measure.log, or /run/log/dawnkey/rtmr-measure.log of a TD. It proves
/// nothing by itself: compare the value of PCR 15 with that of a verified quote, or have it compared with --expect.
/// `systemd` records are shown as they describe themselves; of the agent's the digests are checked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey measure log tpm2-measure.log
  dawnkey measure log tpm2-measure.log --json
  ssh node cat /run/log/systemd/tpm2-measure.log > node.log && dawnkey measure log node.log
  dawnkey measure log node.log --expect \"$(ssh node cat /sys/class/tpm/tpm0/pcr-sha256/15)\"")]
pub(super) struct LogArgs {
    /// The log
    file: PathBuf,
    /// Value in hex that PCR 15 (64 digits, SHA-256) or RTMR 3 (96 digits) must have; another one is a negative verdict
    #[arg(long, value_name = "HEX", value_parser = digest)]
    expect: Option<Expected>,
}

/// A value and its bank.
#[derive(Debug, Clone)]
struct Expected {
    place: Place,
    bank: Hash,
    value: Vec<u8>,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Replayed {
    registers: Vec<Register>,
    records: Vec<Shown>,
    /// Whether `--expect` holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_expected: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Register {
    register: String,
    bank: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    register: String,
    writer: String,
    /// `proven` if every digest is that of what the record says, else `said`.
    standing: &'static str,
    what: String,
}

fn digest(text: &str) -> Result<Expected, String> {
    let wrong = || "expected 64 hex digits of PCR 15 or 96 of RTMR 3".to_owned();
    let value = hex::decode(text.trim()).map_err(|_| wrong())?;
    let (place, bank) = match value.len() {
        32 => (Place::Pcr(15), Hash::Sha256),
        48 => (Place::Rtmr(3), Hash::Sha384),
        _ => return Err(wrong()),
    };
    Ok(Expected { place, bank, value })
}

impl LogArgs {
    /// Runs the command.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let limit = u64::try_from(cel::MAX).unwrap_or(u64::MAX);
        let bytes = files::read(&self.file, "the log of measurements", limit)?;
        let unusable = |error: cel::CelError| {
            let right = "a log as systemd or dawnkey-agent writes it, whole";
            Failure::local(format!("replay: {error}"), self.file.display(), right)
        };
        let records = cel::parse(&bytes).map_err(unusable)?;
        let as_expected = match &self.expect {
            None => None,
            Some(expected) => {
                let found = cel::replay(&records, expected.place, expected.bank);
                Some(found.map_err(unusable)? == expected.value)
            }
        };
        let replayed = Replayed {
            registers: registers(&records),
            records: records.iter().map(shown).collect(),
            as_expected,
        };
        output.show(&replayed, || replayed.text())?;
        Ok(match as_expected {
            Some(false) => Exit::Negative,
            _ => Exit::Done,
        })
    }
}

/// Each register in each bank that all its records name.
fn registers(records: &[Record]) -> Vec<Register> {
    let places: BTreeSet<(u8, u64)> = records.iter().filter_map(|r| order(r.place)).collect();
    let mut found = Vec::new();
    for (kind, number) in places {
        let place = match kind {
            0 => Place::Pcr(number),
            _ => Place::Rtmr(number),
        };
        for bank in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            if let Ok(value) = cel::replay(records, place, bank) {
                found.push(Register {
                    register: name(place),
                    bank: bank.name(),
                    value: hex::encode(value),
                });
            }
        }
    }
    found
}

const fn order(place: Place) -> Option<(u8, u64)> {
    match place {
        Place::Pcr(number) => Some((0, number)),
        Place::Rtmr(number) => Some((1, number)),
        Place::Other => None,
    }
}

fn name(place: Place) -> String {
    match place {
        Place::Pcr(number) => format!("PCR {number}"),
        Place::Rtmr(number) => format!("RTMR {number}"),
        Place::Other => "another".to_owned(),
    }
}

fn shown(record: &Record) -> Shown {
    let read = record.event().and_then(|event| Recorded::read(&event));
    let (standing, what) = match read {
        Some(recorded) => ("proven", recorded.to_string()),
        None => ("said", record.text().to_owned()),
    };
    Shown {
        register: name(record.place),
        writer: record.content_type.clone(),
        standing,
        what,
    }
}

impl Replayed {
    fn text(&self) -> String {
        let values = self.registers.iter().map(|found| {
            let Register {
                register,
                bank,
                value,
            } = found;
            [register.clone(), (*bank).to_owned(), value.clone()]
        });
        let values: Vec<_> = values.collect();
        let rows = self.records.iter().map(|record| {
            let Shown {
                register,
                writer,
                standing,
                what,
            } = record;
            [
                register.clone(),
                writer.clone(),
                (*standing).to_owned(),
                what.clone(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let verdict = match self.as_expected {
            None => "",
            Some(true) => "\nthe expected value\n",
            Some(false) => "\nnot the expected value\n",
        };
        format!(
            "{}\n{}{verdict}",
            table(["REGISTER", "BANK", "VALUE"], &values),
            table(["REGISTER", "WRITER", "STANDING", "WHAT"], &rows)
        )
    }
}
