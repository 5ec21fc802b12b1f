//! The key service as the flow sees it: a port, and the errors of the step.
//!
//! [`crate::client::Client`] is the real one. A [`Session`] is exactly one connection: evidence that was bound to
//! it is worth nothing on another, so it never reconnects, and a failed one is thrown away.

use crate::connect::ConnectError;
use dawnkey_proto::binding::{Exporter, SpkiDigest};
use dawnkey_proto::message::{
    Answer, Confirm, ConfirmAnswer, EvidenceItem, MessageError, Renew, RenewAnswer,
};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Gives connections to the pinned key service.
pub trait KeyService {
    /// One connection.
    type Session: Session;

    /// Makes one new, pinned connection before `deadline`.
    fn connect(
        &mut self,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Session, ConnectError>>;
}

/// One connection to the key service. After an error it is of no further use.
pub trait Session {
    /// What identifies the connection and its other end in the binder.
    fn binding(&self) -> (&Exporter, &SpkiDigest);

    /// Where the other end is, for people.
    fn peer(&self) -> String;

    /// Sends the request with its evidence.
    fn unlock(
        &mut self,
        body: &[u8],
        evidence: Vec<EvidenceItem>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer, CallError>>;

    /// Answers a challenge of the call before.
    fn activate(
        &mut self,
        challenge: Uuid,
        proof: &[u8; 32],
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer, CallError>>;

    /// Tells that the volume is mapped and the boot is closed.
    fn confirm(
        &mut self,
        confirm: Confirm,
        deadline: Instant,
    ) -> impl Future<Output = Result<ConfirmAnswer, CallError>>;

    /// Renews the lease of a volume in use, or ends it.
    fn renew(
        &mut self,
        renew: Renew,
        deadline: Instant,
    ) -> impl Future<Output = Result<RenewAnswer, CallError>>;
}

/// One call over a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time.
    #[error("call {call}: no answer within {} ms", waited.as_millis())]
    TimedOut {
        /// The call's name.
        call: &'static str,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The connection ended before the answer was complete.
    #[error("call {call}: the connection ended before the answer was complete ({detail})")]
    Closed {
        /// The call's name.
        call: &'static str,
        /// What the transport says.
        detail: String,
    },
    /// The service says that it cannot answer at present.
    #[error("call {call}: the service cannot answer at present ({code}: {detail})")]
    Unavailable {
        /// The call's name.
        call: &'static str,
        /// gRPC status.
        code: String,
        /// The service's text.
        detail: String,
    },
    /// The answer is no message at all, or an error that is none of the protocol's.
    #[error("call {call}: no verdict but gRPC status {code} ({detail})")]
    Status {
        /// The call's name.
        call: &'static str,
        /// gRPC status.
        code: String,
        /// The service's text.
        detail: String,
    },
    /// The answer is larger than any of the protocol.
    #[error("call {call}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// The call's name.
        call: &'static str,
        /// Bytes that are read at most.
        limit: usize,
    },
    /// The request is larger than the service reads.
    #[error("call {call}: the request has {bytes} bytes; the service reads {limit}")]
    RequestTooLarge {
        /// The call's name.
        call: &'static str,
        /// The request's bytes.
        bytes: usize,
        /// Bytes that are read at most.
        limit: usize,
    },
    /// The answer is not a message of the protocol.
    #[error("call {call}: {source}")]
    Message {
        /// The call's name.
        call: &'static str,
        /// What is wrong with it.
        source: MessageError,
    },
}

impl CallError {
    /// Whether another connection may fare better.
    #[must_use]
    pub const fn is_transport(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. } | Self::Closed { .. } | Self::Unavailable { .. }
        )
    }
}
