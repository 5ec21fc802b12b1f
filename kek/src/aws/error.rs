//! What AWS says when it refuses, as causes.

use crate::{Cause, Operation};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;
use std::time::Duration;

/// Cause and detail of a failed call.
pub(super) fn classify<E>(
    error: &SdkError<E, HttpResponse>,
    operation: Operation,
    permission: &str,
) -> (Cause, String)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(refused) => {
            let answer = refused.raw();
            let (code, message) = (refused.err().code(), refused.err().message());
            let cause = match code {
                Some(code) => by_code(code, message.unwrap_or_default(), operation, permission),
                None => None,
            };
            let cause = cause.unwrap_or_else(|| by_status(answer.status().as_u16()));
            let cause = match cause {
                Cause::Throttled { .. } => Cause::Throttled {
                    after: retry_after(answer),
                },
                other => other,
            };
            let code = code.unwrap_or("no error code");
            let status = answer.status().as_u16();
            (
                cause,
                format!("{code} (HTTP {status}): {}", message.unwrap_or_default()),
            )
        }
        SdkError::TimeoutError(_) => (Cause::Deadline, String::new()),
        SdkError::ResponseError(_) => (Cause::Garbage, "the answer is not one of AWS KMS".into()),
        SdkError::DispatchFailure(failed) => match credentials(error) {
            Some(why) => (Cause::Credentials, why),
            None if failed.is_timeout() => (Cause::Unreachable, "connecting took too long".into()),
            None => (Cause::Unreachable, deepest(error)),
        },
        other => match credentials(other) {
            Some(why) => (Cause::Credentials, why),
            None => (Cause::Misconfigured, deepest(other)),
        },
    }
}

/// The error codes of the KMS API reference and of every AWS service.
fn by_code(code: &str, message: &str, operation: Operation, permission: &str) -> Option<Cause> {
    Some(match code {
        "DisabledException" => Cause::Disabled,
        "KMSInvalidStateException" => match message.to_lowercase() {
            told if told.contains("delet") => Cause::Deleted,
            _ => Cause::Disabled,
        },
        "NotFoundException" => Cause::NoSuchKey,
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => Cause::Denied {
            permission: Some(permission.to_owned()),
        },
        "InvalidCiphertextException" => Cause::NotAuthentic,
        "IncorrectKeyException" => Cause::WrongKey,
        "InvalidKeyUsageException" | "UnsupportedOperationException" => Cause::Unsupported,
        "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Cause::Unreachable,
        "ThrottlingException"
        | "Throttling"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "SlowDown" => Cause::Throttled { after: None },
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidAccessKeyId"
        | "AuthFailure"
        | "RequestExpired"
        | "NotAuthorized" => Cause::Credentials,
        // What we send besides the ciphertext is of our own making, and the same each time.
        "ValidationException" | "ValidationError"
            if operation == Operation::Unwrap && message.contains("iphertext") =>
        {
            Cause::NotAuthentic
        }
        "ValidationException" | "ValidationError" | "InvalidArnException" => Cause::Misconfigured,
        _ => return None,
    })
}

fn by_status(status: u16) -> Cause {
    match status {
        401 | 403 => Cause::Credentials,
        429 => Cause::Throttled { after: None },
        500..=599 => Cause::Unreachable,
        _ => Cause::Garbage,
    }
}

fn retry_after(answer: &HttpResponse) -> Option<Duration> {
    let seconds = answer.headers().get("retry-after")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What the credentials' provider said, where it is what failed.
fn credentials(error: &(dyn Error + 'static)) -> Option<String> {
    chain(error)
        .find_map(|e| e.downcast_ref::<CredentialsError>())
        .map(|failed| format!("{failed}: {}", deepest(failed)))
}

fn deepest(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&e| e.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(code: &str, message: &str) -> Option<Cause> {
        by_code(code, message, Operation::Unwrap, "kms:Decrypt")
    }

    #[test]
    fn every_code_has_its_cause() {
        let denied = Cause::Denied {
            permission: Some("kms:Decrypt".into()),
        };
        for (code, expected) in [
            ("DisabledException", Cause::Disabled),
            ("NotFoundException", Cause::NoSuchKey),
            ("AccessDeniedException", denied),
            ("InvalidCiphertextException", Cause::NotAuthentic),
            ("IncorrectKeyException", Cause::WrongKey),
            ("InvalidKeyUsageException", Cause::Unsupported),
            ("KMSInternalException", Cause::Unreachable),
            ("ThrottlingException", Cause::Throttled { after: None }),
            ("ExpiredTokenException", Cause::Credentials),
            ("InvalidArnException", Cause::Misconfigured),
        ] {
            assert_eq!(cause(code, ""), Some(expected), "{code}");
        }
        assert_eq!(cause("SomethingNew", ""), None);
    }

    #[test]
    fn a_key_about_to_be_deleted_is_not_merely_disabled() {
        let state = "KMSInvalidStateException";
        assert_eq!(cause(state, "… is pending deletion."), Some(Cause::Deleted));
        assert_eq!(cause(state, "… is pending import."), Some(Cause::Disabled));
    }

    #[test]
    fn an_answer_without_a_code_is_judged_by_its_status() {
        assert_eq!(by_status(429), Cause::Throttled { after: None });
        assert_eq!(by_status(503), Cause::Unreachable);
        assert_eq!(by_status(404), Cause::Garbage);
    }
}
