//! The JSON part of a header: typed, written in one way only, read strictly.
//!
//! Reading first names what a known attack would change (keyslot, segment, cipher, token, flags, requirements, cost),
//! then parses into the types below, which know no further field. That the text is the only one for its values is
//! checked by the caller, who writes it anew and compares all bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::CopyError;
use super::{shape, suspects};
use crate::geometry::{
    BLOCK_BYTES, DATA_OFFSET_BYTES, INTERLEAVE_SECTORS, Integrity, Layout, MIN_DISK_BYTES,
};

/// Version of the token's format.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the seal's nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds to the volume key.
pub const TAG_OF_SEAL_BYTES: usize = 16;
/// Bytes of the key digest's salt, and of the digest.
pub const DIGEST_BYTES: usize = 32;
/// PBKDF2 iterations of the key digest: the least that LUKS2 knows. The key is 128 random bits or more, so that no
/// amount of iterations would add anything.
pub const DIGEST_ITERATIONS: u32 = 1000;

/// `journal_integrity` of a segment whose journal has a MAC.
const JOURNAL_MAC: &str = "hmac(sha256)";
/// `journal_encryption`, and `journal_integrity` of a journal without a MAC.
const NO_JOURNAL: &str = "none";
const KEYSLOTS_BYTES: u64 = DATA_OFFSET_BYTES - 2 * super::binary::COPY_BYTES as u64;

/// The values of the JSON part that vary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Epoch of the DEK.
    pub epoch: u32,
    /// Generation.
    pub generation: u64,
    /// Layout.
    pub layout: Layout,
    /// Salt of the key digest.
    pub salt: [u8; DIGEST_BYTES],
    /// PBKDF2-HMAC-SHA256 of the volume key.
    pub digest: [u8; DIGEST_BYTES],
    /// Nonce of the seal.
    pub nonce: [u8; NONCE_BYTES],
    /// Sealed volume key with its tag.
    pub sealed: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keyslots: Nothing,
    tokens: Only<Token>,
    segments: Only<Segment>,
    digests: Only<KeyDigest>,
    config: Config,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Only<T> {
    #[serde(rename = "0")]
    only: T,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    r#type: String,
    keyslots: [String; 0],
    version: u32,
    epoch: u32,
    generation: String,
    layout: TokenLayout,
    nonce: String,
    volume_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenLayout {
    tag_bytes: u64,
    journal_sections: u32,
    interleave_sectors: u64,
    data_sectors: String,
    ready_sectors: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    r#type: String,
    offset: String,
    size: String,
    iv_tweak: String,
    encryption: String,
    sector_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    integrity: Option<SegmentIntegrity>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentIntegrity {
    r#type: String,
    journal_encryption: String,
    journal_integrity: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDigest {
    r#type: String,
    keyslots: [String; 0],
    segments: [String; 1],
    hash: String,
    iterations: u32,
    salt: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    json_size: String,
    keyslots_size: String,
}

/// Writes the text. `None` only if serialisation itself fails, which these types give no cause for.
pub(super) fn encode(fields: &Fields) -> Option<String> {
    serde_json::to_string(&document(fields)).ok()
}

fn document(fields: &Fields) -> Document {
    let layout = &fields.layout;
    let integrity = layout.integrity();
    let interleave_sectors = if integrity.has_tags() {
        INTERLEAVE_SECTORS
    } else {
        0
    };
    Document {
        keyslots: Nothing {},
        tokens: Only {
            only: Token {
                r#type: "dawnkey".into(),
                keyslots: [],
                version: FORMAT_VERSION,
                epoch: fields.epoch,
                generation: fields.generation.to_string(),
                layout: TokenLayout {
                    tag_bytes: integrity.tag_bytes(),
                    journal_sections: layout.journal_sections(),
                    interleave_sectors,
                    data_sectors: layout.data_sectors().to_string(),
                    ready_sectors: layout.ready_sectors().to_string(),
                },
                nonce: BASE64.encode(fields.nonce),
                volume_key: BASE64.encode(&fields.sealed),
            },
        },
        segments: Only {
            only: segment(layout),
        },
        digests: Only {
            only: KeyDigest {
                r#type: "pbkdf2".into(),
                keyslots: [],
                segments: ["0".into()],
                hash: "sha256".into(),
                iterations: DIGEST_ITERATIONS,
                salt: BASE64.encode(fields.salt),
                digest: BASE64.encode(fields.digest),
            },
        },
        config: Config {
            json_size: super::binary::JSON_BYTES.to_string(),
            keyslots_size: KEYSLOTS_BYTES.to_string(),
        },
    }
}

/// The one segment of a volume.
pub(super) fn segment(layout: &Layout) -> Segment {
    let integrity = layout.integrity();
    let journal_integrity = if layout.journal_mac() {
        JOURNAL_MAC
    } else {
        NO_JOURNAL
    };
    Segment {
        r#type: "crypt".into(),
        offset: DATA_OFFSET_BYTES.to_string(),
        size: "dynamic".into(),
        iv_tweak: "0".into(),
        encryption: integrity.encryption().into(),
        sector_size: BLOCK_BYTES,
        integrity: integrity.luks_type().map(|kind| SegmentIntegrity {
            r#type: kind.into(),
            journal_encryption: NO_JOURNAL.into(),
            journal_integrity: journal_integrity.into(),
        }),
    }
}

/// How a document says that blocks and journal are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Protection {
    integrity: Integrity,
    journal_mac: bool,
}

impl Protection {
    fn of(encryption: &str, journal_integrity: Option<&str>) -> Option<Self> {
        Integrity::of_segment(encryption, journal_integrity.is_some()).map(|integrity| Self {
            integrity,
            journal_mac: journal_integrity == Some(JOURNAL_MAC),
        })
    }
}

/// A document of this kind: its pinned values are those of every header.
fn template(kind: Protection) -> Option<Value> {
    let layout = Layout::for_disk(kind.integrity, MIN_DISK_BYTES).ok()?;
    let sample = Fields {
        epoch: 1,
        generation: 1,
        layout: layout.with_journal_mac(kind.journal_mac),
        salt: [0; DIGEST_BYTES],
        digest: [0; DIGEST_BYTES],
        nonce: [0; NONCE_BYTES],
        sealed: Vec::new(),
    };
    serde_json::to_value(document(&sample)).ok()
}

/// Reads the JSON area of a copy.
pub(super) fn parse(area: &[u8]) -> Result<Fields, CopyError> {
    let end = area
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(CopyError::JsonArea)?;
    let text = area.get(..end).ok_or(CopyError::JsonArea)?;
    let text = std::str::from_utf8(text).map_err(|_| CopyError::JsonArea)?;
    let document: Value =
        serde_json::from_str(text).map_err(|error| CopyError::Json(error.to_string()))?;
    suspects::name(&document)?;
    let text_at = |pointer| document.pointer(pointer).and_then(Value::as_str);
    let journal = document
        .pointer("/segments/0/integrity")
        .map(|_| text_at("/segments/0/integrity/journal_integrity").unwrap_or(NO_JOURNAL));
    let encryption = text_at("/segments/0/encryption").unwrap_or_default();
    // Another cipher, and one that is no text, was named already.
    let kind = Protection::of(encryption, journal).ok_or_else(|| value("segments.0.encryption"))?;
    let template = template(kind).ok_or(CopyError::JsonArea)?;
    shape::compare(&template, &document)?;
    // Members, types and ranges are right; only a member that stands twice was invisible so far.
    let typed = serde_json::from_str(text);
    fields(typed.map_err(|error| CopyError::Duplicate(shape::clipped(&error.to_string())))?)
}

fn fields(document: Document) -> Result<Fields, CopyError> {
    let token = document.tokens.only;
    if token.version != FORMAT_VERSION {
        return Err(CopyError::FormatVersion {
            found: token.version,
        });
    }
    let segment = document.segments.only;
    let journal = segment
        .integrity
        .as_ref()
        .map(|integrity| integrity.journal_integrity.as_str());
    let kind = Protection::of(&segment.encryption, journal)
        .ok_or_else(|| value("segments.0.encryption"))?;
    let integrity = kind.integrity;
    let generation = decimal(&token.generation, "tokens.0.generation")?;
    if generation == 0 {
        return Err(value("tokens.0.generation"));
    }
    if token.epoch == 0 {
        return Err(value("tokens.0.epoch"));
    }
    let data_sectors = decimal(&token.layout.data_sectors, "tokens.0.layout.data_sectors")?;
    let ready_sectors = decimal(&token.layout.ready_sectors, "tokens.0.layout.ready_sectors")?;
    let layout = Layout::from_parts(integrity, data_sectors, token.layout.journal_sections)?
        .with_ready(ready_sectors)?
        .with_journal_mac(kind.journal_mac);
    let digest = document.digests.only;
    let sealed = bytes(&token.volume_key, "tokens.0.volume_key")?;
    if sealed.len() != integrity.volume_key_bytes() + TAG_OF_SEAL_BYTES {
        return Err(value("tokens.0.volume_key"));
    }
    Ok(Fields {
        epoch: token.epoch,
        generation,
        layout,
        salt: array(&digest.salt, "digests.0.salt")?,
        digest: array(&digest.digest, "digests.0.digest")?,
        nonce: array(&token.nonce, "tokens.0.nonce")?,
        sealed,
    })
}

fn value(field: &str) -> CopyError {
    CopyError::Value {
        field: field.to_owned(),
    }
}

fn decimal(text: &str, field: &'static str) -> Result<u64, CopyError> {
    text.parse().map_err(|_| value(field))
}

fn bytes(text: &str, field: &'static str) -> Result<Vec<u8>, CopyError> {
    BASE64.decode(text).map_err(|_| value(field))
}

fn array<const N: usize>(text: &str, field: &'static str) -> Result<[u8; N], CopyError> {
    bytes(text, field)?.try_into().map_err(|_| value(field))
}
