//! `dawnkey-agent`: one unlock in the initramfs, then exit. `docs/agent.md` is its manual.

use clap::{Parser, Subcommand};
use dawnkey_agent::attester;
use dawnkey_agent::client::Client;
use dawnkey_agent::config::Config;
use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::report::{self, Event, Failure, Report, Stage, Stages};
use dawnkey_agent::run::{Job, Ports, run};
use dawnkey_agent::unlock::Trace;
use dawnkey_dm::KernelMapper;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use uuid::Uuid;

const AFTER_HELP: &str = "\
Examples:
  dawnkey-agent                                          unlock as /etc/dawnkey/agent.toml says
  dawnkey-agent --config state.toml --json unlock        the same with a report on standard output
  dawnkey-agent --config state.toml check                read the configuration, touch nothing

Events go to standard error, one per line: `dawnkey-agent: NAME key=value …`.

Exit codes:
   0  the volume is mapped, the boot is closed, the service has confirmed
   2  command line or configuration
  10  evidence: no such TEE or TPM here, or it did not give it
  20  transport: no answer from the key service within the budget
  21  refused by the key service
  22  not the pinned service, no TLS 1.3, or an answer that is none of the protocol's
  30  the volume was not found, or its disk or header cannot be used
  31  the volume could not be opened or made
  40  the boot could not be closed; the mapping is closed again
  41  the service did not confirm; the mapping is closed again
  70  the process could not be protected (memory lock, core dumps, randomness)";

/// Unlocks one volume with a key from the attested key service, then exits.
#[derive(Parser)]
#[command(name = "dawnkey-agent", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Configuration file, part of the measured image.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/dawnkey/agent.toml",
        global = true
    )]
    config: PathBuf,
    /// Print one JSON object to standard output at the end.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Unlock the volume (the default).
    Unlock,
    /// Read the configuration and say whether it is good; touches no device and no network.
    Check,
}

/// Why there was no unlock, before or in the flow.
struct Stop {
    volume: Option<Uuid>,
    failure: Failure,
    trace: Option<Box<Trace>>,
}

impl Stop {
    fn new(step: &'static str, exit_code: u8, error: &dyn std::error::Error) -> Self {
        let failure = Failure {
            step,
            exit_code,
            reason: None,
            message: error.to_string(),
        };
        Self {
            volume: None,
            failure,
            trace: None,
        }
    }

    fn of(volume: Uuid, error: &UnlockError) -> Self {
        let mut stop = Self::new(error.step(), error.exit_code(), error);
        stop.volume = Some(volume);
        if let UnlockError::Ask { error, .. } | UnlockError::Confirm { error, .. } = error
            && let AskError::Refused(refusal) = &**error
        {
            stop.failure.reason = Some(refusal.code());
        }
        if let UnlockError::Ask { trace, .. } = error {
            stop.trace = Some(trace.clone());
        }
        stop
    }
}

fn main() -> ExitCode {
    // The command line holds no secret, and --help must work for everybody: only what follows is protected.
    let arguments = Arguments::parse();
    let ended = match arguments.command {
        Some(Command::Check) => check(&arguments.config),
        Some(Command::Unlock) | None => unlock(&arguments.config),
    };
    match ended {
        Ok(done) => {
            if let (true, Some(report)) = (arguments.json, done) {
                report::json(&report);
            }
            ExitCode::SUCCESS
        }
        Err(stop) => {
            report::console(&Event::Failed {
                step: stop.failure.step,
                exit_code: stop.failure.exit_code,
                problem: stop.failure.message.clone(),
            });
            let exit_code = stop.failure.exit_code;
            if arguments.json {
                report::json(&Report::failed(stop.volume, stop.failure, stop.trace));
            }
            ExitCode::from(exit_code)
        }
    }
}

fn check(file: &std::path::Path) -> Result<Option<Report>, Stop> {
    let config = Config::load(file).map_err(|e| Stop::new("config", 2, &e))?;
    Client::new(&config.service).map_err(|e| Stop::new("config", 2, &e))?;
    report::line(&format!("{}: good", file.display()));
    Ok(None)
}

fn unlock(file: &std::path::Path) -> Result<Option<Report>, Stop> {
    let began = Instant::now();
    dawnkey_secret::process::harden().map_err(|e| Stop::new("harden", 70, &e))?;
    let config = Config::load(file).map_err(|e| Stop::new("config", 2, &e))?;
    let volume = config.volume.volume;
    report::console(&Event::Started {
        volume,
        node: config.node_name.clone(),
    });
    if std::env::var_os("TSS2_LOG").is_none_or(|level| level != "all+none") {
        report::console(&Event::TssMayLog);
    }
    let stop = |stop: Stop| Stop {
        volume: Some(volume),
        ..stop
    };
    let mut service = Client::new(&config.service).map_err(|e| stop(Stop::new("config", 2, &e)))?;
    let mut before = Stages::default();
    let mut attester = before
        .time(Stage::Attester, || {
            attester::open(&config.attestation, &config.tpm, &mut report::console)
        })
        .map_err(|e| stop(Stop::new("attester", 10, &e)))?;
    let mut mapper = KernelMapper::new();
    let mut ports = Ports {
        service: &mut service,
        attester: &mut attester,
        mapper: &mut mapper,
        jitter: &mut jitter,
        report: &mut report::console,
    };
    let job = Job {
        wanted: &config.volume,
        node_name: &config.node_name,
        pace: config.service.pace,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| stop(Stop::new("harden", 70, &e)))?;
    match runtime.block_on(run(&job, &mut ports)) {
        Ok(done) => {
            let total = began.elapsed();
            Ok(Some(Report::done(volume, &done, before, total)))
        }
        Err(error) => Err(Stop::of(volume, &error)),
    }
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
