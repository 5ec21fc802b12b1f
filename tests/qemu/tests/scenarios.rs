//! docs/scenarios.md names tests that exist, and every world of the hostile networks.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// The text of all Rust files below a directory.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(&path).unwrap();
        }
    }
}

fn page() -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scenarios.md");
    fs::read_to_string(docs).unwrap()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut code = String::new();
    for dir in ["tests", "agent/tests"] {
        sources(&root.join(dir), &mut code);
    }
    let page = page();
    let mut rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        if last == "test" {
            continue;
        }
        let name = last.trim_matches('`');
        assert!(
            code.contains(&format!("fn {name}(")),
            "no test `{name}`: {row}"
        );
        rows += 1;
    }
    assert!(rows > 0, "the page has no rows");
}

#[test]
fn every_world_of_the_networks_is_on_the_page() {
    let table = include_str!("vm/worlds/table.rs");
    let page = page();
    let worlds: Vec<&str> = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("name: \""))
        .filter_map(|rest| rest.strip_suffix("\","))
        .collect();
    assert!(worlds.len() > 5, "{worlds:?}");
    for world in worlds {
        assert!(page.contains(&format!("`{world}`")), "{world}");
    }
}
