//! `dawnkey-agent`: one unlock in the initramfs, then exit. `docs/agent.md` is its manual.

use clap::{Parser, Subcommand};
use dawnkey_agent::command;
use dawnkey_agent::config::Texts;
use dawnkey_agent::report::{self, Event, Report};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Examples:
  dawnkey-agent                                          unlock as /etc/dawnkey/agent.toml says
  dawnkey-agent --config state.toml --json unlock        the same with a report on standard output
  dawnkey-agent hold state                               renew the lease of /dev/mapper/state
  dawnkey-agent secret -- dawnkey-keyservice --config ks.toml --master-secret-fd 0
                                                         get the secret of this node and hand it to a key service
  dawnkey-agent wipe state                               finish the wipe behind it
  dawnkey-agent wait state --for open                    until a volume of /etc/crypttab is open and confirmed
  dawnkey-agent --json status                            what is mapped, as one object
  dawnkey-agent diagnose                                 why the key service cannot be had
  dawnkey-agent config show                              every value with where it comes from
  dawnkey-agent --config state.toml check                read the configuration, touch nothing

Events go to standard error, one per line: `dawnkey-agent: NAME key=value …`.

Exit codes:
   0  every volume is mapped, the boot is closed, the service has confirmed
   2  command line or configuration
  10  evidence: no such TEE or TPM here, or it did not give it
  20  transport: no answer from the key service within the budget
  21  refused by the key service
  22  not the pinned service, no TLS 1.3, or an answer that is none of the protocol's
  30  the volume was not found, or its disk or header cannot be used
  31  the volume could not be opened or made
  40  the boot could not be closed; every mapping is closed again
  41  the service did not confirm; every mapping is closed again
  42  policy wants the lease held, and this node cannot
  50  as 0, but a volume with `required = false` or a swap device is missing
  60  the lease was lost (hold)
  61  there is no lease to hold, or another holder has it
  70  the process could not be protected (memory lock, core dumps, randomness)";

/// Unlocks the node's volumes with keys from the attested key service, then exits.
#[derive(Parser)]
#[command(name = "dawnkey-agent", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Configuration file, part of the measured image; without it /etc/dawnkey/NAME.toml, NAME being what `rd.dawnkey.config=`
    /// on the kernel command line says, or else `agent`.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print one JSON object to standard output at the end.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Unlock the volumes (the default).
    Unlock,
    /// Renew the lease of a mapped volume until asked to end or until it is lost; for dawnkey-hold@NAME.service.
    Hold {
        /// The volume's name under /dev/mapper.
        name: String,
    },
    /// Finish the wipe behind a mapped volume and let its filesystem grow; for dawnkey-wipe@NAME.service.
    Wipe {
        /// The volume's name under /dev/mapper.
        name: String,
    },
    /// Take a mapping that nothing uses away, with its key in the kernel.
    Close {
        /// The volume's name under /dev/mapper.
        name: String,
    },
    /// Open a volume again in a running system: an attested call that policy must allow (`reopen = "allow"`).
    Reopen {
        /// The volume's name under /dev/mapper.
        name: String,
    },
    /// Wait until a volume of /etc/crypttab has come so far; for systemd-cryptsetup@NAME.service.
    Wait {
        /// The volume's name under /dev/mapper. One that the configuration does not give to crypttab is not waited for.
        name: String,
        /// What is waited for.
        #[arg(long = "for", value_enum)]
        until: command::Until,
    },
    /// Get the node's secret, then become a command that finds it on standard input, 32 bytes.
    ///
    /// For a key service in a confidential VM that has its master secret from a peer.
    Secret {
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Show which volumes are mapped, how much of each can be used, and who holds it.
    Status,
    /// In an initramfs: end a boot whose volumes could not be had, as `[failure]` of the configuration says.
    Failed,
    /// Say why the key service cannot be had: links, addresses, routes, DNS, clock, TCP, TLS, and what to do.
    Diagnose,
    /// Show the effective configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Read the configuration and say whether it is good; touches no device and no network.
    Check,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every value with where it comes from: file, kernel command line, system credential, default.
    Show,
}

fn main() -> ExitCode {
    // The command line holds no secret, and --help must work for everybody: only what follows is protected.
    let Arguments {
        config,
        json,
        command,
    } = Arguments::parse();
    let config = config
        .or_else(|| Texts::here().file())
        .unwrap_or_else(|| "/etc/dawnkey/agent.toml".into());
    let ended = match command.unwrap_or(Command::Unlock) {
        Command::Failed => command::failed(&config),
        Command::Config(ConfigCommand::Show) => command::config_show(&config, json),
        Command::Diagnose => command::diagnose(&config, json),
        Command::Check => command::check(&config),
        Command::Unlock => command::unlock(&config, json),
        Command::Hold { name } => command::hold(&config, &name),
        Command::Wipe { name } => command::wipe(&config, &name),
        Command::Close { name } => command::close(&config, &name),
        Command::Reopen { name } => command::reopen(&config, &name),
        Command::Wait { name, until } => command::wait(&config, &name, until),
        Command::Secret { command } => command::secret(&config, &command),
        Command::Status => command::status(&config, json),
    };
    let stop = match ended {
        Ok(code) => return ExitCode::from(code),
        Err(stop) => stop,
    };
    let code = stop.failure.exit_code;
    report::console(&Event::Failed {
        step: stop.failure.step,
        exit_code: code,
        problem: stop.failure.message.clone(),
    });
    if json {
        let report = stop.report.map(|report| *report);
        report::json(&report.unwrap_or_else(|| Report::failed(stop.failure)));
    }
    ExitCode::from(code)
}
