//! Names the changes that attacks on LUKS2 headers are known to make.
//!
//! None of these checks is what protects the volume: the seal covers every byte. They tell the operator what was done.

use serde_json::Value;

use super::error::CopyError;
use super::json::DIGEST_ITERATIONS;
use super::shape::{clipped, kind};
use crate::geometry::Integrity;

/// Looks at a parsed document before it is read into types.
pub(super) fn name(document: &Value) -> Result<(), CopyError> {
    let count = entries(document, "keyslots");
    if count > 0 {
        return Err(CopyError::Keyslot { count });
    }
    let count = entries(document, "segments");
    if count != 1 {
        return Err(CopyError::Segments { count });
    }
    let count = entries(document, "tokens");
    if count != 1 {
        return Err(CopyError::Tokens { count });
    }
    let count = entries(document, "digests");
    if count != 1 {
        return Err(CopyError::Digests { count });
    }
    segment(document)?;
    token_and_digest(document)?;
    configuration(document)
}

fn entries(document: &Value, section: &str) -> usize {
    match document.get(section) {
        Some(Value::Object(entries)) => entries.len(),
        Some(Value::Array(entries)) => entries.len(),
        _ => 0,
    }
}

fn segment(document: &Value) -> Result<(), CopyError> {
    let segment = match document.pointer("/segments/0") {
        Some(Value::Object(segment)) => segment,
        Some(other) => {
            return Err(CopyError::Type {
                field: "segments.0".to_owned(),
                found: kind(other),
                wanted: "an object",
            });
        }
        None => return Ok(()),
    };
    if segment.contains_key("flags") {
        return Err(CopyError::SegmentFlags);
    }
    match segment.get("encryption") {
        Some(Value::String(cipher)) if Integrity::of_segment(cipher, true).is_some() => {}
        Some(Value::String(other)) if other.contains("null") => {
            return Err(CopyError::NullCipher {
                found: clipped(other),
            });
        }
        Some(Value::String(other)) => {
            return Err(CopyError::Cipher {
                found: clipped(other),
            });
        }
        // A linear segment has no cipher at all.
        None => {
            return Err(CopyError::NullCipher {
                found: String::new(),
            });
        }
        Some(other) => {
            return Err(CopyError::Type {
                field: "segments.0.encryption".to_owned(),
                found: kind(other),
                wanted: "a text",
            });
        }
    }
    let tags = document.pointer("/tokens/0/layout/tag_bytes");
    match (segment.get("integrity"), tags.and_then(Value::as_u64)) {
        (None, Some(1..)) => Err(integrity_differs(false)),
        (Some(_), Some(0)) => Err(integrity_differs(true)),
        _ => Ok(()),
    }
}

const fn integrity_differs(segment: bool) -> CopyError {
    CopyError::IntegrityDiffers {
        segment,
        token: !segment,
    }
}

fn token_and_digest(document: &Value) -> Result<(), CopyError> {
    let kind = document.pointer("/tokens/0/type").and_then(Value::as_str);
    if let Some(other) = kind.filter(|kind| *kind != "dawnkey") {
        return Err(CopyError::TokenType {
            found: clipped(other),
        });
    }
    let iterations = document.pointer("/digests/0/iterations");
    match iterations.and_then(Value::as_u64) {
        Some(found) if found != u64::from(DIGEST_ITERATIONS) => {
            Err(CopyError::Iterations { found })
        }
        _ => Ok(()),
    }
}

fn configuration(document: &Value) -> Result<(), CopyError> {
    let config = document.get("config");
    let has = |field| config.and_then(|config| config.get(field)).is_some();
    if has("requirements") {
        Err(CopyError::Requirements)
    } else if has("flags") {
        Err(CopyError::Flags)
    } else {
        Ok(())
    }
}
