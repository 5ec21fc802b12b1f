//! The effective configuration, value by value, each with where it comes from.

use super::Config;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::Path;
use toml::{Table, Value};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The measured file.
    File,
    /// The kernel command line.
    CommandLine,
    /// A system credential.
    Credential,
    /// Nobody has said anything.
    Default,
}

impl Origin {
    /// What parameters of ours begin with there.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::CommandLine => "rd.dawnkey.",
            Self::Credential => "dawnkey.",
            Self::File | Self::Default => "",
        }
    }

    pub(super) const fn is_words(self) -> bool {
        matches!(self, Self::CommandLine)
    }

    /// As programs read it.
    const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::CommandLine => "command-line",
            Self::Credential => "credential",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::CommandLine => "kernel command line",
            Self::Credential => "system credential",
            Self::Default => "default",
        })
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its key, with its section.
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Row {
    pub(super) fn new(key: &str, value: String, origin: Origin) -> Self {
        Self {
            key: key.to_owned(),
            value,
            origin,
        }
    }
}

/// What is taken when nobody says anything; a test holds it to the readers of the sections.
pub(super) const DEFAULTS: [(&str, &str); 10] = [
    ("service.protocol", "\"dawnkey\""),
    ("service.budget_seconds", "60"),
    ("service.attempt_seconds", "10"),
    ("attestation.without_runtime_register", "\"refuse\""),
    ("tpm.tcti", "\"device:/dev/tpmrm0\""),
    (
        "tpm.event_log",
        "\"/sys/kernel/security/tpm0/binary_bios_measurements\"",
    ),
    ("tpm.attestation_key", "\"own\""),
    ("hold.enabled", "true"),
    ("failure.action", "\"power-off\""),
    ("failure.delay_seconds", "10"),
];

/// The same for each volume.
pub(super) const VOLUME_DEFAULTS: [(&str, &str); 8] = [
    ("open", "\"agent\""),
    ("integrity", "\"hmac-sha256\""),
    ("journal_mac", "false"),
    ("wipe", "\"behind\""),
    ("grow", "false"),
    ("required", "true"),
    ("adopted", "false"),
    ("wait_seconds", "10"),
];

/// The rows of a file's text: what it says, then what nobody says.
pub(super) fn rows(table: &Table) -> Vec<Row> {
    let mut rows = Vec::new();
    flatten("", table, &mut rows);
    let volumes = match table.get("volume") {
        Some(Value::Array(volumes)) => volumes.len(),
        _ => 0,
    };
    let of_volumes = (1..=volumes).flat_map(|number| {
        let keys = VOLUME_DEFAULTS.iter();
        let crypttab = rows.contains(&Row::new(
            &format!("volume[{number}].open"),
            "\"crypttab\"".to_owned(),
            Origin::File,
        ));
        keys.map(move |(key, value)| {
            let value = match *key {
                "wipe" if crypttab => "\"up-front\"",
                _ => *value,
            };
            (format!("volume[{number}].{key}"), value)
        })
    });
    let defaults = DEFAULTS
        .iter()
        .map(|(key, value)| ((*key).to_owned(), *value));
    for (key, value) in defaults.chain(of_volumes).collect::<Vec<_>>() {
        if !rows.iter().any(|row: &Row| row.key == key) {
            rows.push(Row::new(&key, value.to_owned(), Origin::Default));
        }
    }
    rows
}

fn flatten(prefix: &str, table: &Table, rows: &mut Vec<Row>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(section) => flatten(&format!("{key}."), section, rows),
            Value::Array(items) if items.iter().all(Value::is_table) && !items.is_empty() => {
                for (item, number) in items.iter().filter_map(Value::as_table).zip(1..) {
                    flatten(&format!("{key}[{number}]."), item, rows);
                }
            }
            value => rows.push(Row::new(&key, value.to_string(), Origin::File)),
        }
    }
}

impl Config {
    /// Every value with its origin, one line each, behind the file's name.
    #[must_use]
    pub fn lines(&self, file: &Path) -> Vec<String> {
        let width = |of: fn(&Row) -> usize| self.rows.iter().map(of).max().unwrap_or_default();
        let key = width(|row| row.key.chars().count());
        let value = width(|row| row.value.chars().count());
        let rows = self.rows.iter().map(|row| {
            let origin = match row.origin {
                Origin::File => file.display().to_string(),
                other => other.to_string(),
            };
            format!("{:key$}  {:value$}  {origin}", row.key, row.value)
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Outside;

    const LEAST: &str = r#"
node_name = "n"
[service]
endpoints = ["10.0.0.1:1"]
name = "k.test"
spki_sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
[attestation]
kind = "tdx"
[[volume]]
id = "5b1d1f0e-33b6-4d6e-8f2a-000000000001"
name = "state"
"#;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("agent.toml"), &Outside::default()).unwrap()
    }

    /// The text with a value put into it; sections may stand in any order.
    fn with(table: &mut Table, key: &str, value: &str) {
        let value: Table = format!("it = {value}").parse().unwrap();
        let value = value.get("it").unwrap().clone();
        let mut at = table;
        let (sections, last) = key.rsplit_once('.').unwrap_or(("", key));
        for section in sections.split('.').filter(|s| !s.is_empty()) {
            let new = || Value::Table(Table::new());
            at = match section.strip_suffix("[1]") {
                Some(list) => at.get_mut(list).unwrap().as_array_mut().unwrap()[0].as_table_mut(),
                None => at.entry(section).or_insert_with(new).as_table_mut(),
            }
            .unwrap();
        }
        at.insert(last.to_owned(), value);
    }

    #[test]
    #[allow(clippy::indexing_slicing)]
    fn what_is_shown_as_default_is_what_the_readers_take() {
        let mut least = parse(LEAST);
        let mut table: Table = LEAST.parse().unwrap();
        for row in least.rows.iter().filter(|r| r.origin == Origin::Default) {
            with(&mut table, &row.key, &row.value);
        }
        let mut written = parse(&table.to_string());
        assert!(written.rows.iter().all(|row| row.origin == Origin::File));
        let shown = |config: &mut Config| {
            let mut rows = std::mem::take(&mut config.rows);
            rows.sort_by(|a, b| a.key.cmp(&b.key));
            let pairs = rows.into_iter().map(|row| (row.key, row.value));
            pairs.collect::<Vec<_>>()
        };
        assert_eq!(shown(&mut least), shown(&mut written));
        assert_eq!(format!("{least:?}"), format!("{written:?}"));
    }
}
