//! Every command line of `dawnkey` in the documentation is one that the program has.

use crate::args::Cli;
use clap::Parser;
use clap::error::ErrorKind;
use std::path::{Path, PathBuf};

/// README, changelog and all of `docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    for dir in ["docs", "docs/kms"] {
        let entries = std::fs::read_dir(root.join(dir)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    pages
}

/// The words of a command up to what is the shell's; nothing for a line that is no command of ours.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start().trim_start_matches("$ ");
    let rest = line.strip_prefix("dawnkey ")?;
    // `help` takes any command, and labels of key derivations begin with the project's name too.
    if rest.starts_with("help") || rest.ends_with(" v1") {
        return None;
    }
    let ours = line.split(['|', '>', ';', '#', '<']).next()?;
    // What a page explains beside a command stands behind two spaces.
    let ours = ours.trim().split("   ").next()?;
    Some(ours.split_whitespace().map(str::to_owned).collect())
}

/// Commands in code blocks, and in quotes that are a whole command.
fn commands(page: &str) -> Vec<Vec<String>> {
    let quoted = page.split('`').skip(1).step_by(2);
    let indented = page.lines().filter(|line| line.starts_with("    "));
    let quoted = quoted.filter(|text| !text.contains('\n'));
    quoted.chain(indented).filter_map(words).collect()
}

/// What the program does not know of a command. Values that stand for others and options that are left out are the
/// page's right.
fn unknown(words: &[String]) -> Option<String> {
    let error = Cli::try_parse_from(words).err()?;
    match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument => Some(error.to_string()),
        _ => None,
    }
}

#[test]
fn every_command_in_the_documentation_exists() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for words in commands(&text) {
            // `a|b` and `…` stand for several.
            if words.iter().any(|word| word.contains(['…', '\\', '·'])) {
                continue;
            }
            seen += 1;
            if let Some(error) = unknown(&words) {
                wrong.push(format!("{}: {}: {error}", page.display(), words.join(" ")));
            }
        }
    }
    assert!(
        seen > 60,
        "{seen} commands found: does the search still work?"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All sources of the workspace's programs, as one text.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = ["agent", "attest", "cli", "dm", "keyservice", "proto"];
    let mut left: Vec<PathBuf> = crates.map(|c| root.join(c).join("src")).into();
    let mut text = String::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
    text
}

/// First cells of a page's tables, without those that are links or headings.
fn first_cells(page: &str) -> impl Iterator<Item = &str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split_once(" |").map(|(cell, _)| cell))
}

#[test]
fn every_message_that_troubleshooting_quotes_is_one_of_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let (_, texts) = page.split_once("## Nobody answers").unwrap();
    let sources = sources();
    let codes = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let quoted: Vec<&str> = first_cells(texts)
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(quoted.len() > 20, "{quoted:?}");
    for text in quoted {
        let is_code = codes.contains(&format!("| `{text}` |"));
        assert!(is_code || sources.contains(text), "nothing prints {text:?}");
    }
}

#[test]
fn every_exit_code_of_the_agent_has_its_line_in_troubleshooting() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let agent = std::fs::read_to_string(docs.join("agent.md")).unwrap();
    let (_, codes) = agent.split_once("## Exit codes").unwrap();
    let page = std::fs::read_to_string(docs.join("troubleshooting.md")).unwrap();
    let codes: Vec<&str> = first_cells(codes)
        .filter(|cell| cell.parse::<u8>().is_ok_and(|code| code != 0))
        .collect();
    assert!(codes.len() >= 12, "{codes:?}");
    for code in codes {
        assert!(
            first_cells(&page).any(|cell| cell == code),
            "exit code {code}"
        );
    }
}

#[test]
fn a_command_or_an_option_that_does_not_exist_is_found() {
    for line in ["    dawnkey volume make", "see `dawnkey status --colour`"] {
        let found = commands(line);
        assert_eq!(found.len(), 1, "{line}");
        assert!(unknown(&found[0]).is_some(), "{line}");
    }
    assert_eq!(
        commands("the dawnkey command, `dawnkey` alone"),
        Vec::<Vec<String>>::new()
    );
}
