//! `dawnkey-agent unlock`: every volume of the configuration, then exit.

use super::diagnose::at_the_end;
use super::{Stop, load_protected, runtime};
use crate::attester;
use crate::boot;
use crate::client::Client;
use crate::config::SwapConfig;
use crate::error::chain;
use crate::lease::KernelLeases;
use crate::measure_log::MeasureLog;
use crate::random;
use crate::recovery::{Recovery, standard_input};
use crate::report::{self, EXIT_PARTIAL, Event, Failure, Report, Stage, Stages};
use crate::run::{Job, Ports, run_or_recover};
use dawnkey_dm::{KernelMapper, swap};
use std::path::Path;
use std::time::Instant;

/// Unlocks the volumes. With `json` the report goes to standard output.
///
/// # Errors
/// If a required volume, or the boot, could not be unlocked and closed.
pub fn unlock(file: &Path, json: bool) -> Result<u8, Stop> {
    let began = Instant::now();
    let config = load_protected(file)?;
    if config.volumes.is_empty() {
        return Err(Stop {
            failure: Failure {
                step: "config",
                exit_code: 2,
                reason: None,
                message: "the configuration has no `[[volume]]` to unlock".into(),
            },
            report: None,
        });
    }
    report::console(&Event::Started {
        volumes: config.volumes.len(),
        node: config.node_name.clone(),
    });
    if std::env::var_os("TSS2_LOG").is_none_or(|level| level != "all+none") {
        report::console(&Event::TssMayLog);
    }
    let mut service = Client::new(&config.service).map_err(|e| Stop::at("config", 2)(&e))?;
    let mut before = Stages::default();
    let mut attester = before
        .time(Stage::Attester, || {
            attester::open(&config.attestation, &config.tpm, &mut report::console)
        })
        .map_err(|e| Stop::at("attester", 10)(&e))?;
    attester.log_to(Box::new(MeasureLog::system(report::console)));
    let mut mapper = KernelMapper::new();
    let mut ports = Ports {
        service: &mut service,
        attester: &mut attester,
        mapper: &mut mapper,
        leases: &mut KernelLeases,
        jitter: &mut random::number,
        report: &mut report::console,
    };
    let job = Job {
        volumes: &config.volumes,
        node_name: &config.node_name,
        pace: config.service.pace,
        holder: config.hold.enabled,
    };
    let recovery = config.recovery.clone().map(Recovery::new);
    let recovery = recovery.transpose().map_err(|e| Stop::at("keys", 70)(&e))?;
    let mut recovery = recovery.map(|recovery| recovery.with_console(standard_input));
    let running = run_or_recover(&job, &mut ports, recovery.as_mut());
    match runtime()?.block_on(running) {
        Ok(finished) => {
            if let Err(error) = boot::leave(&boot::file(), &finished) {
                let problem = error.to_string();
                report::console(&Event::BootNotRecorded { problem });
            }
            let swapped = start_swaps(&config.swaps);
            if json {
                let total = began.elapsed();
                report::json(&Report::finished(&config.volumes, &finished, before, total));
            }
            Ok(if finished.missing.is_empty() && swapped {
                0
            } else {
                EXIT_PARTIAL
            })
        }
        Err(stopped) => {
            let stop = Stop::of(&stopped);
            at_the_end(&config.service, stop.failure.exit_code);
            Err(stop)
        }
    }
}

/// Swaps to each device, and says whether all are in use. The boot is closed by now: nothing of it was needed for that.
fn start_swaps(swaps: &[SwapConfig]) -> bool {
    let mut all = true;
    for SwapConfig { device, name } in swaps {
        let event = match swap::start(device, name) {
            Ok(device) => Event::SwapOn { device },
            Err(error) => {
                all = false;
                let (name, problem) = (name.clone(), chain(&error));
                Event::SwapFailed { name, problem }
            }
        };
        report::console(&event);
    }
    all
}
