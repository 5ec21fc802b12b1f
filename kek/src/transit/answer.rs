//! What the server answers, read as the bytes of a stranger: bounded, and of the expected types or not at all.

use crate::rest::Answer;
use crate::{Cause, Operation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::time::Duration;
use zeroize::Zeroizing;

/// An answer to an `encrypt`.
#[derive(Deserialize)]
pub(super) struct Encrypted {
    pub(super) ciphertext: String,
}

/// An answer to a `decrypt`.
#[derive(Deserialize)]
pub(super) struct Decrypted {
    #[serde(deserialize_with = "wiped")]
    pub(super) plaintext: Zeroizing<String>,
}

/// What the server says of the key.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) latest_version: u32,
    #[serde(default)]
    pub(super) min_decryption_version: u32,
    #[serde(default)]
    pub(super) min_encryption_version: u32,
    // Of these, an answer without them must not pass for a good one.
    pub(super) exportable: bool,
    pub(super) allow_plaintext_backup: bool,
    pub(super) derived: bool,
    pub(super) deletion_allowed: bool,
    #[serde(default)]
    pub(super) soft_deleted: bool,
    #[serde(default)]
    pub(super) imported_key: bool,
}

/// Capabilities of our token, per path.
pub(super) type Capabilities = HashMap<String, serde_json::Value>;

/// An answer to a login or a renewal.
#[derive(Deserialize)]
pub(super) struct Auth {
    #[serde(deserialize_with = "wiped")]
    pub(super) client_token: Zeroizing<String>,
    /// Seconds; 0 for a token that does not end.
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What a token says of itself.
#[derive(Deserialize)]
pub(super) struct TokenState {
    /// Seconds left; 0 for a token that does not end.
    #[serde(default)]
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// A text that is wiped when dropped.
fn wiped<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Login {
    auth: Auth,
}

/// The `data` of an answer.
pub(super) fn data<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let answer: Data<T> = serde_json::from_slice(body).ok()?;
    Some(answer.data)
}

/// The `auth` of an answer.
pub(super) fn auth(body: &[u8]) -> Option<Auth> {
    let answer: Login = serde_json::from_slice(body).ok()?;
    Some(answer.auth)
}

/// A refusal: its cause, and what the server said.
pub(super) struct Refusal {
    pub(super) cause: Cause,
    pub(super) said: String,
}

/// What an answer that is no 2xx means. `permission` is the policy line that a 403 asks for.
pub(super) fn refusal(answer: &Answer, operation: Operation, permission: &str) -> Refusal {
    let said = errors(&answer.body);
    let cause = judge(
        answer.status,
        &said,
        operation,
        permission,
        answer.retry_after(),
    );
    Refusal {
        cause,
        said: match said.is_empty() {
            true => format!("status {}", answer.status),
            false => format!("status {}: {said}", answer.status),
        },
    }
}

fn judge(
    status: u16,
    said: &str,
    operation: Operation,
    permission: &str,
    after: Option<Duration>,
) -> Cause {
    let says = |text: &str| said.contains(text);
    match status {
        400 if operation == Operation::Login => Cause::Credentials,
        400 | 500 if says("encryption key not found") => Cause::NoSuchKey,
        400 | 500 if says("soft-deleted") => Cause::Deleted,
        400 if says("too old") || says("minimum encryption") => Cause::Disabled,
        400 | 500 if operation == Operation::Unwrap && not_authentic(said) => Cause::NotAuthentic,
        400 => Cause::Unsupported,
        401 => Cause::Credentials,
        403 if operation == Operation::Login => Cause::Credentials,
        403 => Cause::Denied {
            permission: Some(permission.to_owned()),
        },
        // Nothing is mounted there, rather than no such key in it.
        404 if says("no handler for route") => Cause::Misconfigured,
        404 => Cause::NoSuchKey,
        429 => Cause::Throttled { after },
        // 412, 472, 473: replicas that cannot answer; 503: sealed, or in maintenance.
        412 | 472 | 473 | 500..=599 => Cause::Unreachable,
        _ => Cause::Garbage,
    }
}

fn not_authentic(said: &str) -> bool {
    said.contains("invalid ciphertext") || said.contains("message authentication failed")
}

/// The texts of `{"errors": […]}`; empty for anything else.
fn errors(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    serde_json::from_slice::<Errors>(body)
        .map_or_else(|_| String::new(), |body| body.errors.join("; "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cause(status: u16, said: &str, operation: Operation) -> Cause {
        judge(status, said, operation, "path", None)
    }

    #[test]
    fn every_refusal_has_its_cause() {
        let unwrap = Operation::Unwrap;
        let denied = Cause::Denied {
            permission: Some("path".into()),
        };
        for (status, said, expected) in [
            (400, "encryption key not found", Cause::NoSuchKey),
            (400, "refusing to use soft-deleted key", Cause::Deleted),
            (
                400,
                "ciphertext or signature version is disallowed by policy (too old)",
                Cause::Disabled,
            ),
            (
                400,
                "invalid ciphertext: unable to decrypt",
                Cause::NotAuthentic,
            ),
            (
                500,
                "cipher: message authentication failed",
                Cause::NotAuthentic,
            ),
            (400, "something new", Cause::Unsupported),
            (403, "permission denied", denied),
            (404, "", Cause::NoSuchKey),
            (404, "no handler for route \"x\"", Cause::Misconfigured),
            (429, "", Cause::Throttled { after: None }),
            (500, "internal error", Cause::Unreachable),
            (503, "Vault is sealed", Cause::Unreachable),
            (302, "", Cause::Garbage),
        ] {
            assert_eq!(cause(status, said, unwrap), expected, "{status} {said}");
        }
        let login = cause(400, "invalid role or secret ID", Operation::Login);
        assert_eq!(login, Cause::Credentials);
    }

    #[test]
    fn damage_is_not_read_out_of_a_refusal_to_wrap() {
        let wrap = cause(400, "invalid ciphertext", Operation::Wrap);
        assert_eq!(wrap, Cause::Unsupported);
    }

    #[test]
    fn hostile_answers_are_no_answers() {
        for body in [
            "",
            "null",
            "[]",
            "{",
            "{\"data\":null}",
            "{\"data\":[]}",
            "{\"data\":{}}",
            "{\"data\":{\"plaintext\":null}}",
            "{\"data\":{\"plaintext\":7}}",
            "{\"data\":{\"plaintext\":[\"QQ==\"]}}",
            "{\"data\":{\"plaintext\":\"QQ==\"}",
            "{\"data\":{\"plaintext\":\"QQ==\"}}x",
            "{\"data\":{\"plaintext\":\"a\",\"plaintext\":\"b\"}}",
            "<html>503</html>",
        ] {
            assert!(data::<Decrypted>(body.as_bytes()).is_none(), "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(data::<Decrypted>(deep.as_bytes()).is_none());
        assert_eq!(errors(deep.as_bytes()), "");
        assert_eq!(errors(br#"{"errors":[1]}"#), "");
        assert!(auth(br#"{"auth":{"client_token":null}}"#).is_none());
        assert!(auth(br#"{"auth":null}"#).is_none());
        assert!(auth(br#"{"auth":{"client_token":"t","lease_duration":-1}}"#).is_none());
    }

    #[test]
    fn a_key_without_its_flags_does_not_pass_for_a_good_one() {
        let whole = r#"{"type":"aes256-gcm96","latest_version":1,"exportable":false,"allow_plaintext_backup":false,"derived":false,"deletion_allowed":false}"#;
        let body = |key: &str| format!("{{\"data\":{key}}}");
        assert!(data::<Key>(body(whole).as_bytes()).is_some());
        for flag in [
            "\"exportable\":false,",
            "\"allow_plaintext_backup\":false,",
            "\"derived\":false,",
        ] {
            let without = body(&whole.replace(flag, ""));
            assert!(data::<Key>(without.as_bytes()).is_none(), "{flag}");
        }
    }
}
