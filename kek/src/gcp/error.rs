//! What Google says when it refuses, as causes.

use crate::{Cause, Operation};
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;
use std::time::Duration;

/// Cause and detail of a failed call.
pub(super) fn classify(error: &Error, operation: Operation, permission: &str) -> (Cause, String) {
    if let Some(status) = error.status() {
        let mut cause = by_code(status.code, &status.message, operation, permission);
        if let Cause::Throttled { after } = &mut cause {
            *after = retry_after(error);
        }
        return (cause, format!("{}: {}", status.code.name(), status.message));
    }
    if let Some(status) = error.http_status_code() {
        return (
            by_status(status),
            format!("HTTP {status} without a status of Google's"),
        );
    }
    let cause = match error {
        e if e.is_authentication() => Cause::Credentials,
        e if e.is_timeout() || e.is_exhausted() => Cause::Deadline,
        e if e.is_connect() || e.is_io() || e.is_transport() => Cause::Unreachable,
        e if e.is_deserialization() => Cause::Garbage,
        _ => Cause::Misconfigured,
    };
    (cause, deepest(error))
}

/// The codes of `google.rpc.Code`; which state a key is in stands in the message only.
fn by_code(code: Code, message: &str, operation: Operation, permission: &str) -> Cause {
    match code {
        Code::NotFound => Cause::NoSuchKey,
        Code::PermissionDenied => Cause::Denied {
            permission: Some(permission.to_owned()),
        },
        Code::Unauthenticated => Cause::Credentials,
        Code::InvalidArgument if message.to_lowercase().contains("crc32c") => Cause::Garbage,
        Code::InvalidArgument if operation == Operation::Unwrap => Cause::NotAuthentic,
        Code::InvalidArgument | Code::OutOfRange => Cause::Misconfigured,
        Code::FailedPrecondition if message.contains("DESTROY") => Cause::Deleted,
        Code::FailedPrecondition
            if message.contains("DISABLED") || message.contains("not enabled") =>
        {
            Cause::Disabled
        }
        Code::FailedPrecondition | Code::Unimplemented => Cause::Unsupported,
        Code::ResourceExhausted => Cause::Throttled { after: None },
        Code::DeadlineExceeded => Cause::Deadline,
        Code::Unavailable | Code::Internal | Code::Aborted | Code::Cancelled => Cause::Unreachable,
        _ => Cause::Garbage,
    }
}

fn by_status(status: u16) -> Cause {
    match status {
        401 | 403 => Cause::Credentials,
        429 => Cause::Throttled { after: None },
        500..=599 => Cause::Unreachable,
        _ => Cause::Garbage,
    }
}

fn retry_after(error: &Error) -> Option<Duration> {
    let seconds = error.http_headers()?.get("retry-after")?;
    seconds.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

fn deepest(error: &Error) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let chain = std::iter::successors(Some(first), |&e| e.source());
    chain.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_cause() {
        let denied = Cause::Denied {
            permission: Some("p".into()),
        };
        let state = |state: &str| {
            format!("…/cryptoKeyVersions/1 is not enabled, current state is: {state}.")
        };
        for (code, message, expected) in [
            (Code::NotFound, String::new(), Cause::NoSuchKey),
            (Code::PermissionDenied, String::new(), denied),
            (Code::Unauthenticated, String::new(), Cause::Credentials),
            (
                Code::InvalidArgument,
                "Decryption failed: …".into(),
                Cause::NotAuthentic,
            ),
            (
                Code::InvalidArgument,
                "The checksum in field ciphertext_crc32c …".into(),
                Cause::Garbage,
            ),
            (Code::FailedPrecondition, state("DISABLED"), Cause::Disabled),
            (Code::FailedPrecondition, state("DESTROYED"), Cause::Deleted),
            (
                Code::FailedPrecondition,
                state("DESTROY_SCHEDULED"),
                Cause::Deleted,
            ),
            (
                Code::ResourceExhausted,
                String::new(),
                Cause::Throttled { after: None },
            ),
            (Code::Unavailable, String::new(), Cause::Unreachable),
            (Code::DeadlineExceeded, String::new(), Cause::Deadline),
        ] {
            let found = by_code(code, &message, Operation::Unwrap, "p");
            assert_eq!(found, expected, "{code:?} {message}");
        }
        let wrap = by_code(Code::InvalidArgument, "", Operation::Wrap, "p");
        assert_eq!(wrap, Cause::Misconfigured);
    }
}
