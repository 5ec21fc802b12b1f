//! What the tests of the real binary share.
#![allow(dead_code, clippy::unwrap_used)] // every test binary uses another part

pub mod scene;

use std::path::Path;
use std::process::{Command, Stdio};

/// What a run of `dawnkey` left behind.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs `dawnkey` in `dir` with nothing on standard input.
pub fn dawnkey(dir: &Path, args: &[&str]) -> Run {
    dawnkey_with(dir, args, "")
}

/// Runs `dawnkey` in `dir` with `input` on standard input.
pub fn dawnkey_with(dir: &Path, args: &[&str], input: &str) -> Run {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_dawnkey"))
        .args(args)
        .current_dir(dir)
        .env_remove("DAWNKEY_PROFILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that asks nothing may end before it is written to.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `dawnkey init` into `dir`/`name` for localhost.
pub fn init(dir: &Path, name: &str) {
    let run = dawnkey(
        dir,
        &["init", name, "--name", "localhost", "--name", "127.0.0.1"],
    );
    assert_eq!(run.code, 0, "{}", run.err);
}

/// `dawnkey init` into `dir` with some CA as the TPMs' CA, so that keys may enrol.
pub fn dawnkey_init_with_roots(dir: &Path) {
    init(dir, "other");
    let args = [
        "init",
        ".",
        "--name",
        "localhost",
        "--tpm-ek-root",
        "other/ca.pem",
    ];
    let run = dawnkey(dir, &args);
    assert_eq!(run.code, 0, "{}", run.err);
}

/// Points the profile of an initialised directory at another endpoint.
pub fn point_at(set: &Path, endpoint: &str) {
    edit(&set.join("admin.toml"), "127.0.0.1:8444", endpoint);
}

/// Replaces a text that must be there.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}
