//! The program's commands: each reads the measured configuration, does its one thing, and says what it did.

mod config;
mod diagnose;
mod failed;
mod hold;
mod maintenance;
mod secret;
mod status;
mod unlock;
mod wait;
mod wipe;

pub use config::show as config_show;
pub use diagnose::diagnose;
pub use failed::failed;
pub use hold::hold;
pub use maintenance::{close, reopen};
pub use secret::secret;
pub use status::status;
pub use unlock::unlock;
pub use wait::{Until, wait};
pub use wipe::wipe;

use crate::config::Config;
use crate::error::{Stopped, chain};
use crate::report::{self, Failure, Report};
use crate::source::Source;
use dawnkey_dm::{MapError, MappedName};
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

/// A command that failed.
#[derive(Debug)]
pub struct Stop {
    /// Why.
    pub failure: Failure,
    /// What it had come to, for programs.
    pub report: Option<Box<Report>>,
}

impl Stop {
    /// A flow that stopped.
    fn of(stopped: &Stopped) -> Self {
        Self {
            failure: Failure {
                message: stopped.to_string(),
                ..Failure::of(&stopped.error)
            },
            report: Some(Box::new(Report::stopped(stopped))),
        }
    }

    /// A failure of one step.
    fn at(step: &'static str, exit_code: u8) -> impl Fn(&dyn std::error::Error) -> Self {
        move |error| Self {
            failure: Failure::at(step, exit_code, error),
            report: None,
        }
    }
}

/// Reads the configuration and says whether it is good; touches no device and no network.
///
/// # Errors
/// If it is not.
pub fn check(file: &Path) -> Result<u8, Stop> {
    let config = load(file)?;
    Source::new(&config.service).map_err(|e| Stop::at("config", 2)(&e))?;
    report::line(&format!("{}: good", file.display()));
    Ok(0)
}

fn load(file: &Path) -> Result<Config, Stop> {
    Config::load(file).map_err(|e| Stop::at("config", 2)(&e))
}

/// Protects the process, then reads the configuration: the order of every command that may hold a secret.
fn load_protected(file: &Path) -> Result<Config, Stop> {
    dawnkey_secret::process::harden().map_err(|e| Stop::at("harden", 70)(&e))?;
    load(file)
}

/// A runtime of one thread: a kernel key of a thread must not be looked for from another.
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::at("harden", 70)(&e))
}

/// A mapping's name from the command line.
fn mapped_name(name: &str) -> Result<MappedName, Stop> {
    MappedName::new(name).map_err(|e| Stop::at("config", 2)(&e))
}

/// The volume that the configuration maps as this.
fn volume_of(config: &Config, name: &MappedName) -> Result<Uuid, Stop> {
    let mut wanted = config.volumes.iter().map(|volume| &volume.wanted);
    let found = wanted.find(|wanted| wanted.name == *name);
    found.map(|wanted| wanted.volume).ok_or_else(|| Stop {
        failure: Failure {
            step: "config",
            exit_code: 2,
            reason: None,
            message: format!("no `[[volume]]` of the configuration has the name {name}"),
        },
        report: None,
    })
}

/// A failure of device-mapper.
fn mapping(step: &'static str, error: &MapError) -> Stop {
    Stop {
        failure: Failure {
            message: chain(error),
            ..Failure::at(step, 31, error)
        },
        report: None,
    }
}

/// The signals that ask a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on. Needs a runtime.
    fn listen() -> Result<Self, Stop> {
        let listen = |kind| signal(kind).map_err(|e| Stop::at("harden", 70)(&e));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    async fn asked_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
