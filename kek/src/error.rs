//! Why a provider did not wrap or unwrap, in classes that a caller can act on.

use dawnkey_secret::credential::CredentialError;
use serde::Serialize;
use std::time::Duration;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Wrapping a DEK.
    Wrap,
    /// Unwrapping a DEK.
    Unwrap,
    /// Looking at the KEK.
    Inspect,
    /// Logging in at the KMS.
    Login,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Wrap => "wrap a DEK",
            Self::Unwrap => "unwrap a DEK",
            Self::Inspect => "look at the KEK",
            Self::Login => "log in",
        })
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// The same call will fail again, whatever happens to the KMS.
    Never,
    /// It may pass by itself.
    Later,
    /// Somebody must change something at the KMS or in the configuration first.
    Operator,
}

/// Why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The wrapped DEK is not one that this KEK made for this volume and epoch: corrupted, or of another.
    NotAuthentic,
    /// It was made by another key than the configured one.
    WrongKey,
    /// The KEK does not exist.
    NoSuchKey,
    /// The KEK is disabled.
    Disabled,
    /// The KEK is deleted, destroyed or about to be.
    Deleted,
    /// The KMS knows us and does not let us; the permission by its exact name where known.
    Denied {
        /// As the KMS names it, `kms:Decrypt`.
        permission: Option<String>,
    },
    /// Our credentials are missing, expired or not accepted.
    Credentials,
    /// Too many calls.
    Throttled {
        /// When the KMS says it will answer again.
        after: Option<Duration>,
    },
    /// No answer within the deadline.
    Deadline,
    /// No connection, or the KMS says that it is down.
    Unreachable,
    /// The master secret has not been given yet.
    Waiting,
    /// An answer that is none.
    Garbage,
    /// The KMS cannot do what is needed (too old, wrong kind of key).
    Unsupported,
    /// The configuration cannot be right.
    Misconfigured,
    /// The call could not be recorded, so its result is withheld.
    Unrecorded,
}

impl Cause {
    /// A stable code, `kek-denied`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAuthentic => "kek-not-authentic",
            Self::WrongKey => "kek-wrong-key",
            Self::NoSuchKey => "kek-no-such-key",
            Self::Disabled => "kek-disabled",
            Self::Deleted => "kek-deleted",
            Self::Denied { .. } => "kek-denied",
            Self::Credentials => "kek-credentials",
            Self::Throttled { .. } => "kek-throttled",
            Self::Deadline => "kek-deadline",
            Self::Unreachable => "kek-unreachable",
            Self::Waiting => "kek-waiting",
            Self::Garbage => "kek-garbage",
            Self::Unsupported => "kek-unsupported",
            Self::Misconfigured => "kek-misconfigured",
            Self::Unrecorded => "kek-unrecorded",
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotAuthentic | Self::WrongKey => Retry::Never,
            Self::Throttled { .. }
            | Self::Deadline
            | Self::Unreachable
            | Self::Waiting
            | Self::Garbage => Retry::Later,
            Self::NoSuchKey
            | Self::Disabled
            | Self::Deleted
            | Self::Denied { .. }
            | Self::Credentials
            | Self::Unsupported
            | Self::Misconfigured
            | Self::Unrecorded => Retry::Operator,
        }
    }

    const fn words(&self) -> &'static str {
        match self {
            Self::NotAuthentic => "the wrapped DEK is damaged, or was made for something else",
            Self::WrongKey => "the wrapped DEK was made by another key",
            Self::NoSuchKey => "the key does not exist",
            Self::Disabled => "the key is disabled",
            Self::Deleted => "the key is deleted or about to be",
            Self::Denied { .. } => "not permitted",
            Self::Credentials => "the credentials are missing, expired or not accepted",
            Self::Throttled { .. } => "too many calls",
            Self::Deadline => "no answer within the deadline",
            Self::Unreachable => "the KMS cannot be reached",
            Self::Waiting => "the master secret has not been given yet",
            Self::Garbage => "the answer makes no sense",
            Self::Unsupported => "the KMS or key cannot do this",
            Self::Misconfigured => "the configuration cannot be right",
            Self::Unrecorded => "the call could not be recorded",
        }
    }
}

/// A provider could not do what was asked.
///
/// `detail` is for operators: what the KMS said, without any key, token or wrapped DEK in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("KEK provider `{provider}`: {operation}: {}{}", cause.words(), explain(.cause, .detail))]
pub struct KekError {
    /// Configured name of the provider.
    pub provider: String,
    /// What was tried.
    pub operation: Operation,
    /// Why it failed.
    pub cause: Cause,
    /// What the KMS said, where that helps; else empty.
    pub detail: String,
}

impl KekError {
    /// Most characters of what a KMS said that are kept.
    const DETAIL: usize = 300;

    /// An error whose detail is whatever a KMS or a library said: its first 300 characters, the printable ones of them.
    pub fn new(
        provider: &str,
        operation: Operation,
        cause: Cause,
        detail: impl std::fmt::Display,
    ) -> Self {
        let said = detail.to_string();
        let first = said.chars().take(Self::DETAIL);
        Self {
            provider: provider.to_owned(),
            operation,
            cause,
            detail: first.filter(|c| !c.is_control()).collect(),
        }
    }

    /// A credential that could not be read: what is missing is a matter of credentials, what is written wrong of the
    /// configuration.
    #[must_use]
    pub fn credential(provider: &str, error: &CredentialError) -> Self {
        let cause = match error {
            CredentialError::Form | CredentialError::NotAFile(_) | CredentialError::Mode { .. } => {
                Cause::Misconfigured
            }
            CredentialError::NoDirectory(_)
            | CredentialError::Read { .. }
            | CredentialError::Length { .. } => Cause::Credentials,
        };
        Self {
            provider: provider.to_owned(),
            operation: Operation::Login,
            cause,
            detail: error.to_string(),
        }
    }
}

fn explain(cause: &Cause, detail: &str) -> String {
    let permission = match cause {
        Cause::Denied {
            permission: Some(name),
        } => format!(" (needs {name})"),
        _ => String::new(),
    };
    match detail {
        "" => permission,
        text => format!("{permission}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_provider_operation_permission_and_answer() {
        let error = KekError {
            provider: "prod".into(),
            operation: Operation::Unwrap,
            cause: Cause::Denied {
                permission: Some("kms:Decrypt".into()),
            },
            detail: "AccessDeniedException".into(),
        };
        let text = "KEK provider `prod`: unwrap a DEK: not permitted (needs kms:Decrypt): AccessDeniedException";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn detail_is_bounded_and_printable() {
        let said = format!("bad\u{1b}[2J\nline{}", "x".repeat(1000));
        let error = KekError::new("prod", Operation::Wrap, Cause::Garbage, said);
        assert!(error.detail.starts_with("bad[2Jline"));
        assert!(error.detail.len() <= 300 && !error.detail.contains('\n'));
    }
}
