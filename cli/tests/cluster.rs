//! `dawnkey node`, `kubernetes-kms`, `cluster` and secrets, against a real key service.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::edit;
use common::scene::Scene;
use serde_json::json;

#[test]
fn nodes_are_decided_about_before_they_come() {
    let scene = Scene::start();
    assert_eq!(scene.json(&["node", "list"]), json!([]));
    let node = "0b".repeat(32);
    for (verb, standing) in [
        ("approve", "approved"),
        ("revoke", "revoked"),
        ("deny", "denied"),
    ] {
        let decided = scene.json(&["node", verb, &node]);
        assert_eq!(decided["standing"], standing);
        let list = scene.json(&["node", "list"]);
        assert_eq!(list, json!([decided]));
        assert_eq!(list[0]["kind"], "");
    }
    assert_eq!(scene.json(&["node", "list", "--pending"]), json!([]));
    let table = scene.run(&["node", "list"]).out;
    assert!(table.contains(&format!("{node}  denied")), "{table}");
    let run = scene.run(&["node", "approve", "no-hex"]);
    assert_eq!((run.code, run.out.as_str()), (4, ""));
}

#[test]
fn the_plugins_key_is_made_once_and_rotated() {
    let scene = Scene::start();
    assert_eq!(scene.run(&["kubernetes-kms", "show"]).code, 4);
    assert_eq!(scene.run(&["kubernetes-kms", "rotate"]).code, 4);
    let made = scene.json(&["kubernetes-kms", "create"]);
    let first = made["key_id"].as_str().unwrap();
    assert!(first.starts_with("dawnkey/") && first.ends_with("/1"));
    assert_eq!(scene.run(&["kubernetes-kms", "create"]).code, 4);
    let rotated = scene.json(&["kubernetes-kms", "rotate"]);
    assert_eq!(rotated["old_key_ids"], json!([first]));
    assert_eq!(scene.json(&["kubernetes-kms", "show"]), rotated);
    let text = scene.run(&["kubernetes-kms", "show"]).out;
    assert!(text.contains(&format!("old key ids  {first}\n")), "{text}");
}

#[test]
fn the_clusters_id_depends_on_its_salt_and_stays() {
    let scene = Scene::start();
    let id = |salt: &str| scene.json(&["cluster", "id", "--salt", salt]);
    let one = id("0102");
    assert_eq!(one["cluster_id"].as_str().unwrap().len(), 64);
    assert_eq!(one["pcr15"].as_str().unwrap().len(), 64);
    assert_eq!(one["rtmr2"].as_str().unwrap().len(), 96);
    assert_eq!(id("0102"), one);
    assert_ne!(id("0103")["cluster_id"], one["cluster_id"]);
    assert_eq!(scene.run(&["cluster", "id", "--salt", "x"]).code, 2);
    assert_eq!(scene.run(&["cluster", "id", "--salt", ""]).code, 2);
}

#[test]
fn a_secret_is_an_adopted_volume_from_its_first_moment() {
    let adopted = "rollback = \"refuse\"\nadopted = true";
    let scene = Scene::start_with(|dir| {
        edit(&dir.join("policy.toml"), "rollback = \"refuse\"", adopted);
    });
    let made = scene.json(&["volume", "create", "--policy", "state", "--secret"]);
    assert_eq!(
        (&made["state"], &made["kind"]),
        (&json!("active"), &json!("adopted"))
    );
    assert_eq!(made["generation"], 1);
}

#[test]
fn a_secret_under_a_policy_that_has_none_leaves_no_volume_for_the_taking() {
    let scene = Scene::start();
    let run = scene.run(&["volume", "create", "--policy", "state", "--secret"]);
    assert_eq!(run.code, 4, "{}", run.err);
    let list = scene.json(&["volume", "list"]);
    assert_eq!(list[0]["state"], "retired");
}
