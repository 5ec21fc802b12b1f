//! `dawnkey-agent unlock`: every volume of the configuration, then exit.

use super::diagnose::{Waiting, at_the_end};
use super::{Stop, load_protected, runtime};
use crate::attester;
use crate::boot;
use crate::config::{SwapConfig, VolumeConfig};
use crate::crypttab::progress::{self, Progress};
use crate::crypttab::{self, Crypttab, Places};
use crate::error::chain;
use crate::lease::KernelLeases;
use crate::measure_log::MeasureLog;
use crate::random;
use crate::recovery::{Recovery, keyboard};
use crate::report::{self, EXIT_PARTIAL, Event, Failure, Report, Stage, Stages};
use crate::run::{Job, Ports, run_or_recover};
use crate::source::Source;
use dawnkey_dm::handing::Handing;
use dawnkey_dm::{KernelMapper, MappedName, Opener, swap};
use std::path::Path;
use std::time::Instant;
use uuid::Uuid;

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
    // From here on its units are told what became of each volume, whatever happens.
    let mut handed = Handed::of(&config.volumes);
    report::console(&Event::Started {
        volumes: config.volumes.len(),
        node: config.node_name.clone(),
    });
    if std::env::var_os("TSS2_LOG").is_none_or(|level| level != "all+none") {
        report::console(&Event::TssMayLog);
    }
    let mut service = Source::new(&config.service).map_err(|e| Stop::at("config", 2)(&e))?;
    let mut before = Stages::default();
    let mut attester = before
        .time(Stage::Attester, || {
            attester::open(&config.attestation, &config.tpm, &mut report::console)
        })
        .map_err(|e| Stop::at("attester", 10)(&e))?;
    attester.log_to(Box::new(MeasureLog::system(report::console)));
    let waiting = Waiting::default();
    let mut mapper = KernelMapper::new().with_handing(handed.handing());
    let mut ports = Ports {
        service: &mut service,
        attester: &mut attester,
        mapper: &mut mapper,
        leases: &mut KernelLeases,
        jitter: &mut random::number,
        report: &mut |event: &Event| {
            report::console(event);
            waiting.see(event);
        },
    };
    let job = Job {
        volumes: &config.volumes,
        node_name: &config.node_name,
        pace: config.service.pace,
        holder: config.hold.enabled,
    };
    let recovery = config.recovery.clone().map(Recovery::new);
    let recovery = recovery.transpose().map_err(|e| Stop::at("keys", 70)(&e))?;
    let mut recovery = recovery.map(|recovery| recovery.with_console(keyboard));
    let running = run_or_recover(&job, &mut ports, recovery.as_mut());
    let mut console = report::console;
    let running = waiting.beside(running, &config.service, &mut console);
    match runtime()?.block_on(running) {
        Ok(finished) => {
            handed.tell(|id| finished.done.iter().any(|done| done.volume == id));
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

/// The volumes that the system opens, and what its units are told of them.
struct Handed {
    places: Places,
    volumes: Vec<(Uuid, MappedName)>,
}

impl Handed {
    /// Nothing was said of them yet.
    fn of(volumes: &[VolumeConfig]) -> Self {
        let places = Places::of_the_system();
        let wanted = volumes.iter().map(|volume| &volume.wanted);
        let handed = wanted.filter(|wanted| wanted.opener == Opener::System);
        let volumes: Vec<_> = handed
            .map(|wanted| (wanted.volume, wanted.name.clone()))
            .collect();
        for (_, name) in &volumes {
            progress::forget(places.run(), name);
        }
        Self { places, volumes }
    }

    /// What hands their keys over.
    fn handing(&self) -> Box<dyn Handing> {
        let report = Box::new(report::console);
        Box::new(Crypttab::new(self.places.clone(), crypttab::LIMIT, report))
    }

    /// Says which of them are open now, and that the others will not be.
    fn tell(&mut self, is_open: impl Fn(Uuid) -> bool) {
        for (id, name) in self.volumes.drain(..) {
            let progress = if is_open(id) {
                Progress::Open
            } else {
                Progress::Failed
            };
            if let Err(error) = progress::set(self.places.run(), &name, progress) {
                let problem = error.to_string();
                report::console(&Event::UnitNotTold { name, problem });
            }
        }
    }
}

impl Drop for Handed {
    /// What is not open by now will not be.
    fn drop(&mut self) {
        self.tell(|_| false);
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
