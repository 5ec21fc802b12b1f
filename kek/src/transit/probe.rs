//! What the server says of the key and of what our token may do with it.

use super::Transit;
use super::answer::{Capabilities, Key};
use crate::{Finding, KekError, Operation, Probe};
use serde::Serialize;

/// Kinds of keys that authenticate associated data.
const KINDS: [&str; 2] = ["aes256-gcm96", "chacha20-poly1305"];

/// Why a key cannot be used.
pub(super) fn unusable(key: &Key) -> Option<String> {
    if !KINDS.contains(&key.kind.as_str()) {
        let wanted = KINDS.join(" or ");
        return Some(format!(
            "the key is of type {:?}; expected {wanted}",
            key.kind
        ));
    }
    let problem = "the key is a derived one; make it without derived and convergent_encryption";
    key.derived.then(|| problem.to_owned())
}

#[derive(Serialize)]
struct Paths {
    paths: Vec<String>,
}

/// Looks at key and token.
pub(super) async fn probe(transit: &Transit) -> Result<Probe, KekError> {
    let key = transit.key().await?;
    let mut findings = of_key(&key);
    let mine = Permissions::new(&transit.mount, &transit.key);
    let body = Paths {
        paths: mine.paths().map(str::to_owned).collect(),
    };
    let body = transit.json(Operation::Inspect, &body)?;
    let asked = transit
        .ask::<Capabilities>(Operation::Inspect, "sys/capabilities-self", Some(body))
        .await;
    match asked {
        Ok(capabilities) => findings.extend(mine.judge(&capabilities)),
        Err(error) => findings.push(finding(
            "permissions",
            false,
            format!("cannot be looked at: {error}"),
        )),
    }
    Ok(Probe { findings })
}

fn finding(subject: &str, good: bool, detail: String) -> Finding {
    Finding {
        subject: subject.to_owned(),
        good,
        detail,
    }
}

fn of_key(key: &Key) -> Vec<Finding> {
    let kind = match unusable(key) {
        None => finding("key type", true, key.kind.clone()),
        Some(problem) => finding("key type", false, problem),
    };
    let readable = key.exportable || key.allow_plaintext_backup;
    let flags = format!(
        "exportable = {}, allow_plaintext_backup = {}",
        key.exportable, key.allow_plaintext_backup
    );
    let read = match readable {
        false => finding("key cannot be read", true, flags),
        true => {
            let detail = format!(
                "{flags}: they cannot be taken back; make a new key without them and re-wrap"
            );
            finding("key cannot be read", false, detail)
        }
    };
    let oldest = key.min_decryption_version.max(1);
    let newest = key.latest_version;
    let state = match (key.soft_deleted, key.min_encryption_version > newest) {
        (true, _) => finding("key state", false, "soft-deleted".to_owned()),
        (false, true) => finding(
            "key state",
            false,
            "min_encryption_version is beyond the newest".to_owned(),
        ),
        (false, false) => {
            let imported = if key.imported_key { ", imported" } else { "" };
            let detail =
                format!("newest version {newest}, decrypts from version {oldest} on{imported}");
            finding("key state", true, detail)
        }
    };
    let deletable = match key.deletion_allowed {
        false => finding(
            "key cannot be deleted",
            true,
            "deletion_allowed = false".to_owned(),
        ),
        true => {
            let detail = "deletion_allowed = true: set it to false, since a deleted key takes every DEK with it";
            finding("key cannot be deleted", false, detail.to_owned())
        }
    };
    vec![kind, read, state, deletable]
}

/// Paths and what our token must, or must not, be able to do there.
struct Permissions {
    needed: Vec<(String, &'static str)>,
    unwanted: Vec<String>,
    encrypt: String,
}

impl Permissions {
    fn new(mount: &str, key: &str) -> Self {
        let encrypt = format!("{mount}/encrypt/{key}");
        Self {
            needed: vec![
                (encrypt.clone(), "update"),
                (format!("{mount}/decrypt/{key}"), "update"),
                (format!("{mount}/keys/{key}"), "read"),
            ],
            unwanted: vec![
                format!("{mount}/export/encryption-key/{key}"),
                format!("{mount}/backup/{key}"),
                format!("{mount}/keys/{key}/config"),
                format!("{mount}/keys/{key}/trim"),
            ],
            encrypt,
        }
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let needed = self.needed.iter().map(|(path, _)| path.as_str());
        needed.chain(self.unwanted.iter().map(String::as_str))
    }

    fn judge(&self, capabilities: &Capabilities) -> Vec<Finding> {
        let has = |path: &str, capability: &str| {
            let listed = capabilities.get(path).and_then(|value| value.as_array());
            let mut listed = listed.into_iter().flatten().filter_map(|one| one.as_str());
            listed.any(|one| one == capability || one == "root")
        };
        let mut findings: Vec<Finding> = Vec::new();
        for (path, capability) in &self.needed {
            let line = format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}");
            findings.push(match has(path, capability) {
                true => finding("permission", true, line),
                false => finding("permission", false, format!("missing: {line}")),
            });
        }
        if has(&self.encrypt, "create") {
            let detail = format!(
                "\"create\" on {} makes a missing key anew, with other bytes, instead of failing: leave \"update\" only",
                self.encrypt
            );
            findings.push(finding("permission too wide", false, detail));
        }
        for path in &self.unwanted {
            let may = ["create", "read", "update", "sudo"]
                .into_iter()
                .any(|one| has(path, one));
            if may {
                let detail = format!("the token may use {path}: it needs no such permission");
                findings.push(finding("permission too wide", false, detail));
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn key(change: serde_json::Value) -> Key {
        let mut key = json!({
            "type": "aes256-gcm96", "latest_version": 2, "min_decryption_version": 1,
            "exportable": false, "allow_plaintext_backup": false, "derived": false, "deletion_allowed": false,
        });
        for (field, value) in change.as_object().unwrap() {
            key[field] = value.clone();
        }
        serde_json::from_value(key).unwrap()
    }

    fn bad(findings: &[Finding]) -> Vec<&str> {
        let bad = findings.iter().filter(|finding| !finding.good);
        bad.map(|finding| finding.subject.as_str()).collect()
    }

    #[test]
    fn refuses_keys_that_bind_no_associated_data() {
        assert_eq!(unusable(&key(json!({}))), None);
        assert_eq!(unusable(&key(json!({"type": "chacha20-poly1305"}))), None);
        for change in [
            json!({"type": "aes128-gcm96"}),
            json!({"type": "rsa-4096"}),
            json!({"type": "hmac"}),
            json!({"derived": true}),
        ] {
            assert!(unusable(&key(change.clone())).is_some(), "{change}");
        }
    }

    #[test]
    fn a_key_that_can_be_read_or_deleted_is_no_good_finding() {
        assert_eq!(bad(&of_key(&key(json!({})))), Vec::<&str>::new());
        for flag in ["exportable", "allow_plaintext_backup"] {
            let findings = of_key(&key(json!({ flag: true })));
            assert_eq!(bad(&findings), ["key cannot be read"]);
        }
        let findings = of_key(&key(json!({"deletion_allowed": true})));
        assert_eq!(bad(&findings), ["key cannot be deleted"]);
        let findings = of_key(&key(json!({"soft_deleted": true})));
        assert_eq!(bad(&findings), ["key state"]);
    }

    #[test]
    fn missing_permissions_are_named_as_policy_lines_and_wide_ones_are_no_good() {
        let mine = Permissions::new("transit", "k");
        let exact = json!({
            "transit/encrypt/k": ["update"], "transit/decrypt/k": ["update"], "transit/keys/k": ["read"],
            "transit/backup/k": ["deny"],
        });
        let exact: Capabilities = serde_json::from_value(exact).unwrap();
        assert_eq!(bad(&mine.judge(&exact)), Vec::<&str>::new());

        let hostile = json!({"transit/encrypt/k": 7, "transit/decrypt/k": [null]});
        let hostile: Capabilities = serde_json::from_value(hostile).unwrap();
        let findings = mine.judge(&hostile);
        assert_eq!(bad(&findings), ["permission"; 3]);
        let line = "missing: path \"transit/decrypt/k\" { capabilities = [\"update\"] }";
        assert!(findings.iter().any(|finding| finding.detail == line));

        let root = mine.paths().map(|path| (path.to_owned(), json!(["root"])));
        let findings = mine.judge(&root.collect());
        assert_eq!(bad(&findings), ["permission too wide"; 5]);
    }
}
