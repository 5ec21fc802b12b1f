//! `[[data_key]]`: callers, prefixes and lengths.

use super::{PolicyError, value};
use crate::data_keys::{MAX_LENGTH, is_id_text};
use crate::policy::DataKeyRule;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    caller: String,
    prefix: String,
    max_length: u32,
    #[serde(default)]
    create: bool,
}

const FORMS: &str = "must be \"spiffe://…\", \"dns:NAME\" or \"cn:NAME\" of a client certificate, or \"system:serviceaccount:NAMESPACE:NAME\"";

pub(super) fn read_all(path: &Path, entries: Vec<Entry>) -> Result<Vec<DataKeyRule>, PolicyError> {
    let numbered = entries.into_iter().enumerate();
    numbered.map(|(n, entry)| read(path, n, entry)).collect()
}

fn read(path: &Path, n: usize, entry: Entry) -> Result<DataKeyRule, PolicyError> {
    let key = |field: &str| format!("data_key.{n}.{field}");
    if !is_caller(&entry.caller) {
        return Err(value(path, key("caller"), FORMS));
    }
    if !is_id_text(&entry.prefix) {
        let problem = "may have letters, digits, `.`, `_`, `:` and `-`, as ids";
        return Err(value(path, key("prefix"), problem));
    }
    if entry.max_length == 0 || entry.max_length > MAX_LENGTH {
        let problem = format!("must be 1 to {MAX_LENGTH} bytes");
        return Err(value(path, key("max_length"), problem));
    }
    Ok(DataKeyRule {
        caller: entry.caller,
        prefix: entry.prefix,
        max_length: entry.max_length,
        create: entry.create,
    })
}

fn is_caller(text: &str) -> bool {
    let rest = |prefix| {
        text.strip_prefix(prefix)
            .filter(|rest: &&str| !rest.is_empty())
    };
    if let Some(account) = rest("system:serviceaccount:") {
        let mut parts = account.split(':');
        let named = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
        return named(parts.next()) && named(parts.next()) && parts.next().is_none();
    }
    ["spiffe://", "dns:", "cn:"]
        .into_iter()
        .any(|form| rest(form).is_some())
}
