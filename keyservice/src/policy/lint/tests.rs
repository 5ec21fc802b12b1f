//! What lint finds and what it leaves alone.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::policy::testing::{FILE, parse};

fn keys(text: &str) -> Vec<(Severity, String)> {
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    lint_at(&parse(text).unwrap(), now)
        .into_iter()
        .map(|f| (f.severity, f.key))
        .collect()
}

fn has(text: &str, severity: Severity, key: &str) -> bool {
    keys(text).contains(&(severity, key.to_owned()))
}

#[test]
fn good_policy_gets_a_note_on_first_come_ownership_only() {
    let note = (Severity::Note, "volume-policy.state.instances".to_owned());
    assert_eq!(keys(FILE), [note]);
}

#[test]
fn finds_policy_without_images_and_image_without_policy() {
    let none = FILE.replacen("images = [\"node-2026-11\"]", "images = []", 1);
    assert!(has(&none, Severity::Error, "volume-policy.state.images"));
    assert!(has(&none, Severity::Note, "image.node-2026-11.name"));
}

#[test]
fn finds_nodes_without_effect_and_counts_approval_as_a_choice_of_nodes() {
    let node = format!(
        "\n[[node]]\nname = \"a\"\nek_sha256 = \"{}\"\n",
        "00".repeat(32)
    );
    let unused = format!("{FILE}{node}");
    assert!(has(&unused, Severity::Note, "node.a"));
    let named = unused.replacen("instances = []", "nodes = [\"a\"]", 1);
    assert!(!has(&named, Severity::Note, "node.a"));
    let first_come = "volume-policy.state.instances";
    assert!(!has(&named, Severity::Note, first_come));
    let approved = FILE.replacen("instances = []", "approval = \"required\"", 1);
    assert!(!has(&approved, Severity::Note, first_come));
}

#[test]
fn finds_missing_roots() {
    let none = FILE.replacen("[\"ek-ca.pem\"]", "[]", 1);
    assert!(has(&none, Severity::Error, "roots.tpm_ek"));
}

#[test]
fn finds_free_and_unmeasured_pcrs() {
    let free = FILE.replacen("\n11 = \"", "\n13 = \"", 1);
    assert!(has(
        &free,
        Severity::Warning,
        "image.node-2026-11.pcrs.sha256"
    ));
    let zero = FILE.replacen(&"4".repeat(64), &"0".repeat(64), 1);
    assert!(has(
        &zero,
        Severity::Warning,
        "image.node-2026-11.pcrs.sha256.4"
    ));
}

#[test]
fn finds_weak_rules() {
    let second = FILE.replacen("pcrs_pre_cap = [15]", "pcrs_pre_cap = []", 1);
    assert!(has(
        &second,
        Severity::Warning,
        "volume-policy.state.pcrs_pre_cap"
    ));
    let warn = FILE.replacen("rollback = \"refuse\"", "rollback = \"warn\"", 1);
    assert!(has(
        &warn,
        Severity::Warning,
        "volume-policy.state.rollback"
    ));
    let tee = FILE.replacen("\"hypervisor\"", "\"tee\"", 1);
    assert!(has(&tee, Severity::Error, "volume-policy.state.platforms"));
}

#[test]
fn finds_what_weakens_a_volume_after_its_unlock() {
    let with = |rules: &str| FILE.replacen("instances = []", rules, 1);
    let warned = |rules: &str, field: &str| {
        let key = format!("volume-policy.state.{field}");
        assert!(has(&with(rules), Severity::Warning, &key), "{rules}");
    };
    warned("reopen = \"allow\"", "reopen");
    warned("adopted = true", "adopted");
    warned("on_loss = \"suspend\"", "on_loss");
    let noted = |rules: &str, field: &str| {
        let key = format!("volume-policy.state.{field}");
        assert!(has(&with(rules), Severity::Note, &key), "{rules}");
    };
    noted("hold = true\non_loss = \"nothing\"", "on_loss");
    noted("owner = \"any\"", "hold");
    let held = keys(&with("owner = \"any\"\nhold = true"));
    assert!(held.iter().all(|(_, key)| !key.ends_with(".hold")));
}

#[test]
fn finds_expired_and_expiring_images() {
    let key = "image.node-2026-11.valid_until";
    let ended = FILE.replacen("2027-11-01", "2026-11-01", 1);
    assert!(has(&ended, Severity::Warning, key));
    let soon = FILE.replacen("2027-11-01", "2026-12-01", 1);
    assert!(has(&soon, Severity::Note, key));
}

#[test]
fn finds_images_with_the_same_values() {
    let (_, image) = FILE.split_once("[[image]]").unwrap();
    let (image, _) = image.split_once("[volume-policy").unwrap();
    let twin = image.replacen("node-2026-11", "other", 1);
    let text = format!("{FILE}\n[[image]]{twin}");
    assert!(has(&text, Severity::Note, "image.other.pcrs.sha256"));
}
