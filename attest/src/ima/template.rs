//! Templates: which fields an entry has, and how a field is written in both forms of the list.

use crate::reader::{ReadError, Reader};

/// Most bytes of one field; a kernel's largest (`buf`, `modsig`) have a few KiB.
pub(super) const MAX_FIELD: usize = 1 << 20;
/// Most fields of one template.
const MAX_FIELDS: usize = 16;
/// File name of the oldest template: padded to this length when hashed (`IMA_EVENT_NAME_LEN_MAX + 1`).
pub(super) const OLD_NAME: usize = 256;
/// Digest of the oldest template: SHA-1 or MD5, in 20 bytes.
pub(super) const OLD_DIGEST: usize = 20;

/// How numbers of a binary list are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Little-endian: machines that are, and those with `ima_canonical_fmt`.
    Little,
    /// Big-endian.
    Big,
}

impl Order {
    pub(super) fn u32(self, reader: &mut Reader<'_>, what: &'static str) -> Result<u32, ReadError> {
        match self {
            Self::Little => reader.u32_le(what),
            Self::Big => reader.u32_be(what),
        }
    }

    fn number(self, bytes: &[u8]) -> Option<u64> {
        if !(1..=8).contains(&bytes.len()) {
            return None;
        }
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(match self {
            Self::Little => bytes.iter().rev().fold(0, add),
            Self::Big => bytes.iter().fold(0, add),
        })
    }
}

/// A field, by the kernel's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Identifier, as `d-ng`.
    pub id: &'static str,
    /// How it is written.
    pub format: Format,
}

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Bare digest.
    Digest,
    /// `algorithm:`, NUL, digest.
    NamedDigest,
    /// `type:algorithm:`, NUL, digest.
    TypedDigest,
    /// Text with a NUL.
    Text,
    /// Bytes, hex in the ASCII form.
    Bytes,
    /// Number of this many bytes, decimal in the ASCII form.
    Number(usize),
}

const fn field(id: &'static str, format: Format) -> Field {
    Field { id, format }
}

/// Every field a kernel knows.
const FIELDS: [Field; 16] = [
    field("d", Format::Digest),
    field("n", Format::Text),
    field("d-ng", Format::NamedDigest),
    field("d-ngv2", Format::TypedDigest),
    field("n-ng", Format::Text),
    field("sig", Format::Bytes),
    field("buf", Format::Bytes),
    field("d-modsig", Format::NamedDigest),
    field("modsig", Format::Bytes),
    field("evmsig", Format::Bytes),
    field("xattrnames", Format::Text),
    field("xattrlengths", Format::Bytes),
    field("xattrvalues", Format::Bytes),
    field("iuid", Format::Number(4)),
    field("igid", Format::Number(4)),
    field("imode", Format::Number(2)),
];

/// What an entry's template name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// `ima`, the oldest: bare digest and name, padded when hashed.
    Old,
    /// Fields, each after its length.
    Fields(Vec<Field>),
    /// Not known here.
    Unknown,
}

impl Template {
    /// The template of a name, or of a list of field identifiers, which custom templates have in place of a name.
    pub fn of(name: &str) -> Self {
        let fields = match name {
            "ima" => return Self::Old,
            "ima-ng" => "d-ng|n-ng",
            "ima-sig" => "d-ng|n-ng|sig",
            "ima-ngv2" => "d-ngv2|n-ng",
            "ima-sigv2" => "d-ngv2|n-ng|sig",
            "ima-buf" => "d-ng|n-ng|buf",
            "ima-modsig" => "d-ng|n-ng|sig|d-modsig|modsig",
            "evm-sig" => "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode",
            custom => custom,
        };
        let known = |id: &str| FIELDS.iter().find(|field| field.id == id);
        let fields: Option<Vec<Field>> = fields
            .split('|')
            .take(MAX_FIELDS + 1)
            .map(|id| known(id).copied())
            .collect();
        match fields {
            Some(fields) if fields.len() <= MAX_FIELDS => Self::Fields(fields),
            _ => Self::Unknown,
        }
    }
}

/// A decoded field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Digest of a file or buffer.
    Digest {
        /// `ima` or `verity`, where the template tells.
        kind: Option<String>,
        /// Algorithm as the kernel names it, where the template tells.
        algorithm: Option<String>,
        /// The digest; zeros in a violation.
        bytes: Vec<u8>,
    },
    /// Text without its NUL; what is not UTF-8 is replaced.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A number.
    Number(u64),
}

impl Field {
    /// Decodes the field from its bytes; `None` where they do not have its form.
    pub(super) fn decode(&self, bytes: &[u8], order: Order) -> Option<Value> {
        match self.format {
            Format::Digest => Some(Value::Digest {
                kind: None,
                algorithm: None,
                bytes: bytes.to_vec(),
            }),
            Format::NamedDigest | Format::TypedDigest => digest(bytes, self.format),
            Format::Text => {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                Some(Value::Text(String::from_utf8_lossy(text).into_owned()))
            }
            Format::Bytes => Some(Value::Bytes(bytes.to_vec())),
            Format::Number(_) => order.number(bytes).map(Value::Number),
        }
    }

    /// The field's bytes, from its ASCII form.
    pub(super) fn bytes_of_ascii(self, text: &[u8]) -> Result<Vec<u8>, &'static str> {
        let unhex = |text: &[u8]| hex::decode(text).map_err(|_| "a field is not hex");
        match self.format {
            Format::Digest | Format::Bytes => unhex(text),
            Format::Text if text.is_empty() && self.id != "n-ng" => Ok(Vec::new()),
            Format::Text => Ok([text, &[0]].concat()),
            Format::NamedDigest | Format::TypedDigest if text.is_empty() => Ok(Vec::new()),
            Format::NamedDigest | Format::TypedDigest => {
                let colon = text.iter().rposition(|byte| *byte == b':');
                let at = colon.ok_or("a digest is not algorithm:hex")? + 1;
                let (prefix, digits) = text.split_at_checked(at).unwrap_or_default();
                Ok([prefix, &[0], &unhex(digits)?].concat())
            }
            Format::Number(_) if text.is_empty() => Ok(Vec::new()),
            Format::Number(size) => {
                let number = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
                let number: u32 = number.ok_or("a field is not a decimal number")?;
                Ok(number.to_le_bytes().into_iter().take(size).collect())
            }
        }
    }
}

fn digest(bytes: &[u8], format: Format) -> Option<Value> {
    if bytes.is_empty() {
        return Some(Value::Digest {
            kind: None,
            algorithm: None,
            bytes: Vec::new(),
        });
    }
    let nul = bytes.iter().position(|byte| *byte == 0)?;
    let (prefix, digest) = bytes.split_at_checked(nul)?;
    let prefix = std::str::from_utf8(prefix).ok()?.strip_suffix(':')?;
    let (kind, algorithm) = match format {
        Format::TypedDigest => prefix
            .split_once(':')
            .map(|(kind, rest)| (Some(kind), rest))?,
        _ => (None, prefix),
    };
    Some(Value::Digest {
        kind: kind.map(str::to_owned),
        algorithm: Some(algorithm.to_owned()),
        bytes: digest.get(1..)?.to_vec(),
    })
}
