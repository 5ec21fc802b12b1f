//! The program's commands: each reads the measured configuration, does its one thing, and says what it did.

mod unlock;

pub use unlock::unlock;

use crate::client::Client;
use crate::config::Config;
use crate::report::{self, Failure, Report};
use std::path::Path;

/// A command that failed.
#[derive(Debug)]
pub struct Stop {
    /// Why.
    pub failure: Failure,
    /// What it had come to, for programs.
    pub report: Option<Box<Report>>,
}

impl Stop {
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
    Client::new(&config.service).map_err(|e| Stop::at("config", 2)(&e))?;
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

/// Two bytes of the TLS provider's random source. Without randomness nodes only wait in step.
fn jitter() -> u16 {
    let mut bytes = [0; 2];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    match random.fill(&mut bytes) {
        Ok(()) => u16::from_ne_bytes(bytes),
        Err(_) => u16::MAX,
    }
}
