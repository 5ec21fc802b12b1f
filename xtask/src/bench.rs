//! Runs the benches: times and ratios of one run, and instruction counts.

mod boot;
mod table;
mod volume;

use std::path::{Path, PathBuf};
use std::process::Command;

use dawnkey_qemu_tests::command;

use crate::build;
use crate::error::XtaskError;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// A bench of `attest/`, and what it verifies once when it is given that word.
const BENCHES: [(&str, &[&str]); 3] = [
    ("snp", &["cold", "warm", "crl"]),
    ("tdx", &["cold", "warm", "dcap-qvl"]),
    ("vtpm", &["rsa", "ecc"]),
];

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Verification of evidence, beside other verifiers, with its instructions
    Evidence,
    /// Volumes, beside cryptsetup, in one boot of a machine
    Volume,
    /// Whole boots beside clevis and systemd, with memory, sizes and what happens offline
    Boot,
    /// The key service as it ships, under a fleet that starts at once
    Service,
}

/// What is to be done.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to time
    #[arg(value_enum, default_value_t = Subject::Evidence)]
    subject: Subject,
    /// How many nodes start at once (`service`)
    #[arg(long, default_value_t = 10_000)]
    nodes: usize,
    /// Boots of each contestant (`boot`)
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Write every figure to this file as JSON (`boot`)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Use unoptimised programs: quicker to build, for work on the bench itself (`boot`)
    #[arg(long)]
    dev: bool,
}

/// Runs the benches of a subject and prints what they say.
///
/// # Errors
/// [`XtaskError::Vm`] with the words of the tool that failed.
pub fn run(
    workspace: &Workspace,
    options: &Options,
    progress: &Progress,
) -> Result<(), XtaskError> {
    match options.subject {
        Subject::Evidence => evidence(workspace, progress),
        Subject::Volume => volume::run(workspace, progress),
        Subject::Service => service(workspace, options.nodes, progress),
        Subject::Boot => boot::run(workspace, options, progress),
    }
}

/// A storm of so many nodes. Their side is built quickly: it is not what is measured.
fn service(workspace: &Workspace, nodes: usize, progress: &Progress) -> Result<(), XtaskError> {
    let service = progress.step("build the programs as they ship", || {
        build::release(workspace)
    })?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "-p", "dawnkey-host-tests", "--bench", "service"]);
    cargo.args(["--locked", "--message-format=json"]);
    let said = progress.step("build the nodes", || Ok(command::run(&mut cargo)?))?;
    let program = executable(&said, "service")
        .ok_or_else(|| XtaskError::Usage("cargo built no program for the nodes".to_owned()))?;
    let mut storm = Command::new(program);
    storm.arg(service.keyservice).arg(nodes.to_string());
    progress.say(&command::run(&mut storm)?);
    Ok(())
}

/// Every bench of `attest/`, then its instructions.
fn evidence(workspace: &Workspace, progress: &Progress) -> Result<(), XtaskError> {
    let mut counts = Vec::new();
    for (bench, words) in BENCHES {
        let program = progress.step(&format!("build bench {bench}"), || {
            program(workspace, bench)
        })?;
        progress.say(&command::run(&mut Command::new(&program))?);
        for word in words {
            counts.push((format!("{bench} {word}"), instructions(&program, word)?));
        }
    }
    let beside = progress.step("build the comparison with the sev crate", || {
        beside_sev(workspace)
    })?;
    progress.say(&command::run(&mut Command::new(&beside))?);
    counts.push(("snp sev-crate".to_owned(), instructions(&beside, "sev")?));
    progress.say("instructions, one verification");
    for (name, count) in counts {
        progress.say(&format!("{name:26} {count:>14}"));
    }
    Ok(())
}

/// Builds a bench and gives its program.
fn program(workspace: &Workspace, bench: &str) -> Result<PathBuf, XtaskError> {
    let mut cargo = workspace.cargo();
    cargo.args([
        "bench",
        "-p",
        "dawnkey-attest",
        "--all-features",
        "--locked",
        "--bench",
        bench,
    ]);
    let said = command::run(cargo.args(["--no-run", "--message-format=json"]))?;
    executable(&said, bench)
        .ok_or_else(|| XtaskError::Usage(format!("cargo built no program for bench {bench}")))
}

/// The path in Cargo's message about the program of a target.
fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    let name = format!("\"name\":\"{target}\"");
    let line = messages
        .lines()
        .rfind(|line| line.contains(&name) && line.contains("\"executable\":\""))?;
    let (_, path) = line.split_once("\"executable\":\"")?;
    path.split_once('"').map(|(path, _)| PathBuf::from(path))
}

fn beside_sev(workspace: &Workspace) -> Result<PathBuf, XtaskError> {
    let target = workspace.scratch("beside-sev");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--manifest-path"]);
    cargo
        .arg("attest/beside-sev/Cargo.toml")
        .arg("--target-dir")
        .arg(&target);
    command::run(&mut cargo)?;
    Ok(target.join("release/beside-sev"))
}

/// Instructions that one verification executes, by callgrind.
fn instructions(program: &Path, word: &str) -> Result<u64, XtaskError> {
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    callgrind.args(["--collect-atstart=no", "--toggle-collect=*measured*"]);
    callgrind.arg(program).arg(word);
    let output = callgrind
        .output()
        .map_err(crate::error::io("run valgrind"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    collected(&said)
        .filter(|_| output.status.success())
        .ok_or_else(|| XtaskError::Usage(format!("callgrind counted nothing:\n{said}")))
}

/// The number behind `Collected :`; zero means that the measured function did not run.
fn collected(said: &str) -> Option<u64> {
    let (_, number) = said.rsplit_once("Collected :")?;
    let number: u64 = number.split_whitespace().next()?.parse().ok()?;
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_count_of_callgrind() {
        let said = "==1== Events    : Ir\n==1== Collected : 1234567\n==1==\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==1== Collected : 0\n"), None);
    }

    #[test]
    fn finds_the_program_in_the_messages_of_cargo() {
        let said = "{\"target\":{\"name\":\"other\"},\"executable\":\"/x/other\"}\n\
                    {\"target\":{\"name\":\"snp\"},\"executable\":\"/x/snp-1\"}\n";
        assert_eq!(executable(said, "snp"), Some(PathBuf::from("/x/snp-1")));
        assert_eq!(executable(said, "tdx"), None);
    }
}
