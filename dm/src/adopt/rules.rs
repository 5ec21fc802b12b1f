//! What is taken of a foreign header's JSON: the allow-list, with its bounds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use std::collections::BTreeMap;

use super::cost::{self, ITERATIONS};
use super::error::ForeignError;
use super::json::{self, Config, Document, KeyDigest, Keyslot, Segment, clipped};
use crate::geometry::Integrity;
use crate::header::REGION_BYTES;

/// The only cipher, of the data and of keyslots.
const CIPHER: &str = "aes-xts-plain64";
/// Most bytes of header and keyslots together; cryptsetup makes 16 MiB.
pub(super) const MAX_AREA_BYTES: u64 = 32 << 20;
/// Bytes of the JSON part of a copy.
const JSON_BYTES: u64 = 12_288;
/// Most keyslots and tokens that LUKS2 knows.
const MAX_OBJECTS: usize = 32;
/// Persistent flags that change how fast a volume is, not what protects it.
const FLAGS: &[&str] = &[
    "allow-discards",
    "same-cpu-crypt",
    "submit-from-crypt-cpus",
    "no-read-workqueue",
    "no-write-workqueue",
];
/// Copies of the key material in a keyslot area.
const STRIPES: u64 = 4000;
/// Units that areas and the segment begin on.
const ALIGNMENT: u64 = 4096;

/// What a header that is taken says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) integrity: Integrity,
    pub(super) data_offset: u64,
    pub(super) sector_size: u64,
    pub(super) area_bytes: u64,
    pub(super) keyslots: Vec<u32>,
    pub(super) tokens: Vec<String>,
}

/// Judges a document for a disk of `disk_bytes`.
pub(super) fn judge(document: Document, disk_bytes: u64) -> Result<Rules, ForeignError> {
    let area_bytes = config(json::typed("config", Value::Object(document.config))?)?;
    let (integrity, data_offset, sector_size) = segment(document.segments, area_bytes, disk_bytes)?;
    let keyslots = keyslots(document.keyslots, integrity, area_bytes)?;
    digest(document.digests, &keyslots)?;
    Ok(Rules {
        integrity,
        data_offset,
        sector_size,
        area_bytes,
        keyslots,
        tokens: tokens(&document.tokens)?,
    })
}

/// Gives the bytes of header and keyslot region.
fn config(config: Config) -> Result<u64, ForeignError> {
    if let Some(requirements) = config.requirements {
        let text = requirements.to_string();
        if text.contains("reencrypt") {
            let place = "config.requirements".into();
            return Err(ForeignError::Reencryption { place });
        }
        return Err(ForeignError::Requirements);
    }
    if let Some(flag) = config.flags.iter().find(|f| !FLAGS.contains(&f.as_str())) {
        return Err(ForeignError::Flag {
            flag: clipped(flag),
        });
    }
    let refuse = |field, found, wanted| ForeignError::Config {
        field,
        found,
        wanted,
    };
    let json_size = decimal(&config.json_size).unwrap_or(0);
    if json_size != JSON_BYTES {
        return Err(refuse("json_size", json_size, "12288"));
    }
    let keyslots = decimal(&config.keyslots_size).unwrap_or(0);
    let area = keyslots.saturating_add(REGION_BYTES as u64);
    if keyslots == 0 || !keyslots.is_multiple_of(ALIGNMENT) || area > MAX_AREA_BYTES {
        let wanted = "a multiple of 4096, so that header and keyslots take at most 32 MiB";
        return Err(refuse("keyslots_size", keyslots, wanted));
    }
    Ok(area)
}

/// Gives integrity, data offset and sector size.
fn segment(
    segments: serde_json::Map<String, Value>,
    area_bytes: u64,
    disk_bytes: u64,
) -> Result<(Integrity, u64, u64), ForeignError> {
    let count = segments.len();
    let mut numbered = json::numbered("segments", segments)?;
    let only = numbered.remove(&0).filter(|_| count == 1);
    let only = only.ok_or(ForeignError::Segments { count })?;
    let segment: Segment = json::typed("segment 0", only)?;
    let refuse = |field, found: &str, wanted| ForeignError::Segment {
        field,
        found: clipped(found),
        wanted,
    };
    if segment.flags.is_some() {
        let place = "segment flags".into();
        return Err(ForeignError::Reencryption { place });
    }
    if segment.r#type != "crypt" {
        return Err(refuse("type", &segment.r#type, "crypt"));
    }
    cipher(&segment.encryption)?;
    if segment.iv_tweak != "0" {
        return Err(refuse("iv_tweak", &segment.iv_tweak, "0"));
    }
    if segment.size != "dynamic" {
        return Err(refuse("size", &segment.size, "dynamic"));
    }
    if ![512, 4096].contains(&segment.sector_size) {
        let found = segment.sector_size.to_string();
        return Err(refuse("sector_size", &found, "512 or 4096"));
    }
    let offset = decimal(&segment.offset).unwrap_or(0);
    if offset < area_bytes || offset >= disk_bytes || !offset.is_multiple_of(ALIGNMENT) {
        return Err(ForeignError::SegmentOffset { offset, disk_bytes });
    }
    Ok((integrity(&segment)?, offset, segment.sector_size))
}

fn cipher(found: &str) -> Result<(), ForeignError> {
    if found == CIPHER {
        return Ok(());
    }
    let found = clipped(found);
    if is_null(&found) {
        return Err(ForeignError::NullCipher { found });
    }
    Err(ForeignError::Cipher { found })
}

/// `cipher_null`, `null`, and what stands for no cipher at all.
fn is_null(cipher: &str) -> bool {
    cipher.is_empty() || cipher.contains("null") || cipher.starts_with("none")
}

fn integrity(segment: &Segment) -> Result<Integrity, ForeignError> {
    let Some(integrity) = &segment.integrity else {
        return Ok(Integrity::None);
    };
    let refuse = |field, found: &str, wanted| ForeignError::Segment {
        field,
        found: clipped(found),
        wanted,
    };
    if integrity.r#type != "hmac(sha256)" {
        return Err(refuse(
            "integrity",
            &integrity.r#type,
            "hmac(sha256) or absent",
        ));
    }
    for (field, found) in [
        ("journal_encryption", &integrity.journal_encryption),
        ("journal_integrity", &integrity.journal_integrity),
    ] {
        if found != "none" {
            return Err(refuse(field, found, "none"));
        }
    }
    Ok(Integrity::HmacSha256)
}

/// Judges every keyslot and gives their numbers.
fn keyslots(
    keyslots: serde_json::Map<String, Value>,
    integrity: Integrity,
    area_bytes: u64,
) -> Result<Vec<u32>, ForeignError> {
    let count = keyslots.len();
    if !(1..=MAX_OBJECTS).contains(&count) {
        return Err(ForeignError::Keyslots { count });
    }
    let mut areas: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
    let mut slots = Vec::with_capacity(count);
    for (slot, mut value) in json::numbered("keyslots", keyslots)? {
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if kind == "reencrypt" {
            let place = format!("keyslot {slot}");
            return Err(ForeignError::Reencryption { place });
        }
        if kind != "luks2" || slot as usize >= MAX_OBJECTS {
            let found = clipped(kind);
            return Err(ForeignError::KeyslotType { slot, found });
        }
        if let Some(members) = value.as_object_mut() {
            members.remove("type");
        }
        let keyslot: Keyslot = json::typed(&format!("keyslot {slot}"), value)?;
        let (begin, end) = area(slot, &keyslot, area_bytes)?;
        values(slot, &keyslot, integrity)?;
        cost::judge(slot, &keyslot.kdf)?;
        if let Some((_, (_, first))) = areas
            .range(..end)
            .next_back()
            .filter(|(_, (e, _))| *e > begin)
        {
            return Err(ForeignError::AreasOverlap {
                first: *first,
                second: slot,
            });
        }
        areas.insert(begin, (end, slot));
        slots.push(slot);
    }
    Ok(slots)
}

/// Begin and end of a keyslot's material.
fn area(slot: u32, keyslot: &Keyslot, area_bytes: u64) -> Result<(u64, u64), ForeignError> {
    let number = |text: &str| decimal(text).ok_or(ForeignError::AreaOutside { slot });
    let (begin, size) = (number(&keyslot.area.offset)?, number(&keyslot.area.size)?);
    let end = begin.saturating_add(size);
    let material = keyslot.key_size.saturating_mul(STRIPES);
    let inside = begin >= REGION_BYTES as u64 && end <= area_bytes && size >= material;
    if !inside || !begin.is_multiple_of(ALIGNMENT) {
        return Err(ForeignError::AreaOutside { slot });
    }
    Ok((begin, end))
}

fn values(slot: u32, keyslot: &Keyslot, integrity: Integrity) -> Result<(), ForeignError> {
    let refuse = |field, found: &str, wanted| ForeignError::Keyslot {
        slot,
        field,
        found: clipped(found),
        wanted,
    };
    let area = &keyslot.area;
    if area.encryption != CIPHER {
        let found = clipped(&area.encryption);
        if is_null(&found) {
            return Err(ForeignError::KeyslotNullCipher { slot, found });
        }
        return Err(refuse("area.encryption", &found, CIPHER));
    }
    if area.r#type != "raw" {
        return Err(refuse("area.type", &area.r#type, "raw"));
    }
    if ![32, 64].contains(&area.key_size) {
        let found = area.key_size.to_string();
        return Err(refuse("area.key_size", &found, "32 or 64"));
    }
    if keyslot.key_size != integrity.volume_key_bytes() as u64 {
        let found = keyslot.key_size.to_string();
        let wanted = "64 without integrity, 96 with: AES-256";
        return Err(refuse("key_size", &found, wanted));
    }
    let af = &keyslot.af;
    if af.r#type != "luks1" || af.stripes != STRIPES || !is_hash(&af.hash) {
        let found = format!("{}, {}, {}", af.r#type, af.stripes, af.hash);
        return Err(refuse(
            "af",
            &found,
            "luks1, 4000 stripes, sha256 or sha512",
        ));
    }
    if keyslot.priority.is_some_and(|priority| priority > 2) {
        let found = keyslot.priority.unwrap_or_default().to_string();
        return Err(refuse("priority", &found, "0 to 2"));
    }
    Ok(())
}

/// Judges the digest, which must cover every keyslot and the segment.
fn digest(digests: serde_json::Map<String, Value>, keyslots: &[u32]) -> Result<(), ForeignError> {
    let count = digests.len();
    let mut numbered = json::numbered("digests", digests)?;
    let only = numbered.remove(&0).filter(|_| count == 1);
    let only = only.ok_or(ForeignError::Digests { count })?;
    let digest: KeyDigest = json::typed("digest 0", only)?;
    let refuse = |field, found: &str, wanted| ForeignError::Digest {
        field,
        found: clipped(found),
        wanted,
    };
    if digest.r#type != "pbkdf2" {
        return Err(refuse("type", &digest.r#type, "pbkdf2"));
    }
    if !is_hash(&digest.hash) {
        return Err(refuse("hash", &digest.hash, "sha256 or sha512"));
    }
    if !ITERATIONS.contains(&digest.iterations) {
        let found = digest.iterations.to_string();
        return Err(refuse("iterations", &found, "1000 to 20000000"));
    }
    for (field, text) in [("salt", &digest.salt), ("digest", &digest.digest)] {
        if !is_short_base64(text) {
            return Err(refuse(field, text, "base64 of 16 to 64 bytes"));
        }
    }
    if digest.segments != ["0"] {
        let found = digest.segments.join(",");
        return Err(refuse("segments", &found, "segment 0"));
    }
    let mut covered: Vec<u32> = digest.keyslots.iter().flat_map(|s| s.parse()).collect();
    covered.sort_unstable();
    if covered != keyslots || covered.len() != digest.keyslots.len() {
        let found = digest.keyslots.join(",");
        return Err(refuse("keyslots", &found, "every keyslot, once"));
    }
    Ok(())
}

/// Types of the tokens. Their content is nobody's business here: no token is ever used.
fn tokens(tokens: &serde_json::Map<String, Value>) -> Result<Vec<String>, ForeignError> {
    let count = tokens.len();
    if count > MAX_OBJECTS {
        return Err(ForeignError::Tokens { count });
    }
    let kind = |(name, token): (&String, &Value)| {
        let kind = token.get("type").and_then(Value::as_str);
        kind.map(clipped).ok_or_else(|| ForeignError::Json {
            place: format!("token {}", clipped(name)),
            detail: "it has no type".into(),
        })
    };
    tokens.iter().map(kind).collect()
}

/// A decimal number as LUKS2 writes it: digits only.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Hashes that are taken.
pub(super) fn is_hash(name: &str) -> bool {
    ["sha256", "sha512"].contains(&name)
}

/// Salts and digests.
pub(super) fn is_short_base64(text: &str) -> bool {
    BASE64
        .decode(text)
        .is_ok_and(|bytes| (16..=64).contains(&bytes.len()))
}
