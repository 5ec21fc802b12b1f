//! The section `[audit]` of the configuration.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Smallest size at which a file may end: less would be mostly ends of files.
const MIN_ROTATE: u64 = 4096;

/// Where records go, and when a file ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file that is written to; ended ones lie beside it.
    pub file: PathBuf,
    /// A file that would grow beyond so many bytes ends. Never, by default.
    pub rotate_bytes: Option<u64>,
    /// A file ends with the day on which its last record was written, UTC.
    #[serde(default)]
    pub rotate_daily: bool,
    /// Where a copy of every record goes beside the file.
    pub also: Option<Also>,
}

/// A second place for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Also {
    /// The process's standard output, which systemd and container engines collect.
    Stdout,
}

impl Settings {
    /// One file that never ends.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self {
            file: path.to_owned(),
            rotate_bytes: None,
            rotate_daily: false,
            also: None,
        }
    }

    /// With paths relative to `base` made absolute; the key and what is wrong with its value otherwise.
    pub fn at(self, base: &Path) -> Result<Self, (&'static str, &'static str)> {
        if self.rotate_bytes.is_some_and(|bytes| bytes < MIN_ROTATE) {
            return Err(("audit.rotate_bytes", "must be at least 4096"));
        }
        let file = base.join(&self.file);
        Ok(Self { file, ..self })
    }
}
