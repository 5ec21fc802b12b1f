//! Servers from the npm registry.

use crate::cache;
use crate::process::run;
use std::path::PathBuf;
use std::process::Command;

/// The directory of the programs of these pinned packages (`name@version`).
#[must_use]
pub fn programs(name: &str, packages: &[&str]) -> PathBuf {
    let recipe = packages.join("\n");
    let dir = cache::once(name, recipe.as_bytes(), |dir| {
        let mut install = Command::new("npm");
        install.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--prefix",
        ]);
        run(install.arg(dir).args(packages));
    });
    dir.join("node_modules/.bin")
}
