//! What Azure says when it refuses, as causes.

use crate::{Cause, Operation};
use azure_core::error::ErrorKind;
use azure_core::http::RawResponse;
use serde::Deserialize;
use std::error::Error;
use std::time::Duration;

/// The body of a refusal, as much of it as is looked at.
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: Inner,
}

#[derive(Debug, Default, Deserialize)]
struct Inner {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    innererror: Option<Box<Inner>>,
}

/// Cause and detail of a failed call.
pub(super) fn classify(
    error: &azure_core::Error,
    operation: Operation,
    permission: &str,
) -> (Cause, String) {
    match error.kind() {
        ErrorKind::HttpResponse {
            status,
            raw_response,
            ..
        } => {
            let status = u16::from(*status);
            let (codes, message) = told(raw_response.as_deref());
            let mut cause = by_status(status, &codes, operation, permission);
            if let Cause::Throttled { after } = &mut cause {
                *after = raw_response.as_deref().and_then(retry_after);
            }
            (
                cause,
                format!("{} (HTTP {status}): {message}", codes.join("/")),
            )
        }
        ErrorKind::Connection | ErrorKind::Io => (Cause::Unreachable, deepest(error)),
        ErrorKind::Credential => (login(error), deepest(error)),
        _ => (Cause::Garbage, error.to_string()),
    }
}

/// Codes from the outermost to the innermost, and the message.
fn told(answer: Option<&RawResponse>) -> (Vec<String>, String) {
    let body = answer.map(|answer| answer.body().as_ref());
    let refusal: Refusal = body
        .and_then(|body| azure_core::json::from_json(body).ok())
        .unwrap_or_default();
    let message = refusal.error.message.clone();
    let mut codes = Vec::new();
    let mut next = Some(Box::new(refusal.error));
    while let Some(inner) = next.take().filter(|_| codes.len() < 4) {
        if !inner.code.is_empty() {
            codes.push(inner.code);
        }
        next = inner.innererror;
    }
    (codes, message)
}

fn by_status(status: u16, codes: &[String], operation: Operation, permission: &str) -> Cause {
    let says = |code: &str| codes.iter().any(|c| c == code);
    match status {
        400 if says("BadParameter") && operation == Operation::Unwrap => Cause::NotAuthentic,
        400 if says("KeyOperationForbidden") || says("NotSupported") => Cause::Unsupported,
        400 => Cause::Misconfigured,
        401 => Cause::Credentials,
        403 if ["KeyDisabled", "KeyExpired", "KeyNotYetValid"]
            .into_iter()
            .any(says) =>
        {
            Cause::Disabled
        }
        403 if says("KeyOperationForbidden") => Cause::Unsupported,
        403 => Cause::Denied {
            // A firewall's refusal is not cured by a permission.
            permission: (!says("ForbiddenByFirewall")).then(|| permission.to_owned()),
        },
        404 => Cause::NoSuchKey,
        409 if codes.iter().any(|code| code.contains("Delet")) => Cause::Deleted,
        429 => Cause::Throttled { after: None },
        500..=599 => Cause::Unreachable,
        _ => Cause::Garbage,
    }
}

fn retry_after(answer: &RawResponse) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get_optional_string(&"retry-after".into())?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Whether the way to the authority failed, or the authority refused us.
fn login(error: &azure_core::Error) -> Cause {
    let unreachable = chain(error)
        .filter_map(|e| e.downcast_ref::<azure_core::Error>())
        .any(|e| match e.kind() {
            ErrorKind::Connection | ErrorKind::Io => true,
            ErrorKind::HttpResponse { status, .. } => u16::from(*status) >= 500,
            _ => false,
        });
    if unreachable {
        Cause::Unreachable
    } else {
        Cause::Credentials
    }
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

    fn cause(status: u16, codes: &[&str]) -> Cause {
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        by_status(status, &codes, Operation::Unwrap, "keys/unwrapKey")
    }

    #[test]
    fn every_refusal_has_its_cause() {
        let denied = |permission: Option<&str>| Cause::Denied {
            permission: permission.map(Into::into),
        };
        for (status, codes, expected) in [
            (400, &["BadParameter"][..], Cause::NotAuthentic),
            (401, &["Unauthorized"], Cause::Credentials),
            (403, &["Forbidden", "KeyDisabled"], Cause::Disabled),
            (403, &["Forbidden", "KeyExpired"], Cause::Disabled),
            (
                403,
                &["Forbidden", "ForbiddenByRbac"],
                denied(Some("keys/unwrapKey")),
            ),
            (403, &["Forbidden", "ForbiddenByFirewall"], denied(None)),
            (404, &["KeyNotFound"], Cause::NoSuchKey),
            (
                409,
                &["Conflict", "ObjectIsDeletedButRecoverable"],
                Cause::Deleted,
            ),
            (429, &["Throttled"], Cause::Throttled { after: None }),
            (503, &[], Cause::Unreachable),
            (302, &[], Cause::Garbage),
        ] {
            assert_eq!(cause(status, codes), expected, "{status} {codes:?}");
        }
    }
}
