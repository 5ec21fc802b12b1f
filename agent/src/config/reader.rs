//! Takes typed fields out of a TOML table; what is left over at the end was not known.

use super::ConfigError;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use toml::{Table, Value};

/// One table of the file, from which known fields are taken one after the other.
pub(super) struct Section<'a> {
    file: &'a Path,
    /// With its dot, `service.`; empty for the file's top.
    prefix: String,
    table: Table,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The top of the file.
    pub(super) fn root(file: &'a Path, table: Table) -> Self {
        Self {
            file,
            prefix: String::new(),
            table,
            known: Vec::new(),
        }
    }

    /// A section that must be there.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        right: &'static str,
    ) -> Result<Self, ConfigError> {
        match self.take(key) {
            Some(value) => self.nested(key, value),
            None => Err(self.missing(key, right)),
        }
    }

    /// A section that may be absent and is empty then.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Result<Self, ConfigError> {
        let value = self.take(key).unwrap_or_else(|| Table::new().into());
        self.nested(key, value)
    }

    /// A section that may be absent.
    pub(super) fn section_if_given(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Self>, ConfigError> {
        self.take(key)
            .map(|value| self.nested(key, value))
            .transpose()
    }

    /// A list of sections; counted from 1 in errors.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        count: RangeInclusive<usize>,
        right: &'static str,
    ) -> Result<Vec<Self>, ConfigError> {
        let items = match self.take(key) {
            None if *count.start() == 0 => Vec::new(),
            None => return Err(self.missing(key, right)),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.invalid(key, other.type_str(), right)),
        };
        if !count.contains(&items.len()) {
            return Err(self.invalid(key, &format!("{} sections", items.len()), right));
        }
        let numbered = items.into_iter().zip(1..);
        numbered
            .map(|(value, number)| self.nested(&format!("{key}[{number}]"), value))
            .collect()
    }

    /// Whether a field is given and has not been taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn nested(&self, key: &str, value: Value) -> Result<Self, ConfigError> {
        let Value::Table(table) = value else {
            return Err(self.invalid(key, value.type_str(), "a section"));
        };
        Ok(Self {
            file: self.file,
            prefix: format!("{}{key}.", self.prefix),
            table,
            known: Vec::new(),
        })
    }

    /// A text that must be there and that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        right: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        self.optional(key, right, parse)?
            .ok_or_else(|| self.missing(key, right))
    }

    /// A text that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        right: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => match parse(&text) {
                Some(value) => Ok(Some(value)),
                None => Err(self.invalid(key, &text, right)),
            },
            Some(other) => Err(self.invalid(key, other.type_str(), right)),
        }
    }

    /// A list of texts that may be absent.
    pub(super) fn optional_texts(
        &mut self,
        key: &'static str,
        right: &'static str,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(self.invalid(key, other.type_str(), right)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(self.invalid(key, other.type_str(), right)),
        }
    }

    /// Yes or no; `default` when absent.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.take(key) {
            None => Ok(default),
            Some(Value::Boolean(given)) => Ok(given),
            Some(other) => Err(self.invalid(key, other.type_str(), "true or false")),
        }
    }

    /// A number of bytes with its unit, which may be absent.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        right: &'static str,
    ) -> Result<Option<u64>, ConfigError> {
        self.optional(key, right, |text| {
            bytes(text).filter(|size| range.contains(size))
        })
    }

    /// A small number that may be absent.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u8>,
        right: &'static str,
    ) -> Result<Option<u8>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Integer(given)) => match u8::try_from(given) {
                Ok(number) if range.contains(&number) => Ok(Some(number)),
                _ => Err(self.invalid(key, &given.to_string(), right)),
            },
            Some(other) => Err(self.invalid(key, other.type_str(), right)),
        }
    }

    /// A time of 1 second to one day; `default` seconds when absent.
    pub(super) fn seconds(
        &mut self,
        key: &'static str,
        default: u64,
        right: &'static str,
    ) -> Result<Duration, ConfigError> {
        let given = self.seconds_if_given(key, right)?;
        Ok(given.unwrap_or(Duration::from_secs(default)))
    }

    /// A number of seconds that may be absent.
    pub(super) fn seconds_if_given(
        &mut self,
        key: &'static str,
        right: &'static str,
    ) -> Result<Option<Duration>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Integer(given)) => match u64::try_from(given) {
                Ok(seconds @ 1..=86_400) => Ok(Some(Duration::from_secs(seconds))),
                _ => Err(self.invalid(key, &given.to_string(), right)),
            },
            Some(other) => Err(self.invalid(key, other.type_str(), right)),
        }
    }

    /// Every field has been taken; one that is left is not known.
    pub(super) fn end(self) -> Result<(), ConfigError> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => Err(ConfigError::UnknownField {
                file: self.file.into(),
                key: format!("{}{key}", self.prefix),
                known: self.known.join(", "),
            }),
        }
    }

    /// An error about a field's value.
    pub(super) fn invalid(&self, key: &str, found: &str, right: &'static str) -> ConfigError {
        ConfigError::Invalid {
            file: self.file.into(),
            key: format!("{}{key}", self.prefix),
            found: format!("{found:?}"),
            right,
        }
    }

    /// An error about a field that is not there.
    pub(super) fn missing(&self, key: &str, right: &'static str) -> ConfigError {
        ConfigError::MissingField {
            file: self.file.into(),
            key: format!("{}{key}", self.prefix),
            right,
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }
}

/// `128 MiB`, with or without the space.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text.strip_prefix(digits)?.trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
