//! `dawnkey master-secret give` with the real binary against a service that waits for its master secret.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::scene::{MASTER, Scene};
use common::{Run, dawnkey_with, edit};
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

fn operator(dir: &Path) {
    let file = dir.join("keyservice.toml");
    edit(
        &file,
        "master_secret = \"fd\"",
        "master_secret = \"operator\"",
    );
}

fn give(scene: &Scene, input: &str) -> Run {
    dawnkey_with(
        scene.dir.path(),
        &["master-secret", "give", "--json"],
        input,
    )
}

#[test]
fn the_secret_is_taken_once_and_another_one_never() {
    let scene = Scene::start_waiting(operator);
    let refused = scene.run(&["volume", "create", "--policy", "state"]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("master secret"), "{}", refused.err);
    let status = scene.json(&["kek", "status"]);
    assert_eq!(status["providers"][0]["readiness"], "waiting");
    let secret = hex::encode(MASTER);
    let none = give(&scene, "too short");
    assert_eq!(none.code, 5, "{}", none.err);
    let first = give(&scene, &secret);
    assert_eq!(first.code, 0, "{}", first.err);
    let json: serde_json::Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(
        (&json["already"], &json["first"]),
        (&false.into(), &true.into())
    );
    scene.create();
    let again = give(&scene, &format!("{secret}\n"));
    let json: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(json["already"], true);
    let wrong = "77".repeat(32);
    let other = give(&scene, &wrong);
    assert_eq!(other.code, 4, "{}", other.err);
    for run in [&first, &again, &other] {
        for shown in [&secret, &wrong] {
            assert!(!run.out.contains(shown) && !run.err.contains(shown));
        }
    }
    assert_eq!(
        scene.json(&["kek", "status"])["providers"][0]["readiness"],
        "ready"
    );
}

#[test]
fn a_terminal_does_not_show_the_secret_and_is_left_as_it_was() {
    use nix::sys::termios::tcgetattr;
    let scene = Scene::start_waiting(operator);
    let terminal = openpty(None, None).unwrap();
    let before = tcgetattr(&terminal.slave).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dawnkey"))
        .args(["master-secret", "give"])
        .current_dir(scene.dir.path())
        .env_remove("DAWNKEY_PROFILE")
        .stdin(Stdio::from(File::from(terminal.slave.try_clone().unwrap())))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = Vec::new();
    let mut err = child.stderr.take().unwrap();
    while !asked.ends_with(b"(not shown):\n") {
        let mut byte = [0];
        assert_eq!(err.read(&mut byte).unwrap(), 1, "it ended without asking");
        asked.extend_from_slice(&byte);
    }
    // What was typed before echo is off would be shown and thrown away.
    while tcgetattr(&terminal.slave).unwrap() == before {
        std::thread::yield_now();
    }
    let mut keyboard = File::from(terminal.master);
    let line = format!("{}\n", hex::encode(MASTER));
    keyboard.write_all(line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(tcgetattr(&terminal.slave).unwrap() == before);
    // Something of ours behind it, so that reading ends.
    keyboard.write_all(b"end\n").unwrap();
    let mut shown = Vec::new();
    while !shown.ends_with(b"end\r\n") {
        let mut byte = [0];
        keyboard.read_exact(&mut byte).unwrap();
        shown.push(byte[0]);
    }
    assert_eq!(String::from_utf8(shown).unwrap(), "\r\nend\r\n");
    assert_eq!(
        scene.json(&["kek", "status"])["providers"][0]["readiness"],
        "ready"
    );
}
