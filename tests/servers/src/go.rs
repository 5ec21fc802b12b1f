//! Servers and clients that are Go modules: `tests/servers/go/NAME` holds `main.go`, `go.mod` and `go.sum`.

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
    let mut files: Vec<PathBuf> = fs::read_dir(&source)
        .unwrap_or_else(|e| panic!("read {}: {e}", source.display()))
        .map(|entry| entry.expect("read an entry").path())
        .collect();
    files.sort();
    let mut recipe = run(Command::new("go").arg("version")).into_bytes();
    for file in &files {
        recipe.extend(file.file_name().unwrap_or_default().as_encoded_bytes());
        recipe.extend(fs::read(file).expect("read a file of the module"));
    }
    let dir = cache::once(name, &recipe, |dir| {
        let mut build = Command::new("go");
        build.args([
            "build",
            "-trimpath",
            "-mod=readonly",
            "-ldflags=-s -w",
            "-o",
        ]);
        build.arg(dir.join(name)).arg(".").current_dir(&source);
        run(build.env("CGO_ENABLED", "0").env("GOFLAGS", ""));
    });
    dir.join(name)
}
