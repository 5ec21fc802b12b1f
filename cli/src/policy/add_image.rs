//! `dawnkey policy add-image`: writes an image's measurements into a policy file.

use super::edit::{self, EditError, Image};
use super::lint::note_if_invalid;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields};
use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest PCR index.
const LAST_PCR: u8 = 23;
/// Hex digits of a SHA-256 digest.
const DIGEST_DIGITS: usize = 64;

/// Add a measured image to a policy file, keeping everything else in it
///
/// The PCR values come from `dawnkey measure uki --json`. The file is replaced in one step.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey measure uki node.efi --json > node.json
  dawnkey policy add-image policy.toml --name node-2026-11 --from node.json --volume-policy state
  dawnkey policy add-image policy.toml --name node-2026-11 --from node.json \\
      --valid-until 2027-11-01T00:00:00Z")]
pub(crate) struct AddImageArgs {
    /// The policy file
    file: PathBuf,
    /// The image's name in the policy
    #[arg(long)]
    name: String,
    /// Measurements as `dawnkey measure uki --json` prints them
    #[arg(long, value_name = "JSON")]
    from: PathBuf,
    /// Also allow the image for this `[volume-policy]`
    #[arg(long, value_name = "NAME")]
    volume_policy: Option<String>,
    /// Until when the image may ask for keys, RFC 3339
    #[arg(long, value_name = "TIME")]
    valid_until: Option<Timestamp>,
}

/// What is needed of the measurements; whatever else they hold is for people.
#[derive(Debug, Deserialize)]
struct Measured {
    pcrs: Banks,
}

#[derive(Debug, Deserialize)]
struct Banks {
    sha256: BTreeMap<u8, String>,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Added<'a> {
    policy: String,
    image: &'a str,
    volume_policy: Option<&'a str>,
    pcrs: &'a BTreeMap<u8, String>,
}

impl AddImageArgs {
    /// Edits the file.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let pcrs = measured(&self.from)?;
        let text = files::read_text(&self.file, "the policy")?;
        let until = self.valid_until.map(|t| t.to_string());
        let image = Image {
            name: &self.name,
            valid_until: until.as_deref(),
            pcrs: &pcrs,
        };
        let edited = edit::add_image(&text, &image, self.volume_policy.as_deref())
            .map_err(|e| self.refused(&e))?;
        files::replace(&self.file, "the policy", &edited)?;
        note_if_invalid(&self.file, &edited);
        let added = Added {
            policy: self.file.display().to_string(),
            image: &self.name,
            volume_policy: self.volume_policy.as_deref(),
            pcrs: &pcrs,
        };
        output.show(&added, || {
            let indexes: Vec<String> = pcrs.keys().map(ToString::to_string).collect();
            fields(&[
                ("policy", added.policy.clone()),
                ("image", self.name.clone()),
                ("PCRs", indexes.join(", ")),
                (
                    "allowed for",
                    self.volume_policy.clone().unwrap_or_default(),
                ),
            ])
        })?;
        Ok(Exit::Done)
    }

    fn refused(&self, error: &EditError) -> Failure {
        let right = match error {
            EditError::Toml(_) => "a policy that `dawnkey policy lint` accepts",
            EditError::Taken(_) => "another --name, or the old image taken out by hand",
            EditError::NoVolumePolicy(_) => "--volume-policy naming a table of this file",
            EditError::NotImages | EditError::NotList(_) => "[[image]] tables and lists of names",
        };
        Failure::local(error, self.file.display(), right)
    }
}

fn measured(path: &Path) -> Result<BTreeMap<u8, String>, Failure> {
    let right = "the output of `dawnkey measure uki --json`";
    let bytes = files::read(path, "the measurements", files::MAX_TEXT)?;
    let measured: Measured = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::local(format!("read the measurements: {e}"), path.display(), right)
    })?;
    let pcrs = measured.pcrs.sha256;
    let problem = match pcrs.iter().find(|(index, digest)| {
        **index > LAST_PCR || digest.len() != DIGEST_DIGITS || hex::decode(digest).is_err()
    }) {
        Some((index, digest)) => format!("PCR {index} = {digest:?} is no SHA-256 value"),
        None if pcrs.is_empty() => "no PCR in them".to_owned(),
        None => return Ok(pcrs),
    };
    Err(Failure::local(
        format!("read the measurements: {problem}"),
        path.display(),
        right,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<u8, String>, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("measured.json");
        std::fs::write(&path, text).unwrap();
        measured(&path)
    }

    #[test]
    fn refuses_measurements_without_pcrs_or_with_values_that_are_no_digest() {
        assert!(read(r#"{"pcrs":{"sha256":{}}}"#).is_err());
        assert!(read(r#"{"pcrs":{"sha256":{"4":"00"}}}"#).is_err());
        let digest = "0".repeat(64);
        let odd = format!(r#"{{"pcrs":{{"sha256":{{"24":"{digest}"}}}}}}"#);
        assert!(read(&odd).is_err());
        let good = format!(r#"{{"pcrs":{{"sha256":{{"4":"{digest}"}}}},"events":[]}}"#);
        assert_eq!(read(&good).unwrap().len(), 1);
    }
}
