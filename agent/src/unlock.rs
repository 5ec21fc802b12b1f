//! The unlock of one volume as one type:
//! `Unlock<Measured> → Unlock<Attested> → Unlock<Released> → Unlock<Mapped> → Unlock<Closed>`.
//!
//! Each step consumes the one before, so that a wrong order does not compile. The boot is closed for all volumes of a
//! node at once: [`close_boot`] takes every `Unlock<Mapped>` and gives every `Unlock<Closed>`. A step that fails before
//! anything was mapped gives the measured state back, for another attempt over another connection with other evidence.
//! After a step that fails later the mapping is closed: nothing is ever written under a generation that was not
//! confirmed.
//!
//! The flow knows no socket, TPM or disk: it is given the three ports [`KeyService`], [`Attester`] and [`Mapper`].
//! Time is tokio's, which tests can hold. Retrying is [`crate::run`]'s.

mod asking;
mod closing;
mod disk;
mod handing;
mod recovering;

pub use closing::{ClosedBoot, Unconfirmed, close_boot};

use crate::config::VolumeConfig;
use crate::error::{AskError, UnlockError};
use crate::report::{Event, Sink, Stage, Stages};
use crate::retry::Budget;
use crate::service::{Asked, Fresh, KeyService, Session};
use asking::ask;
use dawnkey_attest::collect::Attester;
use dawnkey_attest::evidence::Evidence;
use dawnkey_dm::{Grant, HeaderSeen, Mapped as Mapping, Mapper, Rotation};
use dawnkey_proto::closing::Opened;
use dawnkey_proto::message::{Ask, Lease, Request, SeenHeader};
use dawnkey_proto::recovery::KeyId;
use dawnkey_proto::seal::{Recipient, SealError};
use dawnkey_secret::{ConfirmToken, Dek};
use disk::Disk;
use tokio::time::Instant;
use uuid::Uuid;

/// What the steps leave behind for the report.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Time of each stage.
    pub stages: Stages,
    /// Round trips over the network that were waited for: one for TCP, one for TLS 1.3, one for each call.
    pub round_trips: u32,
}

/// The boot in which a volume is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot<'a> {
    /// It will be closed.
    Open,
    /// It was closed with these, in this order: a volume is opened again, for maintenance.
    Closed(&'a [Opened]),
}

/// An unlock that has come as far as `State`.
pub struct Unlock<State> {
    trace: Trace,
    state: State,
}

/// The disk is found, the request is made.
pub struct Measured {
    volume: Uuid,
    disk: Disk,
    ask: Ask,
    recipient: Recipient,
    body: Vec<u8>,
}

/// A connection stands, and there is evidence that is bound to it.
pub struct Attested<S> {
    measured: Measured,
    session: S,
    fresh: Fresh,
    evidence: Evidence,
}

/// The key is here.
pub struct Released<S> {
    volume: Uuid,
    disk: Disk,
    dek: Dek,
    given: Given,
    session: S,
}

/// What came with a key.
enum Given {
    /// By the key service: all that it keeps of the volume.
    Release {
        rotation: Option<Rotation>,
        lease: Lease,
        token: ConfirmToken,
        grant: Grant,
        service_id: Uuid,
    },
    /// By somebody who only keeps keys: nothing.
    Key,
}

/// The volume is mapped; this boot could still ask again.
pub struct Mapped<S> {
    made: Made,
    session: Option<S>,
}

/// A mapping and who gave the key for it.
struct Made {
    outcome: Outcome,
    volume: Uuid,
    mapping: Mapping,
    by: By,
}

/// Who gave a key, with what it takes to confirm it.
enum By {
    Service {
        id: Uuid,
        token: ConfirmToken,
        lease: Lease,
    },
    Operator(KeyId),
    Broker,
}

impl By {
    /// Who gave a key with this.
    fn of(given: Given) -> Self {
        match given {
            Given::Release {
                lease,
                token,
                service_id: id,
                ..
            } => Self::Service { id, token, lease },
            Given::Key => Self::Broker,
        }
    }

    const fn giver(&self) -> Giver {
        match self {
            Self::Service { id, .. } => Giver::Service(*id),
            Self::Operator(key) => Giver::Operator(*key),
            Self::Broker => Giver::Broker,
        }
    }
}

/// Who gave a volume's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    /// The key service of this id.
    Service(Uuid),
    /// Whoever has this recovery key.
    Operator(KeyId),
    /// A key broker: it has given what it keeps, and knows nothing of the volume.
    Broker,
}

/// The volume is mapped, this boot can ask for nothing more; the service does not know yet.
pub struct Closed<S> {
    made: Made,
    session: Option<S>,
}

/// How a volume came to be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Unlocked,
    /// It was made.
    Provisioned,
    /// It was there, and an operator gave the key.
    Recovered,
}

/// The end of one volume's flow.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub volume: Uuid,
    /// How.
    pub outcome: Outcome,
    /// The mapping.
    pub mapping: Mapping,
    /// Who gave the key.
    pub giver: Giver,
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
    /// Finds the volume and makes the request with a key pair of its own.
    pub fn measure(
        config: &VolumeConfig,
        boot: Boot<'_>,
        node_name: &str,
        mapper: &mut impl Mapper,
        report: Sink<'_>,
    ) -> Result<Self, UnlockError> {
        let wanted = &config.wanted;
        let mut trace = Trace::default();
        let disk = trace
            .stages
            .time(Stage::Find, || Disk::find(config, mapper))
            .map_err(UnlockError::Find)?;
        let unlock = Self::request(wanted.volume, disk, boot, node_name, trace)?;
        report(&match unlock.state.ask.seen() {
            Some(seen) => Event::DiskFound {
                generation: seen.generation,
                epoch: seen.epoch,
            },
            None => Event::DiskBlank,
        });
        Ok(unlock)
    }

    /// Makes the request with a key pair of its own.
    fn request(
        volume: Uuid,
        disk: Disk,
        boot: Boot<'_>,
        node_name: &str,
        trace: Trace,
    ) -> Result<Self, UnlockError> {
        let ask = ask(&disk, boot);
        let recipient = Recipient::generate().map_err(UnlockError::Keys)?;
        let hpke_public_key = <[u8; 32]>::try_from(recipient.public_key())
            .map_err(|_| UnlockError::Keys(SealError::KeyPair))?;
        let request = Request {
            ask: ask.clone(),
            volume,
            node_name: node_name.to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            hpke_public_key,
        };
        let state = Measured {
            volume,
            disk,
            ask,
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
        let mut session = match service.connect(budget.deadline()).await {
            Ok(session) => session,
            Err(error) => return Err(self.failed(error)),
        };
        self.trace.round_trips += 2;
        self.trace.stages.add(Stage::Connect, began.elapsed());
        report(&Event::Connected {
            endpoint: session.peer(),
            elapsed: began.elapsed(),
        });
        let asked = Asked {
            hpke_public_key: self.state.recipient.public_key(),
            body: &self.state.body,
        };
        let began = Instant::now();
        let challenged = session.challenge(asked, attester, budget.deadline()).await;
        let fresh = match challenged {
            Ok(fresh) => fresh,
            Err(error) => return Err(self.failed(error)),
        };
        if let Fresh::Digest(_) = fresh {
            self.trace.round_trips += 1;
            self.trace.stages.add(Stage::Ask, began.elapsed());
        }
        let began = Instant::now();
        let collected = match &fresh {
            Fresh::Binder(exchange) => attester.collect(exchange),
            Fresh::Digest(digest) => attester.collect_over(digest),
        };
        let evidence = match collected {
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
            fresh,
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

impl<S> Unlock<Mapped<S>> {
    /// Goes on where the boot is closed already.
    #[must_use]
    pub fn in_closed_boot(self) -> Unlock<Closed<S>> {
        let Mapped { made, session } = self.state;
        Self::next(self.trace, Closed { made, session })
    }

    /// The mapping, for closing it when the flow ends here.
    #[must_use]
    pub const fn mapping(&self) -> &Mapping {
        &self.state.made.mapping
    }

    /// What the boot's last register is extended for.
    pub(crate) fn opened(&self) -> Opened {
        let made = &self.state.made;
        Opened {
            volume: made.volume,
            generation: made.mapping.seen.generation,
        }
    }
}

impl<S> Unlock<Closed<S>> {
    /// Which volume.
    #[must_use]
    pub const fn volume(&self) -> Uuid {
        self.state.made.volume
    }

    /// The mapping, for closing it when the flow ends here.
    #[must_use]
    pub const fn mapping(&self) -> &Mapping {
        &self.state.made.mapping
    }
}

impl<S> Unlock<Released<S>> {
    /// Refuses a lease that has to be held where nobody will: its loss would be acted on by nobody.
    pub fn with_holder(self, there_is_one: bool) -> Result<Self, UnlockError> {
        let held = matches!(&self.state.given, Given::Release { lease, .. } if lease.hold);
        if held && !there_is_one {
            return Err(UnlockError::NoHolder);
        }
        Ok(self)
    }

    /// Opens the volume, under the next epoch's DEK from now on if there is one, or makes it on a provisioning grant.
    /// Every DEK ends here.
    pub fn map(
        self,
        mapper: &mut impl Mapper,
        report: Sink<'_>,
    ) -> Result<Unlock<Mapped<S>>, UnlockError> {
        let Released {
            volume,
            disk,
            dek,
            mut given,
            session,
        } = self.state;
        let mut trace = self.trace;
        let began = Instant::now();
        let (outcome, stage, mapping) = match disk {
            Disk::Volume(sealed) => {
                let mapping = match &given {
                    Given::Release {
                        grant, rotation, ..
                    } => mapper.open(sealed, &dek, *grant, rotation.as_ref()),
                    Given::Key => mapper.open_as_it_is(sealed, &dek),
                };
                let mapping = mapping.map_err(UnlockError::Open)?;
                (Outcome::Unlocked, Stage::Open, mapping)
            }
            Disk::Adopted(volume) => {
                let mapping = mapper
                    .open_adopted(*volume, &dek)
                    .map_err(UnlockError::Open)?;
                (Outcome::Unlocked, Stage::Open, mapping)
            }
            Disk::None => return Err(UnlockError::NoDisk),
            Disk::Blank(blank) => {
                let grant = match &given {
                    Given::Release { grant, .. } => *grant,
                    Given::Key => FIRST,
                };
                let mut progress = |p| report(&Event::formatting(p));
                let mapping = mapper
                    .format(blank, &dek, grant, &mut progress)
                    .map_err(UnlockError::Format)?;
                (Outcome::Provisioned, Stage::Format, mapping)
            }
        };
        drop(dek);
        match &mut given {
            Given::Release { rotation, .. } => drop(rotation.take()),
            Given::Key => report(&Event::KeyWithoutState { volume }),
        }
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
            by: By::of(given),
        };
        let session = Some(session);
        Ok(Self::next(trace, Mapped { made, session }))
    }
}

/// What a volume begins with where nobody keeps count.
const FIRST: Grant = Grant {
    epoch: 1,
    generation: 1,
};

const fn wire_header(seen: &HeaderSeen) -> SeenHeader {
    SeenHeader {
        generation: seen.generation,
        epoch: seen.epoch,
        digest: seen.digest,
    }
}
