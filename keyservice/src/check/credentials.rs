//! Credentials that the configuration names, whichever section they stand in: each is read as a login would read it.

use super::Found;
use dawnkey_secret::credential::{CredentialError, CredentialSource};
use std::path::Path;
use toml::{Table, Value};

/// Reads every `file:…` and `systemd:…` of the configuration file.
pub(super) fn check(path: &Path, found: &mut Found) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // That it parses was found out when the configuration was loaded.
    let table = text.parse::<Table>().unwrap_or_default();
    walk(&Value::Table(table), "", found);
}

fn walk(value: &Value, key: &str, found: &mut Found) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                walk(value, &key, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| walk(value, key, found)),
        Value::String(text) if text.starts_with("file:") || text.starts_with("systemd:") => {
            read(text, key, found);
        }
        _ => {}
    }
}

fn read(text: &str, key: &str, found: &mut Found) {
    let Ok(source) = text.parse::<CredentialSource>() else {
        return;
    };
    match source.read() {
        Ok(_) => {}
        Err(CredentialError::NoDirectory(name)) => found.note(format!(
            "`{key}`: the credential `{name}` is handed to the unit by systemd and was not looked at; run the check in the unit"
        )),
        Err(error) => found.problem(format!("`{key}`: {error}")),
    }
}
