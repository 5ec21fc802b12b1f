//! One unlock as one type: `Unlock<Measured> → Unlock<Attested> → Unlock<Released> → Unlock<Mapped> → Unlock<Closed>`.
//!
//! Each step consumes the one before, so that a wrong order does not compile. A step that fails before anything was
//! mapped gives the measured state back, for another attempt over another connection with other evidence. A step
//! that fails afterwards closes the mapping: nothing is ever written under a generation that was not confirmed.
//!
//! The flow knows no socket, TPM or disk: it is given the three ports [`KeyService`], [`Attester`] and [`Mapper`].
//! Time is tokio's, which tests can hold. Retrying is [`crate::run`]'s.

mod asking;
mod closing;

pub use closing::Unconfirmed;

use crate::error::{AskError, UnlockError};
use crate::report::{Event, Sink, Stage, Stages};
use crate::retry::Budget;
use crate::service::{KeyService, Session};
use asking::ask;
use dawnkey_attest::collect::{Attester, Closing};
use dawnkey_attest::evidence::{Evidence, Exchange};
use dawnkey_dm::{Found, Grant, HeaderSeen, Mapped as Mapping, Mapper, Wanted};
use dawnkey_proto::binding::{self, Bound, Role};
use dawnkey_proto::message::{Ask, Request, SeenHeader};
use dawnkey_proto::seal::{Recipient, SealError};
use dawnkey_secret::{ConfirmToken, Dek};
use tokio::time::Instant;
use uuid::Uuid;

/// What the boot's last register is extended with begins with these bytes.
const CLOSE_EVENT_LABEL: &[u8] = b"dawnkey/v1/unlocked";

/// The event with which a boot is closed (docs/protocol.md, "After the unlock"):
/// `"dawnkey/v1/unlocked" ‖ service id (16) ‖ volume id (16) ‖ generation (64-bit big-endian)`.
#[must_use]
pub fn close_event(service_id: Uuid, volume: Uuid, generation: u64) -> Vec<u8> {
    let mut event = CLOSE_EVENT_LABEL.to_vec();
    event.extend(service_id.as_bytes());
    event.extend(volume.as_bytes());
    event.extend(generation.to_be_bytes());
    event
}

/// What the steps leave behind for the report.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Time of each stage.
    pub stages: Stages,
    /// Round trips over the network that were waited for: one for TCP, one for TLS 1.3, one for each call.
    pub round_trips: u32,
}

/// An unlock that has come as far as `State`.
pub struct Unlock<State> {
    trace: Trace,
    state: State,
}

/// The disk is found, the request is made.
pub struct Measured {
    volume: Uuid,
    disk: Found,
    recipient: Recipient,
    body: Vec<u8>,
}

/// A connection stands, and there is evidence that is bound to it.
pub struct Attested<S> {
    measured: Measured,
    session: S,
    exchange: Exchange,
    evidence: Evidence,
}

/// The key is here.
pub struct Released<S> {
    volume: Uuid,
    disk: Found,
    dek: Dek,
    token: ConfirmToken,
    grant: Grant,
    service_id: Uuid,
    session: S,
}

/// The volume is mapped; this boot could still ask again.
pub struct Mapped<S> {
    made: Made,
    session: S,
}

/// A mapping and what it takes to confirm it.
struct Made {
    outcome: Outcome,
    volume: Uuid,
    mapping: Mapping,
    token: ConfirmToken,
    service_id: Uuid,
}

/// The volume is mapped, this boot can ask for nothing more; the service does not know yet.
pub struct Closed<S> {
    made: Made,
    evidence: &'static str,
    closing: Closing,
    session: Option<S>,
}

/// How a volume came to be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Unlocked,
    /// It was made.
    Provisioned,
}

/// The end of the flow.
#[derive(Debug)]
pub struct Done {
    /// How.
    pub outcome: Outcome,
    /// The mapping.
    pub mapping: Mapping,
    /// The key service that answered.
    pub service_id: Uuid,
    /// Kind of the evidence that the key was released for.
    pub evidence: &'static str,
    /// How the boot was closed.
    pub closing: Closing,
    /// For the report.
    pub trace: Trace,
}

/// An attempt that failed, and the state from which the next can begin.
pub struct Failed {
    /// To begin again from.
    pub back: Unlock<Measured>,
    /// What failed.
    pub error: AskError,
}

impl<State> Unlock<State> {
    fn next<Next>(trace: Trace, state: Next) -> Unlock<Next> {
        Unlock { trace, state }
    }

    /// What the steps so far leave for the report.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }
}

impl Unlock<Measured> {
    /// Finds the volume and makes the request with a key pair of this boot.
    pub fn measure(
        wanted: &Wanted,
        node_name: &str,
        mapper: &mut impl Mapper,
        report: Sink<'_>,
    ) -> Result<Self, UnlockError> {
        let mut trace = Trace::default();
        let disk = trace
            .stages
            .time(Stage::Find, || mapper.find(wanted))
            .map_err(UnlockError::Find)?;
        let ask = ask(&disk);
        report(&match ask {
            Ask::Unlock(seen) => Event::DiskFound {
                generation: seen.generation,
                epoch: seen.epoch,
            },
            Ask::Provision => Event::DiskBlank,
        });
        let recipient = Recipient::generate().map_err(UnlockError::Keys)?;
        let hpke_public_key = <[u8; 32]>::try_from(recipient.public_key())
            .map_err(|_| UnlockError::Keys(SealError::KeyPair))?;
        let request = Request {
            ask,
            volume: wanted.volume,
            node_name: node_name.to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            hpke_public_key,
        };
        let state = Measured {
            volume: wanted.volume,
            disk,
            recipient,
            body: request.encode(),
        };
        Ok(Self { trace, state })
    }

    /// Connects, and collects evidence that is bound to this very connection.
    pub async fn attest<K: KeyService>(
        mut self,
        service: &mut K,
        attester: &mut impl Attester,
        budget: &Budget,
        report: Sink<'_>,
    ) -> Result<Unlock<Attested<K::Session>>, Box<Failed>> {
        let began = Instant::now();
        let session = match service.connect(budget.deadline()).await {
            Ok(session) => session,
            Err(error) => return Err(self.failed(error)),
        };
        self.trace.round_trips += 2;
        self.trace.stages.add(Stage::Connect, began.elapsed());
        report(&Event::Connected {
            endpoint: session.peer(),
            elapsed: began.elapsed(),
        });
        let (exporter, service_spki) = session.binding();
        let exchange = Exchange(
            binding::binder(&Bound {
                role: Role::Node,
                exporter,
                service_spki,
                hpke_public_key: self.state.recipient.public_key(),
                request: &self.state.body,
            })
            .0,
        );
        let began = Instant::now();
        let evidence = match attester.collect(&exchange) {
            Ok(evidence) => evidence,
            Err(error) => return Err(self.failed(error)),
        };
        self.trace.stages.add(Stage::Collect, began.elapsed());
        report(&Event::EvidenceCollected {
            kind: evidence.kind(),
            elapsed: began.elapsed(),
        });
        if let Some(problem) = attester.shortfall() {
            report(&Event::EvidenceIncomplete {
                problem: problem.to_owned(),
            });
        }
        let attested = Attested {
            measured: self.state,
            session,
            exchange,
            evidence,
        };
        Ok(Self::next(self.trace, attested))
    }

    fn failed(self, error: impl Into<AskError>) -> Box<Failed> {
        Box::new(Failed {
            back: self,
            error: error.into(),
        })
    }
}

impl<S> Unlock<Released<S>> {
    /// Opens the volume, or makes it on a provisioning grant. The DEK ends here.
    pub fn map(
        self,
        mapper: &mut impl Mapper,
        report: Sink<'_>,
    ) -> Result<Unlock<Mapped<S>>, UnlockError> {
        let Released {
            volume,
            disk,
            dek,
            token,
            grant,
            service_id,
            session,
        } = self.state;
        let mut trace = self.trace;
        let began = Instant::now();
        let (outcome, stage, mapping) = match disk {
            Found::Volume(sealed) => {
                let mapping = mapper
                    .open(sealed, &dek, grant)
                    .map_err(UnlockError::Open)?;
                (Outcome::Unlocked, Stage::Open, mapping)
            }
            Found::Blank(blank) => {
                let mut progress = |p| report(&Event::formatting(p));
                let mapping = mapper
                    .format(blank, &dek, grant, &mut progress)
                    .map_err(UnlockError::Format)?;
                (Outcome::Provisioned, Stage::Format, mapping)
            }
        };
        drop(dek);
        trace.stages.add(stage, began.elapsed());
        report(&Event::Mapped {
            device: mapping.device.clone(),
            generation: mapping.seen.generation,
            elapsed: began.elapsed(),
        });
        let made = Made {
            outcome,
            volume,
            mapping,
            token,
            service_id,
        };
        Ok(Self::next(trace, Mapped { made, session }))
    }
}

const fn wire_header(seen: &HeaderSeen) -> SeenHeader {
    SeenHeader {
        generation: seen.generation,
        epoch: seen.epoch,
        digest: seen.digest,
    }
}
