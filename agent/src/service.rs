//! The key service as the flow sees it: a port, and the errors of the step.
//!
//! [`crate::source::Source`] is the real one: Dawnkey's own service, or one that only keeps keys. A [`Session`] is exactly one connection: evidence that was bound to
//! it is worth nothing on another, so it never reconnects, and a failed one is thrown away.

use crate::connect::ConnectError;
use crate::error::AskError;
use dawnkey_attest::collect::Attester;
use dawnkey_attest::evidence::Exchange;
use dawnkey_proto::binding::{self, Bound, Exporter, Role, SpkiDigest};
use dawnkey_proto::message::{
    Answer, Confirm, ConfirmAnswer, EvidenceItem, MessageError, Renew, RenewAnswer,
};
use dawnkey_secret::Dek;
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

/// What a request is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The node's key of this attempt.
    pub hpke_public_key: &'a [u8],
    /// The request.
    pub body: &'a [u8],
}

/// What evidence is to carry, so that it is worth something for this connection only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// The binder.
    Binder(Exchange),
    /// The digest of what another protocol binds.
    Digest([u8; 48]),
}

/// What a call for a key comes to.
#[derive(Debug)]
pub enum Verdict {
    /// The key service's.
    Answer(Answer),
    /// The key, from somebody who only keeps keys: who knows no generation and no lease and is told nothing.
    Key(Dek),
}

/// One connection to the key service. After an error it is of no further use.
pub trait Session {
    /// What identifies the connection and its other end in the binder.
    fn binding(&self) -> (&Exporter, &SpkiDigest);

    /// Where the other end is, for people.
    fn peer(&self) -> String;

    /// What the evidence for this request must carry over this connection.
    fn challenge<A: Attester>(
        &mut self,
        asked: Asked<'_>,
        _attester: &mut A,
        _deadline: Instant,
    ) -> impl Future<Output = Result<Fresh, AskError>> {
        let (exporter, service_spki) = self.binding();
        let binder = binding::binder(&Bound {
            role: Role::Node,
            exporter,
            service_spki,
            hpke_public_key: asked.hpke_public_key,
            request: asked.body,
        });
        std::future::ready(Ok(Fresh::Binder(Exchange(binder.0))))
    }

    /// Sends the request with its evidence.
    fn unlock(
        &mut self,
        body: &[u8],
        evidence: Vec<EvidenceItem>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Verdict, CallError>>;

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
    /// The key broker gives no key. It says so for nearly every failure, its own among them.
    #[error("call {call}: no key but HTTP status {status} ({kind}: {detail})")]
    Denied {
        /// The call's name.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// Kind of the error, as the broker names it.
        kind: String,
        /// The broker's text.
        detail: String,
    },
    /// The answer of a key broker is none of its protocol, or the key in it cannot be had.
    #[error("call {call}: {problem}")]
    Broker {
        /// The call's name.
        call: &'static str,
        /// What is wrong with it.
        problem: String,
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
