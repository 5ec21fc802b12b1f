//! Configuration: one TOML file of the measured image, read once and passed on as a value.
//!
//! Every trust root comes from this file, none has a default, and a field that is not known is an error: a
//! misspelt pin must not be a missing pin. The kernel command line and system credentials may add addresses and name what
//! the file left open ([`Outside`]). `docs/agent.md` lists the fields.

mod attestation;
mod failure;
mod outside;
mod reader;
mod recovery;
mod service;
mod show;
mod volume;

pub use attestation::{AttestationConfig, Choice, TpmConfig};
pub use failure::{FailureAction, FailureConfig};
pub use outside::{Outside, Texts};
pub use recovery::RecoveryConfig;
#[cfg(feature = "trustee")]
pub use service::TrusteeConfig;
pub use service::{Pace, Protocol, ServiceConfig};
pub use show::{Origin, Row};
pub use volume::{HoldConfig, SwapConfig, VolumeConfig};

use reader::Section;
use std::io::Read;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Largest configuration file and CA file, in bytes.
const MAX_FILE: u64 = 256 << 10;

/// Why a configuration was refused. Each text names the file, the key and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or the CA file it names, could not be read.
    #[error("read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any that makes sense.
    #[error("read {}: larger than {MAX_FILE} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// Not TOML.
    #[error("parse {}: {detail}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Where and why.
        detail: String,
    },
    /// A field that no version of the agent knows.
    #[error("{}: unknown field `{key}`; known here: {known}", file.display())]
    UnknownField {
        /// The file.
        file: PathBuf,
        /// The field with its section.
        key: String,
        /// The section's fields.
        known: String,
    },
    /// A required field is absent.
    #[error("{}: field `{key}` is missing; it takes {right}", file.display())]
    MissingField {
        /// The file.
        file: PathBuf,
        /// The field with its section.
        key: String,
        /// What it takes.
        right: &'static str,
    },
    /// A field has a value that cannot be used.
    #[error("{}: `{key}` is {found}; it takes {right}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The field with its section.
        key: String,
        /// What was found.
        found: String,
        /// What it takes.
        right: &'static str,
    },
    /// Something that may be given once is given twice.
    #[error("{}: `{key}` is {value:?}, which `{first}` has taken already; each needs its own", file.display())]
    Twice {
        /// The file.
        file: PathBuf,
        /// The second field.
        key: String,
        /// The first field.
        first: String,
        /// What both give; for a mapping's name possibly that of a layer below it.
        value: String,
    },
    /// Nothing says how the service is known.
    #[error("{}: the service has no pin; give exactly one of `service.ca_file` and `service.spki_sha256`", file.display())]
    PinMissing {
        /// The file.
        file: PathBuf,
    },
    /// Something is said in a place that cannot be trusted with it.
    #[error(
        "{origin}: `{parameter}` is not taken from there, only from the measured file, since a host can change it; \
         taken there: {taken}"
    )]
    NotFromThere {
        /// The place.
        origin: Origin,
        /// The parameter.
        parameter: String,
        /// The parameters that are taken.
        taken: String,
    },
    /// What is said there cannot be used.
    #[error("{origin}: `{parameter}` is {found}; it takes {right}")]
    Outside {
        /// The place.
        origin: Origin,
        /// The parameter.
        parameter: String,
        /// What was found.
        found: String,
        /// What it takes.
        right: &'static str,
    },
    /// The file says something else, and only what it leaves open may be said elsewhere.
    #[error(
        "{origin}: `{parameter}` says {said:?}, the measured file {file:?}; leave one of them out"
    )]
    Closed {
        /// The place.
        origin: Origin,
        /// The parameter.
        parameter: String,
        /// What it says.
        said: String,
        /// What the file says.
        file: String,
    },
    /// Nothing says where the service may be.
    #[error(
        "{}: nothing says where the service may be; give `service.endpoints`, `service.domain` or `service.metadata`", file.display()
    )]
    NoPlace {
        /// The file.
        file: PathBuf,
    },
    /// Two pins: it would be a guess which of them counts.
    #[error("{}: the service has two pins; give exactly one of `service.ca_file` and `service.spki_sha256`", file.display())]
    PinTwice {
        /// The file.
        file: PathBuf,
    },
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name, a hint for people.
    pub node_name: String,
    /// The key service.
    pub service: ServiceConfig,
    /// The evidence.
    pub attestation: AttestationConfig,
    /// The TPM.
    pub tpm: TpmConfig,
    /// The volumes, in the order in which they are opened.
    pub volumes: Vec<VolumeConfig>,
    /// The swap devices.
    pub swaps: Vec<SwapConfig>,
    /// What goes on after the unlock.
    pub hold: HoldConfig,
    /// What an initramfs does when the volumes could not be had.
    pub failure: FailureConfig,
    /// The secret that `dawnkey-agent secret` hands on.
    pub secret: Option<Uuid>,
    /// What is done when no service answers.
    pub recovery: Option<RecoveryConfig>,
    /// Every value as text, with where it comes from.
    pub rows: Vec<Row>,
}

impl Config {
    /// Reads a file and what it refers to, and what this machine was told beside it; paths in the file that are not
    /// absolute are relative to its directory.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = String::from_utf8(read(file)?).map_err(|e| ConfigError::Syntax {
            file: file.into(),
            detail: e.to_string(),
        })?;
        Self::parse(&text, file, &Outside::of(&Texts::here())?)
    }

    /// Reads the text of `file`, with what was said outside of it.
    pub fn parse(text: &str, file: &Path, outside: &Outside) -> Result<Self, ConfigError> {
        let table = text
            .parse::<toml::Table>()
            .map_err(|e| ConfigError::Syntax {
                file: file.into(),
                detail: e.to_string().trim_end().to_owned(),
            })?;
        let rows = show::rows(&table);
        let mut root = Section::root(file, table);
        let (has_tpm, has_secret) = (root.has("tpm"), root.has("secret"));
        let mut config = Self {
            node_name: name_of_node(&mut root, outside)?,
            service: service::service(root.section("service", "a section")?, file, outside)?,
            attestation: attestation::attestation(&mut root, has_tpm)?,
            tpm: attestation::tpm(root.optional_section("tpm")?)?,
            volumes: volume::volumes(&mut root, has_secret, outside)?,
            swaps: volume::swaps(&mut root)?,
            hold: volume::hold(root.optional_section("hold")?)?,
            failure: failure::failure(root.optional_section("failure")?)?,
            secret: secret(root.section_if_given("secret")?)?,
            recovery: recovery::recovery(root.section_if_given("recovery")?)?,
            rows,
        };
        root.end()?;
        volume::refuse_twice(file, &config.volumes, &config.swaps)?;
        outside.luks.refuse(&config.volumes)?;
        config.add_rows(outside);
        Ok(config)
    }

    /// Shows what was said outside of the file, and no longer what that takes the place of.
    fn add_rows(&mut self, outside: &Outside) {
        for row in outside.rows() {
            let endpoints = row.key == "service.endpoints";
            self.rows.retain(|old| endpoints || old.key != row.key);
            self.rows.push(row);
        }
        for (volume, number) in self.volumes.iter().zip(1..) {
            let row = outside.luks.row(number, &volume.wanted.name);
            if !self.rows.iter().any(|old| old.key == row.key) {
                self.rows.push(row);
            }
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::Read {
        file: file.into(),
        source,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ConfigError::TooLarge { file: file.into() });
    }
    Ok(bytes)
}

fn name_of_node(root: &mut Section<'_>, outside: &Outside) -> Result<String, ConfigError> {
    const RIGHT: &str = "1 to 64 printable characters; or give rd.dawnkey.node_name";
    let file = root.optional("node_name", RIGHT, node_name)?;
    let name = outside.node_name(file)?;
    name.ok_or_else(|| root.missing("node_name", RIGHT))
}

fn node_name(text: &str) -> Option<String> {
    let fits = (1..=64).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

fn secret(section: Option<Section<'_>>) -> Result<Option<Uuid>, ConfigError> {
    let Some(mut section) = section else {
        return Ok(None);
    };
    let id = section.parsed("id", "the secret's UUID, not the nil one", |text| {
        Uuid::parse_str(text).ok().filter(|id| !id.is_nil())
    })?;
    section.end()?;
    Ok(Some(id))
}

fn absolute(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path)
}
