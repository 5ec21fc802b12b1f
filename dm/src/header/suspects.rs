//! Names the changes that attacks on LUKS2 headers are known to make.
//!
//! None of these checks is what protects the volume: the seal covers every byte. They tell the operator what was done.

use serde_json::Value;

use super::error::CopyError;
use super::json::DIGEST_ITERATIONS;

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
    let segment = document.pointer("/segments/0");
    if segment.and_then(|segment| segment.get("flags")).is_some() {
        return Err(CopyError::SegmentFlags);
    }
    let encryption = segment.and_then(|segment| segment.get("encryption"));
    match encryption.and_then(Value::as_str) {
        Some("aes-xts-plain64") => Ok(()),
        Some(other) if other.contains("null") => Err(CopyError::NullCipher {
            found: other.to_owned(),
        }),
        // A linear segment has no cipher at all.
        None => Err(CopyError::NullCipher {
            found: String::new(),
        }),
        Some(other) => Err(CopyError::Cipher {
            found: other.to_owned(),
        }),
    }
}

fn token_and_digest(document: &Value) -> Result<(), CopyError> {
    let kind = document.pointer("/tokens/0/type").and_then(Value::as_str);
    if kind != Some("dawnkey") {
        return Err(CopyError::TokenType {
            found: kind.unwrap_or_default().to_owned(),
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
