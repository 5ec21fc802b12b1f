//! The JSON of a foreign LUKS2 header as typed values, no member twice, none unknown.

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::error::ForeignError;

/// Most characters of a foreign text that a message repeats.
const MAX_TEXT: usize = 60;
/// Markers inside serde's messages, by which the two rules below find their names again.
const TWICE: &str = "member twice: ";
const NUL: &str = "NUL in a text";

/// A keyslot without its type, which is judged first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyslot {
    pub(super) key_size: u64,
    #[serde(default)]
    pub(super) priority: Option<u64>,
    pub(super) af: AntiForensic,
    pub(super) area: Area,
    pub(super) kdf: Kdf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AntiForensic {
    pub(super) r#type: String,
    pub(super) stripes: u64,
    pub(super) hash: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Area {
    pub(super) r#type: String,
    pub(super) offset: String,
    pub(super) size: String,
    pub(super) encryption: String,
    pub(super) key_size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kdf {
    pub(super) r#type: String,
    pub(super) salt: String,
    pub(super) time: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) cpus: Option<u64>,
    pub(super) hash: Option<String>,
    pub(super) iterations: Option<u64>,
}

/// The segment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    pub(super) r#type: String,
    pub(super) offset: String,
    pub(super) size: String,
    pub(super) iv_tweak: String,
    pub(super) encryption: String,
    pub(super) sector_size: u64,
    pub(super) integrity: Option<SegmentIntegrity>,
    pub(super) flags: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentIntegrity {
    pub(super) r#type: String,
    pub(super) journal_encryption: String,
    pub(super) journal_integrity: String,
}

/// The digest by which a volume key is recognised.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyDigest {
    pub(super) r#type: String,
    pub(super) keyslots: Vec<String>,
    pub(super) segments: Vec<String>,
    pub(super) hash: String,
    pub(super) iterations: u64,
    pub(super) salt: String,
    pub(super) digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) json_size: String,
    pub(super) keyslots_size: String,
    #[serde(default)]
    pub(super) flags: Vec<String>,
    pub(super) requirements: Option<Value>,
}

/// The document; what is inside is typed one by one, so that a refusal can say where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) keyslots: Map<String, Value>,
    pub(super) tokens: Map<String, Value>,
    pub(super) segments: Map<String, Value>,
    pub(super) digests: Map<String, Value>,
    pub(super) config: Map<String, Value>,
}

/// Reads the text.
pub(super) fn parse(text: &str) -> Result<Document, ForeignError> {
    let strict: Result<Strict, _> = serde_json::from_str(text);
    if let Err(error) = strict {
        return Err(named(&error.to_string()));
    }
    serde_json::from_str(text).map_err(|error| shape("the header", &error))
}

/// One member as a typed value.
pub(super) fn typed<T: DeserializeOwned>(place: &str, value: Value) -> Result<T, ForeignError> {
    serde_json::from_value(value).map_err(|error| shape(place, &error))
}

fn named(message: &str) -> ForeignError {
    if message.contains(NUL) {
        return ForeignError::Nul;
    }
    match message.split_once(TWICE) {
        Some((_, rest)) => {
            // serde adds where it stands.
            let member = rest.rsplit_once(" at line").map_or(rest, |(name, _)| name);
            ForeignError::Duplicate {
                member: clipped(member),
            }
        }
        None => ForeignError::Json {
            place: "the header".into(),
            detail: clipped(message),
        },
    }
}

fn shape(place: &str, error: &serde_json::Error) -> ForeignError {
    ForeignError::Json {
        place: clipped(place),
        detail: clipped(&error.to_string()),
    }
}

/// A foreign text, short and without anything that a terminal obeys.
pub(super) fn clipped(text: &str) -> String {
    let short: String = text.chars().take(MAX_TEXT).collect();
    short.escape_debug().to_string()
}

/// Keyslots or segments under their numbers.
pub(super) fn numbered(
    place: &str,
    members: Map<String, Value>,
) -> Result<BTreeMap<u32, Value>, ForeignError> {
    let number = |name: &String| {
        let number: Option<u32> = name.parse().ok();
        number.filter(|n| n.to_string() == *name)
    };
    let pairs = members.into_iter().map(|(name, value)| {
        number(&name)
            .map(|number| (number, value))
            .ok_or(ForeignError::Json {
                place: place.into(),
                detail: format!("{:?} is no number", clipped(&name)),
            })
    });
    pairs.collect()
}

/// Walks a document and keeps nothing: refuses members that stand twice, and texts with a NUL.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Strict, E> {
        if text.contains('\0') {
            return Err(E::custom(NUL));
        }
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        while items.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if name.contains('\0') {
                return Err(A::Error::custom(NUL));
            }
            members.next_value::<Strict>()?;
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format!("{TWICE}{twice}")));
            }
        }
        Ok(Strict)
    }
}
