//! Compares a parsed document with the template, member by member, and names the first difference.
//!
//! What may vary is a list of paths; everything else has one value. The walk follows the template, so its depth and
//! work are the template's, whatever the document is.

use serde_json::{Map, Value};

use super::error::CopyError;

/// Values that differ from header to header. Numbers among them are of 32 bits.
const FREE: &[&str] = &[
    "tokens.0.version", // judged afterwards, under its own name
    "tokens.0.epoch",
    "tokens.0.generation",
    "tokens.0.layout.journal_sections",
    "tokens.0.layout.data_sectors",
    "tokens.0.layout.ready_sectors",
    "tokens.0.nonce",
    "tokens.0.volume_key",
    "digests.0.salt",
    "digests.0.digest",
];

/// Most characters of a foreign name that a message repeats.
const MAX_NAME: usize = 40;

/// Compares `found` with `template`.
pub(super) fn compare(template: &Value, found: &Value) -> Result<(), CopyError> {
    walk("", template, found)
}

fn walk(path: &str, template: &Value, found: &Value) -> Result<(), CopyError> {
    match (template, found) {
        (Value::Object(template), Value::Object(found)) => members(path, template, found),
        (Value::Array(template), Value::Array(found)) => {
            if template.len() != found.len() {
                return Err(value(path));
            }
            let mut pairs = template.iter().zip(found).enumerate();
            pairs.try_for_each(|(at, (template, found))| {
                walk(&join(path, &at.to_string()), template, found)
            })
        }
        (Value::String(_), Value::String(_)) if FREE.contains(&path) => Ok(()),
        (Value::Number(_), Value::Number(number)) if FREE.contains(&path) => {
            let fits = number.as_u64().is_some_and(|n| u32::try_from(n).is_ok());
            if fits { Ok(()) } else { Err(value(path)) }
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => {
            if template == found {
                Ok(())
            } else {
                Err(value(path))
            }
        }
        (template, found) => Err(CopyError::Type {
            field: path.to_owned(),
            found: kind(found),
            wanted: kind(template),
        }),
    }
}

fn members(
    path: &str,
    template: &Map<String, Value>,
    found: &Map<String, Value>,
) -> Result<(), CopyError> {
    for (name, wanted) in template {
        let path = join(path, name);
        match found.get(name) {
            Some(found) => walk(&path, wanted, found)?,
            None => return Err(CopyError::Missing { field: path }),
        }
    }
    match found.keys().find(|name| !template.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(CopyError::Unknown {
            field: join(path, &clipped(name)),
        }),
    }
}

fn value(path: &str) -> CopyError {
    CopyError::Value {
        field: path.to_owned(),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A name of the document's choosing, short and without control characters.
pub(super) fn clipped(name: &str) -> String {
    name.chars()
        .take(MAX_NAME)
        .flat_map(char::escape_debug)
        .collect()
}

/// A value's type, for messages.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
