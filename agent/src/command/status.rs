//! `dawnkey-agent status`: which of the configured volumes are mapped, how much of each can be used, who holds it.

use super::{Stop, load, mapping};
use crate::lease::{Holder, holder};
use crate::report;
use dawnkey_dm::{behind, running};
use serde::Serialize;
use std::path::Path;
use uuid::Uuid;

/// One configured volume as it is now.
#[derive(Debug, Serialize)]
struct Now {
    id: Uuid,
    name: String,
    /// Whether it is mapped.
    mapped: bool,
    /// Whether anything has it open.
    in_use: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    /// What the holder last said; absent when no holder runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
}

#[derive(Serialize)]
struct All {
    volumes: Vec<Now>,
}

/// Prints a line for each configured volume, or one object with `json`. Needs root, since device-mapper does.
///
/// # Errors
/// Configuration, or device-mapper, cannot be read.
pub fn status(file: &Path, json: bool) -> Result<u8, Stop> {
    let config = load(file)?;
    let mut volumes = Vec::new();
    for volume in &config.volumes {
        let name = &volume.wanted.name;
        let failed = |error| mapping("status", &error);
        let ready = behind::status(name).map_err(failed)?;
        let in_use = running::in_use(name).map_err(failed)?;
        volumes.push(Now {
            id: volume.wanted.volume,
            name: name.to_string(),
            mapped: in_use.is_some(),
            in_use: in_use.unwrap_or(false),
            ready_bytes: ready.map(|ready| ready.ready_bytes),
            total_bytes: ready.map(|ready| ready.total_bytes),
            holder: holder(name),
        });
    }
    if json {
        report::json(&All { volumes });
        return Ok(0);
    }
    for volume in &volumes {
        report::line(&volume.line());
    }
    Ok(0)
}

impl Now {
    fn line(&self) -> String {
        let state = match (self.mapped, self.in_use) {
            (false, _) => return format!("{}: not mapped", self.name),
            (true, false) => "mapped",
            (true, true) => "in use",
        };
        let mib = |bytes: Option<u64>| bytes.unwrap_or(0) >> 20;
        let ready = format!(
            "{} of {} MiB ready",
            mib(self.ready_bytes),
            mib(self.total_bytes)
        );
        let holder = match &self.holder {
            Some(holder) => format!(", lease {} {}", holder.fencing_token, holder.state),
            None => String::new(),
        };
        format!("{}: {state}, {ready}{holder}", self.name)
    }
}
