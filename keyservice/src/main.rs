//! `dawnkey-keyservice`: gives volume keys to nodes whose evidence satisfies policy.

use clap::Parser;
use dawnkey_keyservice::config::{Config, Start};
use dawnkey_keyservice::master;
use dawnkey_keyservice::policy::lint;
use dawnkey_keyservice::server::{Service, check};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Gives volume keys to nodes whose evidence satisfies policy.
///
/// SIGTERM and SIGINT finish what was begun and stop; SIGHUP reads the policy file again.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 stopped or checked, 1 failed, 2 usage, 70 the process could not be hardened.\n\
                  RUST_LOG sets what is logged (default: info)."
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check configuration, policy and TLS files, then exit; needs no secret and disturbs no running service.
    #[arg(long)]
    check: bool,
    /// Read the master secret from this inherited file descriptor (kek.cluster.master_secret = "fd").
    #[arg(long, value_name = "N")]
    master_secret_fd: Option<u32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    if let Err(error) = dawnkey_secret::process::harden() {
        fail(&error);
        return ExitCode::from(70);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn log() {
    use tracing_subscriber::filter::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

#[allow(clippy::print_stderr)] // the one place that speaks to the operator before and after the log
fn fail(error: &dyn Error) {
    eprintln!("dawnkey-keyservice: {error}");
}

#[allow(clippy::print_stdout)] // the answer to --check
fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        let policy = check(&config)?;
        println!("configuration, policy and TLS files are usable");
        for finding in lint(&policy) {
            println!(
                "policy: {}: {}; {}",
                finding.key, finding.problem, finding.remedy
            );
        }
        return Ok(());
    }
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let source = &config.kek.master_secret;
    let master_secret = master::read(source, arguments.master_secret_fd, credentials)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(Start {
        config,
        master_secret,
    }))
}

async fn serve(start: Start) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    let running = Service::start(start).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => {
                // What is wrong is in the log, and the policy in force stays.
                let _ = running.reload_policy().await;
            }
        }
    }
    match running.shutdown().await {
        true => Ok(()),
        false => Err("stopped with work left after limits.shutdown_seconds".into()),
    }
}
