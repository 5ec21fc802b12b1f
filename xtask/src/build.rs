//! The release binaries.

use std::path::PathBuf;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::operator::Binaries;

use crate::error::XtaskError;
use crate::workspace::Workspace;

/// Package and binary of each program.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("dawnkey-agent", "dawnkey-agent"),
    ("dawnkey-keyservice", "dawnkey-keyservice"),
    ("dawnkey-cli", "dawnkey"),
];

/// Builds all three. One cargo call each: together, cargo would give every program the union of the
/// features, and the agent would carry the verifier.
///
/// # Errors
/// [`XtaskError::Vm`] with the compiler's words.
pub fn release(workspace: &Workspace) -> Result<Binaries, XtaskError> {
    for (package, _) in PROGRAMS {
        command::run(workspace.cargo().args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "-p",
            package,
        ]))?;
    }
    let path = |name: &str| workspace.target.join("release").join(name);
    Ok(Binaries {
        agent: path("dawnkey-agent"),
        keyservice: path("dawnkey-keyservice"),
        dawnkey: path("dawnkey"),
    })
}

/// The release binaries that exist already.
pub fn existing(workspace: &Workspace) -> Vec<PathBuf> {
    PROGRAMS
        .iter()
        .map(|(_, binary)| workspace.target.join("release").join(binary))
        .filter(|path| path.is_file())
        .collect()
}
