//! Servers from Maven Central.

use crate::cache;
use crate::process::run;
use std::path::PathBuf;
use std::process::Command;

/// The jar of `group:artifact:version`, which has all that it needs in it.
///
/// # Panics
/// When it cannot be had.
#[must_use]
pub fn jar(coordinates: &str) -> PathBuf {
    let parts: Vec<&str> = coordinates.split(':').collect();
    let [_, artifact, version, ..] = parts.as_slice() else {
        panic!("`{coordinates}` is not group:artifact:version");
    };
    let dir = cache::once(artifact, coordinates.as_bytes(), |dir| {
        let mut copy = Command::new("mvn");
        copy.args(["--batch-mode", "--quiet"]);
        copy.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy");
        copy.arg(format!("-Dartifact={coordinates}"));
        copy.arg(format!("-DoutputDirectory={}", dir.display()));
        run(copy.current_dir(dir));
    });
    let jar = format!("{artifact}-{version}.jar");
    let path = dir.join(&jar);
    assert!(path.exists(), "{} has no {jar}", dir.display());
    path
}
