//! One record as an object: JSON that names its own place, so that an object copied to another key is found out.

use crate::{MAX_VALUE_BYTES, StoreError, Table};
use object_store::UpdateVersion;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const FORMAT: &str = "dawnkey-record-1";
/// Largest object that is read: a value in hex, and room for the other fields.
pub(super) const MAX_OBJECT_BYTES: u64 = 2 * MAX_VALUE_BYTES as u64 + 4096;

/// A record, or what is left of one that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope {
    format: String,
    table: String,
    #[serde(with = "hex::serde")]
    key: Vec<u8>,
    /// Grows with every change, removal and creation of the key.
    pub version: u64,
    /// Names this write: whoever finds it knows that it arrived.
    pub write: Uuid,
    /// Absent once the record is removed.
    #[serde(with = "value")]
    pub value: Option<Vec<u8>>,
}

/// An envelope as it was found, with what a conditional write over it must name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub envelope: Envelope,
    pub at: UpdateVersion,
}

impl Envelope {
    pub(super) fn new(table: Table, key: &[u8], version: u64, value: Option<Vec<u8>>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            table: table.name().to_owned(),
            key: key.to_vec(),
            version,
            write: Uuid::new_v4(),
            value,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|e| StoreError::Unavailable(e.to_string()))
    }

    /// Reads an envelope that stands at this table and key.
    pub(super) fn decode(table: Table, key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |problem: String| StoreError::Damaged {
            table,
            key: hex::encode(key),
            problem,
        };
        let read: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if read.format != FORMAT {
            return Err(damaged(format!("its format is not `{FORMAT}`")));
        }
        if read.table != table.name() || read.key != key {
            let place = format!("it is record {} of another place", hex::encode(&read.key));
            return Err(damaged(place));
        }
        if read.version == 0 {
            return Err(damaged("its version is 0; the first is 1".into()));
        }
        Ok(read)
    }
}

/// `prefix/table/` with the key in hex and `.json`.
pub(super) fn location(prefix: &Path, table: Table, key: &[u8]) -> Path {
    directory(prefix, table).join(format!("{}.json", hex::encode(key)))
}

/// `prefix/table`.
pub(super) fn directory(prefix: &Path, table: Table) -> Path {
    prefix.clone().join(table.name())
}

/// The key that an object's name says; the name itself when it says none.
pub(super) fn key(location: &Path) -> Result<Vec<u8>, String> {
    let name = location.filename().unwrap_or_default();
    let key = name.strip_suffix(".json").map(hex::decode);
    key.and_then(Result::ok).ok_or_else(|| name.to_owned())
}

mod value {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(bytes) => to.serialize_str(&hex::encode(bytes)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let decoded = text.map(hex::decode).transpose();
        decoded.map_err(serde::de::Error::custom)
    }
}
