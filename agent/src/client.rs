//! The real key service: gRPC over one pinned TLS 1.3 connection that is used once.

use crate::config::ServiceConfig;
use crate::connect::{ConnectError, Link, Target, connect};
use crate::discover::{Address, MAX_ADDRESSES};
use crate::service::{CallError, KeyService, Session, Verdict};
use dawnkey_proto::binding::{Exporter, SpkiDigest};
use dawnkey_proto::message::{
    Answer, Confirm, ConfirmAnswer, EvidenceItem, MessageError, Refusal, Renew, RenewAnswer, Retry,
    printable,
};
use dawnkey_proto::one_shot::{OneShot, Spent};
use dawnkey_proto::tls::{self, Clock, TlsError};
use dawnkey_proto::wire::key_service_client::KeyServiceClient;
use dawnkey_proto::{MAX_MESSAGE_BYTES, wire};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint as Http2};
use tonic::{Code, Response, Status};
use uuid::Uuid;

/// Largest answer that is read: many times the largest of the protocol, a challenge.
pub const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Makes connections as configured. An address whose connection stood and got no verdict is the last to be tried
/// again: a replica that only cannot reach its store would else keep a node from the others.
pub struct Client {
    target: Target,
    passed_over: PassedOver,
}

/// Addresses that are to be tried after the others, the last of them last.
type PassedOver = Arc<Mutex<Vec<SocketAddr>>>;

impl Client {
    /// A client of the configured service, known by its configured pin.
    pub fn new(config: &ServiceConfig) -> Result<Self, TlsError> {
        let tls = tls::client_config(&config.pin, Clock::Host, None)?;
        Ok(Self {
            target: Target {
                places: config.places.clone(),
                name: config.name.clone(),
                last: Vec::new(),
                tls: Arc::new(tls),
            },
            passed_over: PassedOver::default(),
        })
    }
}

fn lock(passed_over: &PassedOver) -> MutexGuard<'_, Vec<SocketAddr>> {
    passed_over.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KeyService for Client {
    type Session = Connection;

    async fn connect(&mut self, deadline: Instant) -> Result<Connection, ConnectError> {
        self.target.last.clone_from(&lock(&self.passed_over));
        let link = connect(&self.target, deadline).await?;
        Connection::over(link, deadline, &self.passed_over).await
    }
}

/// One connection with its gRPC client.
pub struct Connection {
    grpc: KeyServiceClient<Channel>,
    peer: Box<Address>,
    passed_over: PassedOver,
    exporter: Exporter,
    spki: SpkiDigest,
}

impl Connection {
    /// Speaks gRPC over a finished connection.
    async fn over(
        link: Link,
        deadline: Instant,
        passed_over: &PassedOver,
    ) -> Result<Self, ConnectError> {
        let Link {
            stream,
            endpoint,
            exporter,
            spki,
        } = link;
        // Only a name for the `:authority` header; the connector never looks at it.
        let http2 = Http2::from_static("http://dawnkey.invalid");
        let channel = http2.connect_with_connector(OneShot::new(stream));
        let broken = |source| ConnectError::Handshake {
            endpoint: endpoint.clone(),
            source,
        };
        let channel = match timeout_at(deadline, channel).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(broken(std::io::Error::other(error))),
            Err(_) => return Err(broken(std::io::ErrorKind::TimedOut.into())),
        };
        let grpc = KeyServiceClient::new(channel)
            .max_decoding_message_size(MAX_ANSWER_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            grpc,
            peer: endpoint,
            passed_over: Arc::clone(passed_over),
            exporter,
            spki,
        })
    }

    /// Lets other addresses come first next time, unless this one has given a verdict.
    fn judge<T>(
        &self,
        answer: Result<T, CallError>,
        refusal: impl FnOnce(&T) -> Option<&Refusal>,
    ) -> Result<T, CallError> {
        let elsewhere = match &answer {
            Ok(answer) => refusal(answer).is_some_and(|no| no.retry != Retry::Never),
            Err(error) => error.is_transport(),
        };
        if elsewhere {
            let mut passed_over = lock(&self.passed_over);
            passed_over.retain(|address| *address != self.peer.socket);
            passed_over.push(self.peer.socket);
            // Addresses may be new ones each time.
            let beyond = passed_over.len().saturating_sub(MAX_ADDRESSES);
            passed_over.drain(..beyond);
        }
        answer
    }
}

fn refused(answer: &Answer) -> Option<&Refusal> {
    match answer {
        Answer::Refuse(refusal) => Some(refusal),
        _ => None,
    }
}

impl Session for Connection {
    fn binding(&self) -> (&Exporter, &SpkiDigest) {
        (&self.exporter, &self.spki)
    }

    fn peer(&self) -> String {
        self.peer.to_string()
    }

    async fn unlock(
        &mut self,
        body: &[u8],
        evidence: Vec<EvidenceItem>,
        deadline: Instant,
    ) -> Result<Verdict, CallError> {
        const CALL: &str = "Unlock";
        let bytes = body.len() + evidence.iter().map(|e| e.payload.len()).sum::<usize>();
        // A margin for the fields' tags, lengths and kinds.
        let limit = MAX_MESSAGE_BYTES - 1024;
        if bytes > limit {
            let call = CALL;
            return Err(CallError::RequestTooLarge { call, bytes, limit });
        }
        let request = wire::UnlockRequest {
            body: body.to_vec(),
            evidence: evidence
                .into_iter()
                .map(|item| wire::Evidence {
                    kind: item.kind,
                    payload: item.payload,
                })
                .collect(),
        };
        let answer = answered(CALL, deadline, self.grpc.unlock(request)).await;
        self.judge(answer, refused).map(Verdict::Answer)
    }

    async fn activate(
        &mut self,
        challenge: Uuid,
        proof: &[u8; 32],
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let request = wire::ActivateRequest {
            challenge_id: challenge.as_bytes().to_vec(),
            proof: proof.to_vec(),
        };
        let answer = answered("Activate", deadline, self.grpc.activate(request)).await;
        self.judge(answer, refused)
    }

    async fn confirm(
        &mut self,
        confirm: Confirm,
        deadline: Instant,
    ) -> Result<ConfirmAnswer, CallError> {
        let request = wire::ConfirmRequest::from(confirm);
        let answer = answered("Confirm", deadline, self.grpc.confirm(request)).await;
        self.judge(answer, |answer| match answer {
            ConfirmAnswer::Refuse(refusal) => Some(refusal),
            ConfirmAnswer::Confirmed => None,
        })
    }

    async fn renew(&mut self, renew: Renew, deadline: Instant) -> Result<RenewAnswer, CallError> {
        let request = wire::RenewRequest::from(renew);
        let answer = answered("Renew", deadline, self.grpc.renew(request)).await;
        self.judge(answer, |answer| match answer {
            RenewAnswer::Refuse(refusal) => Some(refusal),
            _ => None,
        })
    }
}

/// Waits for an answer until the deadline and turns it into its type.
async fn answered<W, T>(
    call: &'static str,
    deadline: Instant,
    answer: impl Future<Output = Result<Response<W>, Status>>,
) -> Result<T, CallError>
where
    T: TryFrom<W, Error = MessageError>,
{
    let began = Instant::now();
    match timeout_at(deadline, answer).await {
        Ok(Ok(response)) => {
            T::try_from(response.into_inner()).map_err(|source| CallError::Message { call, source })
        }
        Ok(Err(status)) => Err(failed(call, &status)),
        Err(_) => {
            let waited = began.elapsed();
            Err(CallError::TimedOut { call, waited })
        }
    }
}

/// Names what a gRPC status means. One with a source was made here, out of what befell the connection.
fn failed(call: &'static str, status: &Status) -> CallError {
    let detail = printable(status.message());
    let code = format!("{:?}", status.code());
    if let Some(mut cause) = std::error::Error::source(status) {
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let detail = printable(&if cause.is::<Spent>() {
            Spent.to_string()
        } else {
            format!("{detail}: {cause}")
        });
        return CallError::Closed { call, detail };
    }
    match status.code() {
        Code::OutOfRange => CallError::TooLarge {
            call,
            limit: MAX_ANSWER_BYTES,
        },
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => {
            CallError::Unavailable { call, code, detail }
        }
        _ => CallError::Status { call, code, detail },
    }
}
