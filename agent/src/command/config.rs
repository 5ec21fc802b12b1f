//! `dawnkey-agent config show`: the effective configuration, each value with where it comes from.

use super::{Stop, load};
use crate::config::Row;
use crate::report;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Shown<'a> {
    file: &'a Path,
    values: &'a [Row],
}

/// Prints a line for each value, or one object with `json`. It has no secret in it.
///
/// # Errors
/// The configuration is not good.
pub fn show(file: &Path, json: bool) -> Result<u8, Stop> {
    let config = load(file)?;
    if json {
        let values = &config.rows;
        report::json(&Shown { file, values });
        return Ok(0);
    }
    for line in config.lines(file) {
        report::line(&line);
    }
    Ok(0)
}
