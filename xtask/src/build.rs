//! The release binaries.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::operator::Binaries;

use crate::error::{XtaskError, io};
use crate::workspace::Workspace;

/// Package, binary and shipping profile of each program.
pub const PROGRAMS: [(&str, &str, &str); 3] = [
    ("dawnkey-agent", "dawnkey-agent", "node"),
    ("dawnkey-keyservice", "dawnkey-keyservice", "release"),
    ("dawnkey-cli", "dawnkey", "release"),
];

/// How the programs are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As they ship.
    Release,
    /// Quicker to build, larger and slower: for work on the harness.
    Dev,
}

/// Shipping profile and packages of each cargo call. In one call, cargo gives every program the union of the features,
/// and the agent would carry the verifier; the other two share theirs, since the tool links the service's library.
const TOGETHER: &[(&str, &[&str])] = &[
    ("node", &["dawnkey-agent"]),
    ("release", &["dawnkey-keyservice", "dawnkey-cli"]),
];

/// Builds all three.
///
/// # Errors
/// [`XtaskError::Vm`] with the compiler's words.
pub fn programs(workspace: &Workspace, profile: Profile) -> Result<Binaries, XtaskError> {
    for (shipping, packages) in TOGETHER {
        let name = match profile {
            Profile::Release => shipping,
            Profile::Dev => "dev",
        };
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--locked", "--quiet", "--profile", name]);
        cargo.args(packages.iter().flat_map(|package| ["-p", package]));
        command::run(&mut cargo)?;
    }
    if profile == Profile::Dev {
        let dir = stripped(workspace, &PROGRAMS.map(|(_, binary, _)| binary))?;
        return Ok(binaries(|binary, _| dir.join(binary)));
    }
    Ok(binaries(|binary, shipping| {
        workspace.target.join(shipping).join(binary)
    }))
}

/// The paths of the three, given binary and shipping profile.
fn binaries(path: impl Fn(&str, &str) -> PathBuf) -> Binaries {
    let [agent, keyservice, dawnkey] = PROGRAMS.map(|(_, binary, shipping)| path(binary, shipping));
    Binaries {
        agent,
        keyservice,
        dawnkey,
    }
}

/// The programs of `tests/devices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIns {
    /// `dawnkey-test-tee`, for guests.
    pub tee: PathBuf,
    /// `dawnkey-test-io`, for guests.
    pub io: PathBuf,
    /// `dawnkey-test-pki`, for the host.
    pub pki: PathBuf,
    /// `dawnkey-test-proxy`, for the host.
    pub proxy: PathBuf,
    /// The agent with the feature `adopted`, for guests.
    pub adopting: PathBuf,
}

/// Builds the stand-ins for TEE devices. They are never built as a release.
///
/// # Errors
/// As [`programs`].
pub fn stand_ins(workspace: &Workspace) -> Result<StandIns, XtaskError> {
    let mut cargo = workspace.cargo();
    command::run(cargo.args(["build", "--locked", "--quiet", "-p", "dawnkey-test-devices"]))?;
    let names = [
        "dawnkey-test-tee",
        "dawnkey-test-io",
        "dawnkey-test-pki",
        "dawnkey-test-proxy",
    ];
    let dir = stripped(workspace, &names)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--quiet", "-p", "dawnkey-agent"]);
    command::run(cargo.args(["--features", "adopted"]))?;
    let adopting = dir.join("dawnkey-agent-adopted");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&adopting);
    command::run(strip.arg(workspace.target.join("debug/dawnkey-agent")))?;
    Ok(StandIns {
        adopting,
        tee: dir.join("dawnkey-test-tee"),
        io: dir.join("dawnkey-test-io"),
        pki: dir.join("dawnkey-test-pki"),
        proxy: dir.join("dawnkey-test-proxy"),
    })
}

/// Copies without debug information: an initramfs with it would not fit the guest's memory.
fn stripped(workspace: &Workspace, binaries: &[&str]) -> Result<PathBuf, XtaskError> {
    let dir = workspace.scratch("dev");
    fs::create_dir_all(&dir).map_err(io(format!("create {}", dir.display())))?;
    for binary in binaries {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(dir.join(binary));
        command::run(strip.arg(workspace.target.join("debug").join(binary)))?;
    }
    Ok(dir)
}

/// Builds them as they ship.
///
/// # Errors
/// As [`programs`].
pub fn release(workspace: &Workspace) -> Result<Binaries, XtaskError> {
    programs(workspace, Profile::Release)
}

/// The release binaries that exist already.
pub fn existing(workspace: &Workspace) -> Vec<PathBuf> {
    PROGRAMS
        .iter()
        .map(|(_, binary, shipping)| workspace.target.join(shipping).join(binary))
        .filter(|path| path.is_file())
        .collect()
}
