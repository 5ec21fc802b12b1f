//! The admin interface of a key service: one TLS connection with both sides known, calls with deadlines,
//! and every failure sorted into "cannot reach", "do not trust" and "refused".

mod connect;
mod watch;

use crate::outcome::{Exit, Failure};
use crate::profile::Profile;
use dawnkey_proto::message::printable;
use dawnkey_proto::wire::admin_client::AdminClient;
use dawnkey_proto::wire::kek_admin_client::KekAdminClient;
use std::error::Error;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::error::Elapsed;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Longest answer about the ring: what was sealed to the recovery recipient is more than a kilobyte for each DEK.
const SEALED_BYTES: usize = 256 << 20;

/// A connection to the admin interface.
pub(crate) struct Admin {
    runtime: Runtime,
    client: AdminClient<Channel>,
    kek: KekAdminClient<Channel>,
    watched: watch::Seen,
    endpoint: String,
    deadline: Duration,
}

impl Admin {
    /// Connects and proves both sides to each other.
    pub(crate) fn connect(profile: Profile) -> Result<Self, Failure> {
        let endpoint = profile.endpoint.clone();
        let deadline = profile.call;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| {
                Failure::local(
                    format!("start the network runtime: {e}"),
                    "this process",
                    "free file descriptors",
                )
            })?;
        let (channel, watched) = runtime.block_on(connect::channel(profile))?;
        let most = dawnkey_proto::MAX_MESSAGE_BYTES;
        let kek = KekAdminClient::new(channel.clone()).max_decoding_message_size(SEALED_BYTES);
        let client = AdminClient::new(channel).max_decoding_message_size(most);
        Ok(Self {
            runtime,
            client,
            kek,
            watched,
            endpoint,
            deadline,
        })
    }

    /// Makes one call. `what` says what it is for, `subject` what it is about.
    pub(crate) fn call<T>(
        &mut self,
        what: &str,
        subject: &str,
        call: impl AsyncFnOnce(&mut AdminClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let (client, deadline) = (&mut self.client, self.deadline);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(deadline, call(client)).await });
        self.answered(what, subject, answer)
    }

    /// Makes one call about the ring of KEK providers.
    pub(crate) fn call_kek<T>(
        &mut self,
        what: &str,
        subject: &str,
        call: impl AsyncFnOnce(&mut KekAdminClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let (client, deadline) = (&mut self.kek, self.deadline);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(deadline, call(client)).await });
        self.answered(what, subject, answer)
    }

    fn answered<T>(
        &self,
        what: &str,
        subject: &str,
        answer: Result<Result<Response<T>, Status>, Elapsed>,
    ) -> Result<T, Failure> {
        match answer {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.failed(what, subject, &status)),
            Err(_) => Err(Failure::new(
                Exit::Unreachable,
                format!("{what}: no answer within {} s", self.deadline.as_secs()),
                &self.endpoint,
                "a key service that answers, or a larger call_seconds in the profile",
            )),
        }
    }

    fn failed(&self, what: &str, subject: &str, status: &Status) -> Failure {
        // The service's own answers have no local cause.
        if let Some(cause) = status.source() {
            return connect::broken(&self.watched, what, cause, &self.endpoint);
        }
        let text = printable(status.message());
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Failure::new(
                Exit::Unreachable,
                format!("{what}: the service cannot serve now: {text}"),
                &self.endpoint,
                "a key service with its store and KEK at hand; try again",
            ),
            code => Failure::new(
                Exit::Refused,
                format!("{what}: {text}"),
                subject,
                remedy(code),
            ),
        }
    }
}

/// What would make a refused call pass, as far as the code tells.
fn remedy(code: Code) -> &'static str {
    match code {
        Code::NotFound => "an id that `dawnkey volume list` or `dawnkey instance list` shows",
        Code::AlreadyExists => "an id that is not in use; leave --id out to have one made",
        Code::InvalidArgument => "arguments as `dawnkey help` describes them",
        Code::FailedPrecondition => "a record in a state that allows it; see `dawnkey volume show`",
        Code::PermissionDenied | Code::Unauthenticated => {
            "an admin certificate that the service's admin_ca issued"
        }
        Code::Unimplemented => "a key service of the same version as this tool",
        Code::Aborted | Code::ResourceExhausted => "trying again",
        _ => "see the key service's log",
    }
}
