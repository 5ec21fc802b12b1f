//! Rules of the source tree that no compiler checks.
//!
//! Each rule is a function from text to findings, with tests that show it failing. A finding names
//! the place, what was found and what would be right.

mod fakes;
mod layers;
mod reasons;
mod sizes;
mod unsafety;
mod words;

use std::fs;
use std::process::Command;

use dawnkey_qemu_tests::command;

use crate::build;
use crate::error::{XtaskError, io};
use crate::workspace::Workspace;

/// A file of the tree as rules see it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path relative to the root.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Checks all rules; gives how many were checked.
///
/// # Errors
/// [`XtaskError::Tidy`] with every finding of every rule.
pub fn run(workspace: &Workspace) -> Result<usize, XtaskError> {
    let sources = sources(workspace)?;
    let manifest = workspace.root.join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).map_err(io("read Cargo.toml"))?;
    let metadata = command::run(workspace.cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ]))?;
    let mut findings = layers::check(&metadata)?;
    findings.extend(sizes::check(&sources));
    findings.extend(unsafety::check(&sources));
    findings.extend(reasons::check(&manifest));
    findings.extend(words::check(&sources));
    for (package, _, _) in build::PROGRAMS {
        let tree = command::run(workspace.cargo().args([
            "tree", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}|{f}",
        ]))?;
        findings.extend(fakes::check_features(package, &tree));
    }
    let names = fakes::names(&sources);
    for binary in build::existing(workspace) {
        let bytes = fs::read(&binary).map_err(io(format!("read {}", binary.display())))?;
        findings.extend(fakes::check_binary(
            &binary.display().to_string(),
            &bytes,
            &names,
        ));
    }
    if findings.is_empty() {
        Ok(6)
    } else {
        Err(XtaskError::Tidy(findings))
    }
}

/// Text files that belong to the tree: tracked, or new and not ignored.
fn sources(workspace: &Workspace) -> Result<Vec<Source>, XtaskError> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-co", "--exclude-standard", "-z"])
        .current_dir(&workspace.root);
    let list = command::run(&mut git)?;
    let mut sources = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let Ok(bytes) = fs::read(workspace.root.join(path)) else {
            // Listed but deleted in the working tree.
            continue;
        };
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}
