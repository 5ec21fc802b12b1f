//! Fakes of the three ports: each does as it is told and remembers what was done to it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod disk;
pub mod leases;
pub mod operator;
pub mod scene;
pub mod tpm;

use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::discover::Address;
use dawnkey_agent::service::{CallError, KeyService, Session, Verdict};
use dawnkey_proto::binding::{Exporter, SpkiDigest};
use dawnkey_proto::closing::{self, Opened};
use dawnkey_proto::message::{
    Answer, Challenge, Confirm, ConfirmAnswer, EvidenceItem, Lease, MessageError, OnLoss,
    Provision, Reason, Refusal, Release, Renew, RenewAnswer, Request, Retry,
};
use dawnkey_proto::seal::{self, Purpose};
use dawnkey_secret::{ConfirmToken, Dek};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// The volume of all tests.
pub const VOLUME: Uuid = Uuid::from_u128(0x5b1d_1f0e);
/// The second volume of those with two.
pub const OTHER: Uuid = Uuid::from_u128(0x5b1d_1f0f);
/// The service of all tests.
pub const SERVICE: Uuid = Uuid::from_u128(0x5e1f);
/// The DEK that the fake service releases.
pub const DEK: [u8; 32] = [0xd3; 32];
/// The token that it confirms.
pub const TOKEN: [u8; 32] = [0x70; 32];

/// The event that a boot with this volume is closed with.
pub fn close_event(volume: Uuid, generation: u64) -> Vec<u8> {
    closing::event(SERVICE, &Opened { volume, generation })
}

/// What the fake service does next.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Connect: nothing listens.
    Down,
    /// Connect: another server than the pinned one.
    Wrong,
    /// Connect: a connection.
    Up,
    /// Call: releases the key for this epoch and generation.
    Release(u32, u64),
    /// Call: the same with a lease that is to be held.
    ReleaseHeld(u32, u64),
    /// Call: releases a key that was sealed for another generation than it says.
    ReleaseSealedForOther(u32, u64),
    /// Call: grants a format.
    Provision,
    /// Call: refuses.
    Refuse(Reason, Retry),
    /// Call: wants a proof first.
    Challenge,
    /// Call: the connection ends.
    Lost,
    /// Call: never answers.
    Hang,
    /// Call: answers nonsense.
    Garbage,
    /// Confirm: recorded.
    Confirmed,
    /// Renew: for so many seconds.
    Renewed(u32),
}

/// What the service was asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Connect,
    Unlock {
        request: Request,
        evidence: Vec<u8>,
    },
    Activate([u8; 32]),
    Confirm {
        volume: Uuid,
        generation: u64,
        epoch: u32,
        digest: [u8; 32],
        token: [u8; 32],
        hold: bool,
    },
    Renew {
        volume: Uuid,
        fencing_token: u64,
        token: [u8; 32],
        end: bool,
    },
}

#[derive(Default)]
pub struct Book {
    acts: VecDeque<Act>,
    pub seen: Vec<Seen>,
    connections: u8,
    hpke_public_key: Vec<u8>,
    volume: Uuid,
}

/// A key service that plays a list of acts.
#[derive(Clone)]
pub struct FakeService(pub Rc<RefCell<Book>>);

impl FakeService {
    pub fn playing(acts: &[Act]) -> Self {
        Self(Rc::new(RefCell::new(Book {
            acts: acts.iter().copied().collect(),
            ..Book::default()
        })))
    }

    /// Plays these after the others.
    pub fn then(&self, acts: &[Act]) {
        self.0.borrow_mut().acts.extend(acts);
    }

    fn next(&self) -> Act {
        self.0.borrow_mut().acts.pop_front().unwrap_or(Act::Down)
    }

    fn note(&self, seen: Seen) {
        self.0.borrow_mut().seen.push(seen);
    }

    /// Acts that were not played.
    pub fn left(&self) -> usize {
        self.0.borrow().acts.len()
    }

    pub fn connections(&self) -> usize {
        let book = self.0.borrow();
        book.seen.iter().filter(|s| **s == Seen::Connect).count()
    }
}

pub struct FakeSession {
    service: FakeService,
    exporter: Exporter,
    spki: SpkiDigest,
}

fn address() -> Box<Address> {
    Address::literal(&"192.0.2.1:8443".parse().unwrap())
        .unwrap()
        .into()
}

impl KeyService for FakeService {
    type Session = FakeSession;

    async fn connect(&mut self, _: Instant) -> Result<FakeSession, ConnectError> {
        self.note(Seen::Connect);
        match self.next() {
            Act::Up => {
                let mut book = self.0.borrow_mut();
                book.connections += 1;
                Ok(FakeSession {
                    service: self.clone(),
                    exporter: Exporter([book.connections; 32]),
                    spki: SpkiDigest([9; 32]),
                })
            }
            Act::Down => Err(ConnectError::Unreachable {
                endpoint: address(),
                source: std::io::ErrorKind::ConnectionRefused.into(),
            }),
            Act::Wrong => Err(ConnectError::NotPinned {
                endpoint: address(),
                detail: "UnknownIssuer".into(),
            }),
            other => panic!("{other:?} is no way to connect"),
        }
    }
}

impl FakeSession {
    async fn answer(&self, call: &'static str, deadline: Instant) -> Result<Answer, CallError> {
        let release = |epoch, generation, sealed_for| {
            let purpose = Purpose {
                volume: self.service.0.borrow().volume,
                epoch,
                generation: sealed_for,
            };
            let key = self.service.0.borrow().hpke_public_key.clone();
            let dek = Dek::take(&mut DEK.clone()).unwrap();
            let token = ConfirmToken::take(&mut TOKEN.clone()).unwrap();
            Release {
                dek: seal::seal_release(&key, &purpose, &dek, &token).unwrap(),
                epoch,
                generation,
                lease: Lease {
                    fencing_token: 1,
                    seconds: 60,
                    hold: false,
                    on_loss: OnLoss::Warn,
                },
                service_id: SERVICE,
                rotation: None,
            }
        };
        match self.service.next() {
            Act::Release(epoch, generation) => {
                Ok(Answer::Release(release(epoch, generation, generation)))
            }
            Act::ReleaseHeld(epoch, generation) => {
                let mut held = release(epoch, generation, generation);
                held.lease.hold = true;
                held.lease.on_loss = OnLoss::Suspend;
                Ok(Answer::Release(held))
            }
            Act::ReleaseSealedForOther(epoch, generation) => {
                Ok(Answer::Release(release(epoch, generation, generation + 1)))
            }
            Act::Provision => Ok(Answer::Provision(Provision {
                release: release(1, 1, 1),
                grant_id: Uuid::from_u128(4),
            })),
            Act::Refuse(reason, retry) => Ok(Answer::Refuse(refusal(reason, retry))),
            Act::Challenge => Ok(Answer::Challenge(Challenge {
                id: Uuid::from_u128(5),
                id_object: vec![1; 34],
                encrypted_secret: vec![2; 256],
            })),
            act => Err(failure(act, call, deadline).await),
        }
    }
}

fn refusal(reason: Reason, retry: Retry) -> Refusal {
    Refusal {
        reason,
        detail: "found 1, expected 2".into(),
        remedy: "add the image".into(),
        retry,
    }
}

async fn failure(act: Act, call: &'static str, deadline: Instant) -> CallError {
    match act {
        Act::Lost | Act::Down => CallError::Closed {
            call,
            detail: "eof".into(),
        },
        Act::Garbage => CallError::Message {
            call,
            source: MessageError::Encoding("UnlockAnswer"),
        },
        Act::Hang => {
            sleep_until(deadline).await;
            CallError::TimedOut {
                call,
                waited: Duration::from_secs(1),
            }
        }
        other => panic!("{other:?} is no answer to {call}"),
    }
}

impl Session for FakeSession {
    fn binding(&self) -> (&Exporter, &SpkiDigest) {
        (&self.exporter, &self.spki)
    }

    fn peer(&self) -> String {
        address().to_string()
    }

    async fn unlock(
        &mut self,
        body: &[u8],
        evidence: Vec<EvidenceItem>,
        deadline: Instant,
    ) -> Result<Verdict, CallError> {
        let request = Request::decode(body).unwrap();
        self.service.0.borrow_mut().hpke_public_key = request.hpke_public_key.to_vec();
        self.service.0.borrow_mut().volume = request.volume;
        assert_eq!(evidence.len(), 1);
        assert_eq!(evidence[0].kind, "vtpm");
        let evidence = evidence[0].payload.clone();
        self.service.note(Seen::Unlock { request, evidence });
        let answer = self.answer("Unlock", deadline).await;
        answer.map(Verdict::Answer)
    }

    async fn activate(
        &mut self,
        challenge: Uuid,
        proof: &[u8; 32],
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        assert_eq!(challenge, Uuid::from_u128(5));
        self.service.note(Seen::Activate(*proof));
        self.answer("Activate", deadline).await
    }

    async fn confirm(
        &mut self,
        confirm: Confirm,
        deadline: Instant,
    ) -> Result<ConfirmAnswer, CallError> {
        self.service.note(Seen::Confirm {
            volume: confirm.volume,
            generation: confirm.header.generation,
            epoch: confirm.header.epoch,
            digest: confirm.header.digest,
            token: *confirm.token.expose(),
            hold: confirm.hold,
        });
        match self.service.next() {
            Act::Confirmed => Ok(ConfirmAnswer::Confirmed),
            Act::Refuse(reason, retry) => Ok(ConfirmAnswer::Refuse(refusal(reason, retry))),
            act => Err(failure(act, "Confirm", deadline).await),
        }
    }

    async fn renew(&mut self, renew: Renew, deadline: Instant) -> Result<RenewAnswer, CallError> {
        self.service.note(Seen::Renew {
            volume: renew.volume,
            fencing_token: renew.fencing_token,
            token: *renew.token.expose(),
            end: renew.end,
        });
        match self.service.next() {
            Act::Renewed(seconds) => Ok(RenewAnswer::Renewed { seconds }),
            Act::Refuse(reason, retry) => Ok(RenewAnswer::Refuse(refusal(reason, retry))),
            act => Err(failure(act, "Renew", deadline).await),
        }
    }
}
