//! The agent's manual, `docs/agent.md`, and its `--help` say the same as its sources.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// What stands between two marks of a text.
fn part<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).expect(from);
    rest.split_once(to).map_or(rest, |(part, _)| part)
}

/// Names in quotes to which an arm of a `match` leads.
fn arms(source: &str) -> BTreeSet<&str> {
    let arms = source.split("=> \"").skip(1);
    arms.filter_map(|arm| arm.split('"').next()).collect()
}

#[test]
fn every_event_has_its_row() {
    let source = read("agent/src/report/event.rs");
    let names = arms(part(&source, "fn name(", "\n    }\n"));
    assert!(names.len() > 40, "{names:?}");
    let manual = read("docs/agent.md");
    let missing: Vec<_> = names
        .into_iter()
        .filter(|name| !manual.contains(&format!("| `{name}` |")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/agent.md has no row for {missing:?}"
    );
}

#[test]
fn every_step_of_a_failure_is_listed() {
    let source = read("agent/src/error.rs");
    let steps = arms(part(&source, "fn step(", "\n    }\n"));
    assert!(steps.len() > 8, "{steps:?}");
    let manual = read("docs/agent.md");
    let listed = part(&manual, "A `step` is one of", "\n\n");
    let missing: Vec<_> = steps
        .into_iter()
        .filter(|step| !listed.contains(&format!("`{step}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/agent.md does not list {missing:?}"
    );
}

#[test]
fn help_and_manual_have_the_same_exit_codes() {
    let agent = Command::new(env!("CARGO_BIN_EXE_dawnkey-agent"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(agent.stdout).unwrap();
    let codes = part(&help, "Exit codes:", "\n\n").lines();
    let of_help: BTreeSet<u8> = codes
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    let manual = read("docs/agent.md");
    let rows = part(&manual, "## Exit codes", "\n## ").lines();
    let of_manual: BTreeSet<u8> = rows
        .filter_map(|row| row.strip_prefix("| ")?.split(" |").next()?.parse().ok())
        .collect();
    assert!(of_help.len() > 12, "{help}");
    assert_eq!(of_help, of_manual);
}
