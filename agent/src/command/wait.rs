//! `dawnkey-agent wait NAME --for header|open`: what the units of volumes in `/etc/crypttab` wait with.

use super::{Stop, load};
use crate::crypttab::Places;
use crate::crypttab::progress::{Progress, wait as wait_for};
use crate::report::Failure;
use clap::ValueEnum;
use dawnkey_dm::{MappedName, Opener};
use std::path::Path;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The header and the key are there to be fetched.
    Header,
    /// The volume is mapped and the key service has confirmed.
    Open,
}

/// Waits until a volume has come so far. Volumes that the system does not open with a key of ours, and machines without
/// a configuration, are none of its business: it ends at once.
///
/// # Errors
/// The volume will not come so far in this boot.
pub fn wait(file: &Path, name: &str, until: Until) -> Result<u8, Stop> {
    let Ok(name) = MappedName::new(name) else {
        return Ok(0);
    };
    if !file.exists() {
        return Ok(0);
    }
    let config = load(file)?;
    let mut volumes = config.volumes.iter().map(|volume| &volume.wanted);
    if !volumes.any(|wanted| wanted.name == name && wanted.opener == Opener::System) {
        return Ok(0);
    }
    let places = Places::of_the_system();
    let enough = |progress| match until {
        Until::Header => true,
        Until::Open => progress != Progress::Offered,
    };
    let progress = wait_for(places.run(), &name, enough).map_err(|e| Stop::at("wait", 31)(&e))?;
    match (until, progress) {
        (Until::Header, Progress::Offered) | (Until::Open, Progress::Open) => Ok(0),
        (Until::Header, Progress::Open) => Err(stop(format!(
            "wait for the header of {name}: its key was handed over in this boot, and is once only; open it again with \
             `dawnkey-agent reopen {name}`"
        ))),
        _ => Err(stop(format!(
            "wait for {name}: the agent could not have it; its log says why"
        ))),
    }
}

fn stop(message: String) -> Stop {
    Stop {
        failure: Failure {
            step: "wait",
            exit_code: 31,
            reason: None,
            message,
        },
        report: None,
    }
}
