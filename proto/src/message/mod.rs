//! Messages as types: every length checked, nothing half filled.

mod answer;
mod confirm;
mod refusal;
mod renew;
mod request;

pub use answer::{Answer, Challenge, Lease, OnLoss, Provision, Release, Rotation};
pub use confirm::{Confirm, ConfirmAnswer, Progress};
pub use refusal::{Refusal, Retry, reason_code};
pub use renew::{Renew, RenewAnswer};
pub(crate) use request::evidence;
pub use request::{Ask, EvidenceItem, ReceivedRequest, Reopen, Request, SeenHeader};

pub use crate::wire::Reason;

use crate::PROTOCOL_VERSION;
use uuid::Uuid;

/// Longest text, in bytes, that is kept of what a peer says; the rest is cut.
const MAX_TEXT: usize = 512;

/// A message of the peer is not one of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a protobuf message.
    #[error("decode {0}: not a protobuf message")]
    Encoding(&'static str),
    /// Another version of the protocol.
    #[error("protocol version {0} is not spoken here; version {PROTOCOL_VERSION} is")]
    Version(u32),
    /// A field is absent or has another length or range.
    #[error("field `{field}` of {message}: {problem}")]
    Field {
        /// The message's name.
        message: &'static str,
        /// The field's name.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

pub(crate) fn field(
    message: &'static str,
    field: &'static str,
    problem: impl Into<String>,
) -> MessageError {
    MessageError::Field {
        message,
        field,
        problem: problem.into(),
    }
}

pub(crate) fn bytes<const N: usize>(
    message: &'static str,
    name: &'static str,
    given: &[u8],
) -> Result<[u8; N], MessageError> {
    given.try_into().map_err(|_| {
        field(
            message,
            name,
            format!("{} bytes instead of {N}", given.len()),
        )
    })
}

pub(crate) fn uuid(
    message: &'static str,
    name: &'static str,
    given: &[u8],
) -> Result<Uuid, MessageError> {
    let id = Uuid::from_bytes(bytes(message, name, given)?);
    if id.is_nil() {
        return Err(field(message, name, "the nil UUID names nothing"));
    }
    Ok(id)
}

/// Text of a peer made safe for a console and a log: printable, one line, at most 512 bytes.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(c);
    }
    out
}

pub(crate) fn at_least_one<T: Default + PartialEq>(
    message: &'static str,
    name: &'static str,
    value: T,
) -> Result<T, MessageError> {
    if value == T::default() {
        return Err(field(message, name, "0; it is 1 or more"));
    }
    Ok(value)
}
