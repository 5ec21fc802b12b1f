//! Servers and clients that are Go modules: `tests/servers/go/NAME` holds `main.go`, `go.mod` and `go.sum`, and
//! in directories modules that stand in for others.

use crate::cache;
use crate::process::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program built from `tests/servers/go/NAME`, with the versions that its `go.sum` pins.
///
/// # Panics
/// When the module is incomplete or does not build.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(name);
    let mut recipe = run(Command::new("go").arg("version")).into_bytes();
    for file in files(&source) {
        let name = file.strip_prefix(&source).expect("a file of the module");
        recipe.extend(name.as_os_str().as_encoded_bytes());
        recipe.extend(fs::read(file).expect("read a file of the module"));
    }
    let dir = cache::once(name, &recipe, |dir| {
        let mut build = Command::new("go");
        build.args([
            "build",
            "-trimpath",
            "-mod=readonly",
            "-buildvcs=false", // the same program from any checkout
            "-ldflags=-s -w",
            "-o",
        ]);
        build.arg(dir.join(name)).arg(".").current_dir(&source);
        run(build.env("CGO_ENABLED", "0").env("GOFLAGS", ""));
    });
    dir.join(name)
}

/// All files below a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap_or_else(|e| panic!("read {}: {e}", directory.display()))
        .map(|entry| entry.expect("read an entry").path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect();
    found.sort();
    found
}
