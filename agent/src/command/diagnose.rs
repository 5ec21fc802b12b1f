//! `dawnkey-agent diagnose`: why the key service cannot be had, and what to do; the same at the end of a failed unlock.

use super::{Stop, load, runtime};
use crate::config::ServiceConfig;
use crate::diagnose::{Cause, Machine, diagnose as look};
use crate::report::{self, Event};
use std::path::Path;

/// Prints the diagnosis, or one object with `json`. The exit code is 0 when the service can be reached, 22 when something
/// else is there, and else 20.
///
/// # Errors
/// The configuration is not good.
pub fn diagnose(file: &Path, json: bool) -> Result<u8, Stop> {
    let config = load(file)?;
    let diagnosis = runtime()?.block_on(look(&config.service, Machine::here()));
    if json {
        report::json(&diagnosis);
    } else {
        for (about, found) in diagnosis.lines() {
            report::line(&format!("{about:14} {}", printable(&found)));
        }
    }
    Ok(match diagnosis.cause {
        Cause::None => 0,
        Cause::NotPinned | Cause::Protocol => 22,
        _ => 20,
    })
}

/// Says it on the console, if the unlock failed for want of the service.
pub(super) fn at_the_end(service: &ServiceConfig, exit_code: u8) {
    if !matches!(exit_code, 20 | 22) {
        return;
    }
    // Without a runtime there is nothing to say that has not been said.
    let Ok(runtime) = runtime() else { return };
    let diagnosis = runtime.block_on(look(service, Machine::here()));
    for (about, found) in diagnosis.lines() {
        report::console(&Event::Diagnosis { about, found });
    }
}

/// Without anything that a terminal would act on: a name may come from a DNS server.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
