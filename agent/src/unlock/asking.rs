//! From evidence to a key: the calls over one connection, and what a verdict must be to count.

use super::disk::Disk;
use super::{Attested, Boot, Failed, Given, Measured, Released, Trace, Unlock, wire_header};
use crate::error::{AskError, ProtocolError};
use crate::report::{Event, Sink, Stage};
use crate::retry::Budget;
use crate::service::{Fresh, KeyService, Session, Verdict};
use dawnkey_attest::collect::{Attester, CollectError};
use dawnkey_attest::evidence::Evidence;
use dawnkey_dm::{Grant, Rotation};
use dawnkey_proto::message::{Answer, Ask, Challenge, EvidenceItem, Release, Reopen, SeenHeader};
use dawnkey_proto::secret;
use dawnkey_secret::Dek;
use tokio::time::Instant;

impl Unlock<Measured> {
    /// One attempt: a connection of its own, evidence for it, and the verdict on that.
    pub async fn attempt<K: KeyService>(
        self,
        service: &mut K,
        attester: &mut impl Attester,
        budget: &Budget,
        report: Sink<'_>,
    ) -> Result<Unlock<Released<K::Session>>, Box<Failed>> {
        let attested = self.attest(service, attester, budget, report).await?;
        attested.ask(attester, budget, report).await
    }
}

impl<S: Session> Unlock<Attested<S>> {
    /// Sends request and evidence, answers a challenge, and opens the key that comes back.
    pub async fn ask(
        self,
        attester: &mut impl Attester,
        budget: &Budget,
        report: Sink<'_>,
    ) -> Result<Unlock<Released<S>>, Box<Failed>> {
        let Attested {
            measured,
            mut session,
            fresh,
            evidence,
        } = self.state;
        let mut trace = self.trace;
        let began = Instant::now();
        let mut dialogue = Dialogue {
            session: &mut session,
            attester,
            fresh: &fresh,
            trace: &mut trace,
            report,
        };
        let answer = dialogue.verdict(&measured.body, evidence, budget).await;
        let opened = answer.and_then(|answer| open(&measured, answer));
        trace.stages.add(Stage::Ask, began.elapsed());
        let (dek, given) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(Unlock::<Measured>::next(trace, measured).failed(error)),
        };
        let released = Released {
            volume: measured.volume,
            disk: measured.disk,
            dek,
            given,
            session,
        };
        Ok(Self::next(trace, released))
    }
}

/// The calls over one connection until there is a verdict.
struct Dialogue<'a, S, A> {
    session: &'a mut S,
    attester: &'a mut A,
    fresh: &'a Fresh,
    trace: &'a mut Trace,
    report: Sink<'a>,
}

impl<S: Session, A: Attester> Dialogue<'_, S, A> {
    async fn verdict(
        &mut self,
        body: &[u8],
        evidence: Evidence,
        budget: &Budget,
    ) -> Result<Verdict, AskError> {
        let items = vec![EvidenceItem {
            kind: evidence.kind().to_owned(),
            payload: evidence.encode(),
        }];
        let verdict = self.session.unlock(body, items, budget.deadline()).await?;
        self.trace.round_trips += 1;
        match verdict {
            Verdict::Answer(Answer::Challenge(challenge)) => {
                let answer = self.activate(&challenge, budget).await?;
                Ok(Verdict::Answer(answer))
            }
            Verdict::Key(dek) => {
                self.trace.round_trips += 1;
                Ok(Verdict::Key(dek))
            }
            verdict => Ok(verdict),
        }
    }

    async fn activate(
        &mut self,
        challenge: &Challenge,
        budget: &Budget,
    ) -> Result<Answer, AskError> {
        (self.report)(&Event::Challenged);
        let Challenge {
            id,
            id_object,
            encrypted_secret,
        } = challenge;
        let Fresh::Binder(exchange) = self.fresh else {
            let kind = self.attester.kind();
            return Err(ProtocolError::NothingToEnrol { kind }.into());
        };
        let proof = self.trace.stages.time(Stage::Activate, || {
            self.attester
                .activate(id_object, encrypted_secret, exchange)
        });
        let proof = proof.map_err(|error| match error {
            CollectError::NoEnrolment { kind } => ProtocolError::NothingToEnrol { kind }.into(),
            error => AskError::Collect(error),
        })?;
        let answer = self
            .session
            .activate(*id, &proof, budget.deadline())
            .await?;
        self.trace.round_trips += 1;
        match answer {
            Answer::Challenge(_) => Err(ProtocolError::SecondChallenge.into()),
            answer => Ok(answer),
        }
    }
}

/// What disk and boot make us ask for.
pub(super) fn ask(disk: &Disk, boot: Boot<'_>) -> Ask {
    let (seen, adopted) = match disk {
        Disk::Volume(volume) => (wire_header(&volume.seen()), false),
        Disk::Adopted(volume) => (wire_header(&volume.seen()), true),
        Disk::None => (secret::header(), true),
        Disk::Blank(_) => return Ask::Provision,
    };
    match boot {
        Boot::Closed(closed_with) => Ask::Reopen(Reopen {
            seen,
            adopted,
            closed_with: closed_with.to_vec(),
        }),
        Boot::Open if adopted => Ask::Adopted(seen),
        Boot::Open => Ask::Unlock(seen),
    }
}

/// Holds the verdict against what was asked, and opens its keys.
fn open(measured: &Measured, verdict: Verdict) -> Result<(Dek, Given), AskError> {
    let answer = match verdict {
        Verdict::Answer(answer) => answer,
        Verdict::Key(dek) => return Ok((dek, Given::Key)),
    };
    let release = match (measured.ask.seen(), answer) {
        (_, Answer::Refuse(refusal)) => return Err(AskError::Refused(refusal)),
        (_, Answer::Challenge(_)) => return Err(ProtocolError::SecondChallenge.into()),
        (Some(seen), Answer::Release(release)) if measured.ask.adopted() => same(seen, release)?,
        (Some(seen), Answer::Release(release)) => newer(seen, release)?,
        (None, Answer::Provision(provision)) => provision.release,
        (Some(_), Answer::Provision(_)) => return Err(ProtocolError::ProvisionForUnlock.into()),
        (None, Answer::Release(_)) => return Err(ProtocolError::ReleaseForProvision.into()),
    };
    let purpose = release.purpose(measured.volume);
    let (dek, token) = measured
        .recipient
        .open_release(&release.dek, &purpose)
        .map_err(ProtocolError::Seal)?;
    let next = release.rotation_purpose(measured.volume);
    let rotation = match release.rotation.as_ref().zip(next) {
        Some((next, purpose)) => {
            let opened = measured.recipient.open_release(&next.dek, &purpose);
            let (dek, _) = opened.map_err(ProtocolError::Seal)?;
            let epoch = next.epoch;
            Some(Rotation { epoch, dek })
        }
        None => None,
    };
    let given = Given::Release {
        rotation,
        lease: release.lease,
        token,
        grant: Grant {
            epoch: release.epoch,
            generation: release.generation,
        },
        service_id: release.service_id,
    };
    Ok((dek, given))
}

/// The header's epoch and generation: an adopted volume keeps its header.
fn same(seen: &SeenHeader, release: Release) -> Result<Release, ProtocolError> {
    if release.epoch != seen.epoch || release.rotation.is_some() {
        return Err(ProtocolError::Epoch {
            seen: seen.epoch,
            released: release.epoch,
        });
    }
    if release.generation != seen.generation {
        return Err(ProtocolError::Generation {
            seen: seen.generation,
            released: release.generation,
        });
    }
    Ok(release)
}

/// The header's epoch and a later generation than the header's: nothing else can be meant for this disk.
fn newer(seen: &SeenHeader, release: Release) -> Result<Release, ProtocolError> {
    if release.epoch != seen.epoch {
        return Err(ProtocolError::Epoch {
            seen: seen.epoch,
            released: release.epoch,
        });
    }
    if release.generation <= seen.generation {
        return Err(ProtocolError::Generation {
            seen: seen.generation,
            released: release.generation,
        });
    }
    Ok(release)
}
