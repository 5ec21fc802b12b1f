//! `dawnkey-agent close NAME` and `dawnkey-agent reopen NAME`: a volume's maintenance in a running system.

use super::{Stop, load, load_protected, mapped_name, mapping, runtime, volume_of};
use crate::attester;
use crate::boot;
use crate::lease::{KernelLeases, holder};
use crate::random;
use crate::report::{self, Event, Failure};
use crate::run::{self, Job, Ports};
use crate::source::Source;
use dawnkey_dm::{KernelMapper, Opener, running};
use std::path::{Path, PathBuf};

/// Takes a mapping that nothing uses away, and its key out of the kernel.
///
/// # Errors
/// It is not there, in use, or held.
pub fn close(file: &Path, name: &str) -> Result<u8, Stop> {
    let config = load(file)?;
    let name = mapped_name(name)?;
    volume_of(&config, &name)?;
    if holder(&name).is_some() {
        return Err(Stop {
            failure: Failure {
                step: "close",
                exit_code: 31,
                reason: None,
                message: format!(
                    "close {name}: its lease is held; unmount it and stop dawnkey-hold@{name}.service first"
                ),
            },
            report: None,
        });
    }
    running::close(&name).map_err(|error| mapping("close", &error))?;
    let device = PathBuf::from("/dev/mapper").join(name.as_str());
    report::console(&Event::MappingClosed { device });
    Ok(0)
}

/// Opens a volume again in a boot that is closed: an attested call that policy has to allow.
///
/// # Errors
/// As an unlock; there is no record of what the boot was closed with.
pub fn reopen(file: &Path, name: &str) -> Result<u8, Stop> {
    let config = load_protected(file)?;
    let name = mapped_name(name)?;
    let id = volume_of(&config, &name)?;
    let record = boot::file();
    let closed_with = boot::read(&record).map_err(|error| Stop {
        failure: Failure {
            message: format!(
                "read what this boot was closed with from {}: {error}",
                record.display()
            ),
            ..Failure::at("reopen", 30, &error)
        },
        report: None,
    })?;
    let mut service = Source::new(&config.service).map_err(|e| Stop::at("config", 2)(&e))?;
    let mut attester = attester::open(&config.attestation, &config.tpm, &mut report::console)
        .map_err(|e| Stop::at("attester", 10)(&e))?;
    let mut ports = Ports {
        service: &mut service,
        attester: &mut attester,
        mapper: &mut KernelMapper::new(),
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
    let wanted = config
        .volumes
        .iter()
        .filter(|volume| volume.wanted.volume == id);
    for volume in wanted {
        // One of /etc/crypttab as well: no unit of the system waits for it any more.
        let mut volume = volume.clone();
        volume.wanted.opener = Opener::Ours;
        let opened = run::reopen(&job, &volume, &closed_with, &mut ports);
        runtime()?
            .block_on(opened)
            .map_err(|stopped| Stop::of(&stopped))?;
    }
    Ok(0)
}
