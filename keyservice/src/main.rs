//! `dawnkey-keyservice`: gives volume keys to nodes whose evidence satisfies policy.

use clap::Parser;
use dawnkey_keyservice::check::{self, Found};
use dawnkey_keyservice::config::{Config, KekConfig, Start};
use dawnkey_keyservice::kek::doctor::Examination;
use dawnkey_keyservice::master::{self, Masters};
use dawnkey_keyservice::policy::lint;
use dawnkey_keyservice::server::{Service, examine, wrap_master};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Gives volume keys to nodes whose evidence satisfies policy.
///
/// SIGTERM and SIGINT finish what was begun and stop; SIGHUP reads the policy
/// and the TLS files again, and names what else has changed and needs a restart.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 stopped, or checked without a problem; 1 failed, or problems were found; 2 usage; 70 the process could not\n\
                  be hardened.\n\
                  RUST_LOG sets what is logged (default: info)."
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check configuration, policy, TLS files, credentials, and the files and directories that are written to; list every
    /// problem and exit, 1 if there is one. Needs no secret, changes nothing and disturbs no running service. Run it as the
    /// service's user.
    #[arg(long)]
    check: bool,
    /// With --check: open the store and every provider as well. Changes no record and no key; a bucket gets a scratch object,
    /// which is removed. With --master-secret-fd, or in the unit, a `cluster` provider is opened, too.
    #[arg(long, requires = "check")]
    live: bool,
    /// Open every KEK provider, prove it live, print what was found, then exit: 1 when something is not as it must be.
    #[arg(long, conflicts_with = "check")]
    doctor: bool,
    /// Wrap the master secret of --master-secret-fd with this KEK provider and print the file for master_secret =
    /// "wrapped:/path", then exit. Nothing in that file is secret.
    #[arg(long, value_name = "PROVIDER", requires = "master_secret_fd", conflicts_with_all = ["check", "doctor"])]
    wrap_master_secret: Option<String>,
    /// Read the master secret from this inherited file descriptor (master_secret = "fd" of a `cluster` provider).
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

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let config = Config::load(&arguments.config)?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    if arguments.check {
        return checked(arguments, &config, credentials.as_deref());
    }
    if let (Some(name), Some(fd)) = (&arguments.wrap_master_secret, arguments.master_secret_fd) {
        return wrap(&config.kek, name, fd);
    }
    let masters = Masters::read(&config.kek, arguments.master_secret_fd, credentials)?;
    if arguments.doctor {
        return doctor(&config.kek, masters);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(&arguments.config, Start { config, masters }))
}

fn checked(
    arguments: &Arguments,
    config: &Config,
    credentials: Option<&Path>,
) -> Result<(), Box<dyn Error>> {
    let mut found = check::check(&arguments.config, config);
    if arguments.live {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let fd = arguments.master_secret_fd;
        runtime.block_on(check::live::live(config, fd, credentials, &mut found));
    }
    tell(&found)
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // the answer to --check
fn tell(found: &Found) -> Result<(), Box<dyn Error>> {
    for finding in found.policy.iter().flat_map(lint) {
        let (key, problem) = (&finding.key, &finding.problem);
        println!("policy: {key}: {problem}; {}", finding.remedy);
    }
    for note in &found.notes {
        println!("note: {note}");
    }
    for problem in &found.problems {
        eprintln!("problem: {problem}");
    }
    match found.problems.len() {
        0 => {
            println!("everything that was looked at is usable");
            Ok(())
        }
        1 => Err("1 problem was found".into()),
        many => Err(format!("{many} problems were found").into()),
    }
}

#[allow(clippy::print_stdout)] // the answer to --wrap-master-secret
fn wrap(kek: &KekConfig, name: &str, fd: u32) -> Result<(), Box<dyn Error>> {
    let secret = master::from_fd(fd)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    print!("{}", runtime.block_on(wrap_master(kek, name, &secret))?);
    Ok(())
}

#[allow(clippy::print_stdout)] // the answer to --doctor
fn doctor(kek: &KekConfig, masters: Masters) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let all = runtime.block_on(examine(kek, masters))?;
    for one in &all {
        println!("{} ({})", one.provider, one.kind);
        for finding in &one.findings {
            let mark = if finding.good { "ok  " } else { "FAIL" };
            println!("  {mark} {}: {}", finding.subject, finding.detail);
        }
    }
    match all.iter().all(Examination::good) {
        true => Ok(()),
        false => Err("a KEK provider is not as it must be".into()),
    }
}

async fn serve(path: &Path, start: Start) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    let running = Service::start(start).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => {
                running.reload(path).await;
            }
        }
    }
    match running.shutdown().await {
        true => Ok(()),
        false => Err("stopped with work left after limits.shutdown_seconds".into()),
    }
}
