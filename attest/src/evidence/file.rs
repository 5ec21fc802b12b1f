//! Evidence in a file: a kind and a payload, in JSON, so that any file says itself what it holds.
//!
//! ```json
//! { "format": "dawnkey-evidence-1", "kind": "snp", "payload": "0a a0 09 …, in hex without spaces" }
//! ```
//!
//! The payload is what travels in a request of that kind. Nothing in a file is verified by being read.

use serde::{Deserialize, Serialize};

use super::{DecodeError, Evidence, cap};

/// What `format` says.
pub const FORMAT: &str = "dawnkey-evidence-1";
/// Largest file: the largest payload in hex, and what stands around it.
pub const MAX_FILE: usize = 2 * cap::PAYLOAD + 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    kind: String,
    payload: String,
}

/// Why bytes are not a file of evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Larger than any evidence is.
    #[error("read an evidence file of {found} bytes, at most {MAX_FILE} are taken")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// Not the JSON it should be.
    #[error("read an evidence file: {problem}")]
    Json {
        /// What the parser says.
        problem: String,
    },
    /// JSON of another form or version.
    #[error("read an evidence file of format {found:?}, known is {FORMAT:?}")]
    Format {
        /// What it says, cut to 32 characters.
        found: String,
    },
    /// The payload is not in hex.
    #[error("read an evidence file: its payload is not in hex")]
    Hex,
    /// The payload is not evidence of its kind.
    #[error(transparent)]
    Payload(#[from] DecodeError),
}

/// Writes a file's text.
///
/// # Errors
/// [`FileError::Json`] if the text cannot be made.
pub fn write(evidence: &Evidence) -> Result<String, FileError> {
    let file = File {
        format: FORMAT.to_owned(),
        kind: evidence.kind().to_owned(),
        payload: hex::encode(evidence.encode()),
    };
    let mut text = serde_json::to_string_pretty(&file).map_err(|e| FileError::Json {
        problem: e.to_string(),
    })?;
    text.push('\n');
    Ok(text)
}

/// Reads a file's content.
///
/// # Errors
/// [`FileError`]; a payload has to be evidence with every part within its cap.
pub fn read(bytes: &[u8]) -> Result<Evidence, FileError> {
    if bytes.len() > MAX_FILE {
        return Err(FileError::TooLarge { found: bytes.len() });
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| FileError::Json {
        problem: e.to_string(),
    })?;
    if file.format != FORMAT {
        let found = file.format.chars().take(32).collect();
        return Err(FileError::Format { found });
    }
    let payload = hex::decode(&file.payload).map_err(|_| FileError::Hex)?;
    Ok(Evidence::decode(&file.kind, &payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::SnpEvidence;
    use proptest::prelude::*;

    fn evidence() -> Evidence {
        Evidence::Snp(Box::new(SnpEvidence {
            report: vec![7; 1184],
            certificates: vec![1, 2, 3],
        }))
    }

    #[test]
    fn reads_what_it_writes() {
        let text = write(&evidence()).unwrap();
        assert_eq!(read(text.as_bytes()), Ok(evidence()));
    }

    #[test]
    fn refuses_other_formats_fields_kinds_and_payloads() {
        let text = write(&evidence()).unwrap();
        let refused =
            |from: &str, to: &str| read(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(
            refused("evidence-1", "evidence-2"),
            FileError::Format { .. }
        ));
        assert!(matches!(
            refused("\"kind\"", "\"more\": 1, \"kind\""),
            FileError::Json { .. }
        ));
        assert!(matches!(
            refused("\"snp\"", "\"sgx\""),
            FileError::Payload(DecodeError::Kind { .. })
        ));
        assert_eq!(
            refused("\"payload\": \"", "\"payload\": \"x"),
            FileError::Hex
        );
        assert!(matches!(read(b"not JSON"), Err(FileError::Json { .. })));
        let long = vec![b' '; MAX_FILE + 1];
        assert!(matches!(read(&long), Err(FileError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn never_panics_on_any_file(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = read(&bytes);
        }
    }
}
