//! The pure core: may this approved node have this volume's DEK now, and what becomes of the record.
//!
//! Nothing here reads a clock, a file or a random source. [`decide`] and [`confirm`] get the record, the time and
//! fresh random values, and return the answer with the record as it shall be; whoever calls them swaps it into
//! the store and starts again from the new record when somebody else was faster.
//!
//! # Generations
//!
//! A record knows the `confirmed` generation and, from a release until its Confirm, the `pending` one:
//!
//! | header shows | becomes | answer |
//! |---|---|---|
//! | confirmed, the known header | pending = issued + 1, if there is none yet | release pending |
//! | pending | confirmed = pending, pending = issued + 1 | release pending |
//! | confirmed, another header | | refused: a fork of the disk |
//! | lower, or released but given up | | refused: an older copy |
//! | never released | | refused: the service's record is older than the disk |
//!
//! `issued` is the highest generation ever released. It is `pending` or `confirmed`, except that provisioning
//! a volume again, which begins at 1 again, does not lower it: a header that the given-up attempt left behind
//! never becomes the pending one.
//!
//! The window is open until Confirm, so crashes in between never lock a volume out. No data is written under a
//! generation before its Confirm.
//!
//! # Launches
//!
//! A bare SNP guest has no register that the agent could cap, but its reports carry an id that is unique to its launch. A
//! record remembers the launch that confirmed last, and that launch gets no key again.
//!
//! # Headers
//!
//! The header's digest is compared too: two headers of one generation exist when a node was stopped after it wrote
//! a header and the host put the older disk back for the next try. Only the one that was confirmed has data behind it.

use crate::approval::{Approval, Node};
use crate::volume::{ConfirmedHeader, Digest32, LeaseRecord, Pending, State, VolumeRecord};
use dawnkey_proto::message::{Ask, Confirm, Reason, Refusal, Retry, SeenHeader};
use dawnkey_secret::ConfirmToken;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What policy does about a disk that is older than the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// No key.
    Refuse,
    /// The key is released and the audit record carries a warning.
    Warn,
}

/// The rules of the volume's policy and of the service that apply here.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What happens to an older disk.
    pub rollback: Rollback,
    /// Length of a lease in seconds.
    pub lease_seconds: u32,
}

/// Random values for one decision, never used twice.
#[derive(Debug)]
pub struct Fresh {
    /// Confirms the generation.
    pub token: ConfirmToken,
    /// Names the grant if it becomes a provisioning grant.
    pub grant: Uuid,
}

/// A yes: what to answer and what to store.
#[derive(Debug)]
pub struct Granted {
    /// The proof that opens the key ring.
    pub approval: Approval,
    /// The record as it shall be.
    pub record: VolumeRecord,
    /// The grant of a provisioning answer; `None` for a release.
    pub grant: Option<Uuid>,
    /// Generation for the header.
    pub generation: u64,
    /// The token that the record now waits for.
    pub token: ConfirmToken,
    /// What an operator should know, if policy let an older disk pass.
    pub warning: Option<String>,
}

/// The outcome of an approved request.
#[derive(Debug)]
pub enum Decision {
    /// The DEK may leave once the record is stored.
    Grant(Box<Granted>),
    /// No; the record stays as it is.
    Refuse(Refusal),
}

/// The outcome of a Confirm.
#[derive(Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The record as it shall be.
    Confirmed(Box<VolumeRecord>),
    /// It was confirmed before by the same token; the record stays as it is.
    Again,
    /// No; the record stays as it is.
    Refuse(Refusal),
}

fn refuse(reason: Reason, detail: impl Into<String>, remedy: &str) -> Refusal {
    Refusal {
        reason,
        detail: detail.into(),
        remedy: remedy.to_owned(),
        retry: Retry::Never,
    }
}

fn hash(token: &ConfirmToken) -> Digest32 {
    Digest32(Sha256::digest(token.expose()).into())
}

/// Decides on a request of a node that policy has approved for this very record.
pub fn decide(
    approval: Approval,
    ask: &Ask,
    record: &VolumeRecord,
    rules: &Rules,
    fresh: Fresh,
    now: Timestamp,
) -> Decision {
    match try_decide(approval, ask, record, rules, fresh, now) {
        Ok(granted) => Decision::Grant(Box::new(granted)),
        Err(refusal) => Decision::Refuse(refusal),
    }
}

fn try_decide(
    approval: Approval,
    ask: &Ask,
    record: &VolumeRecord,
    rules: &Rules,
    fresh: Fresh,
    now: Timestamp,
) -> Result<Granted, Refusal> {
    let node = subject(&approval, record)?.clone();
    usable(record)?;
    owner(&node, record, now)?;
    first_of_boot(&node, record)?;
    let (confirmed, header, warning) = match ask {
        Ask::Provision => {
            provisionable(record)?;
            (0, None, None)
        }
        Ask::Unlock(seen) => place(seen, record, rules.rollback)?,
        Ask::Adopted(_) => {
            let detail = "the header is not one of Dawnkey's";
            return Err(refuse(Reason::AdoptedNotAllowed, detail, ""));
        }
        Ask::Reopen(_) => {
            let detail = "volumes are opened at boot only";
            return Err(refuse(Reason::ReopenNotAllowed, detail, "reboot the node"));
        }
    };
    let generation = match (ask, &record.pending) {
        (Ask::Provision, _) => 1,
        (_, Some(pending)) if pending.generation > confirmed => pending.generation,
        (_, _) => record.issued + 1,
    };
    let expires = now
        .checked_add(SignedDuration::from_secs(rules.lease_seconds.into()))
        .unwrap_or(Timestamp::MAX);
    let grant = matches!(ask, Ask::Provision).then_some(fresh.grant);
    let next = VolumeRecord {
        confirmed,
        header,
        issued: record.issued.max(generation),
        pending: Some(Pending {
            generation,
            token: hash(&fresh.token),
            boot: node.boot,
        }),
        grant: grant.or(record.grant),
        instance: Some(node.instance),
        lease: Some(LeaseRecord {
            holder: node.instance,
            expires,
        }),
        fencing: record.fencing + 1,
        last_unlock: Some(now),
        ..record.clone()
    };
    Ok(Granted {
        approval,
        record: next,
        grant,
        generation,
        token: fresh.token,
        warning,
    })
}

fn subject<'a>(approval: &'a Approval, record: &VolumeRecord) -> Result<&'a Node, Refusal> {
    // Both cases are errors of the caller; refusing is the safe end of them.
    if approval.volume() != record.id || approval.epoch() != record.epoch {
        let detail = "the approval is for another volume or epoch";
        return Err(refuse(Reason::Internal, detail, ""));
    }
    approval
        .node()
        .ok_or_else(|| refuse(Reason::Internal, "the approval is an operator's", ""))
}

fn usable(record: &VolumeRecord) -> Result<(), Refusal> {
    match record.state {
        State::Provisioning | State::Active => Ok(()),
        State::Retired => Err(refuse(
            Reason::VolumeRetired,
            format!(
                "volume {} was retired and its keys are forgotten",
                record.id
            ),
            "create a new volume",
        )),
    }
}

fn owner(node: &Node, record: &VolumeRecord, now: Timestamp) -> Result<(), Refusal> {
    let owned = record.instance.is_none_or(|owner| owner == node.instance);
    if !owned && !node.takes_over {
        return Err(refuse(
            Reason::InstanceNotAllowed,
            format!(
                "volume {} belongs to another instance than {}",
                record.id, node.instance
            ),
            "if the machine was replaced, list the new instance under `instances` of its volume policy; where machines come and go, set owner = \"any\" there",
        ));
    }
    match record.live_lease(now) {
        Some(lease) if lease.holder != node.instance => {
            let left = lease.expires.duration_since(now).as_secs().max(0);
            Err(Refusal {
                reason: Reason::LeaseHeld,
                detail: format!(
                    "instance {} runs volume {} until {}",
                    lease.holder, record.id, lease.expires
                ),
                remedy: "wait for the lease to end, or end it with `dawnkey volume break-lease`"
                    .into(),
                retry: Retry::After(u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1)),
            })
        }
        _ => Ok(()),
    }
}

/// A launch whose Confirm has come has had its key: who asks now is whatever runs there later.
fn first_of_boot(node: &Node, record: &VolumeRecord) -> Result<(), Refusal> {
    match node.boot {
        Some(boot) if record.boot == Some(boot) => Err(refuse(
            Reason::BootClosed,
            format!(
                "the launch with report id {boot} has confirmed generation {} of volume {}: it has had its key already",
                record.confirmed, record.id
            ),
            "a key is given once per launch: stop the guest and start it anew",
        )),
        _ => Ok(()),
    }
}

fn provisionable(record: &VolumeRecord) -> Result<(), Refusal> {
    match record.state {
        State::Provisioning => Ok(()),
        State::Active | State::Retired => Err(refuse(
            Reason::AlreadyProvisioned,
            format!(
                "volume {} is active at generation {}, but the node sees a blank disk: its header was wiped or the wrong disk is attached",
                record.id, record.confirmed
            ),
            "attach the volume's own disk or restore it; for a new disk create a new volume",
        )),
    }
}

type Place = (u64, Option<ConfirmedHeader>, Option<String>);

/// Finds the header's place among the generations and returns what counts as confirmed from here on.
fn place(seen: &SeenHeader, record: &VolumeRecord, rollback: Rollback) -> Result<Place, Refusal> {
    let pending = record.pending.as_ref().map(|p| p.generation);
    if record.state == State::Provisioning && pending.is_none() {
        return Err(refuse(
            Reason::NotProvisioned,
            format!(
                "the disk has a header of generation {}, but volume {} was never provisioned",
                seen.generation, record.id
            ),
            "attach a blank disk, or correct the volume id in the node's configuration",
        ));
    }
    if seen.epoch != record.epoch {
        return Err(refuse(
            Reason::StaleEpoch,
            format!(
                "the header is sealed with the DEK of epoch {}, the volume is at epoch {}",
                seen.epoch, record.epoch
            ),
            "attach the current disk",
        ));
    }
    let seen_header = || ConfirmedHeader {
        digest: Digest32(seen.digest),
        token: None,
    };
    if pending == Some(seen.generation) {
        return Ok((seen.generation, Some(seen_header()), None));
    }
    if seen.generation > record.issued {
        return Err(refuse(
            Reason::StaleGeneration,
            format!(
                "the header has generation {}, the service has released none after {}: the service's store is older than the disk",
                seen.generation, record.issued
            ),
            "restore the newest copy of the service's store",
        ));
    }
    let problem = if seen.generation < record.confirmed {
        format!(
            "the header has generation {}, {} is confirmed: this is an older copy of the disk",
            seen.generation, record.confirmed
        )
    } else if seen.generation > record.confirmed {
        format!(
            "the header has generation {}, which was never confirmed and given up; {} is confirmed: this is another copy of the disk",
            seen.generation, record.confirmed
        )
    } else {
        match &record.header {
            Some(known) if known.digest != Digest32(seen.digest) => format!(
                "the header has the confirmed generation {}, but it is not the header that was confirmed ({} instead of {}): this is another copy of the disk",
                seen.generation,
                Digest32(seen.digest),
                known.digest
            ),
            known => return Ok((record.confirmed, known.clone(), None)),
        }
    };
    match rollback {
        // The next header is the newest of all again, whatever this one was.
        Rollback::Warn => Ok((record.confirmed, record.header.clone(), Some(problem))),
        Rollback::Refuse => Err(refuse(
            Reason::StaleGeneration,
            problem,
            "attach the current disk, or set rollback = \"warn\" in its volume policy until it has unlocked",
        )),
    }
}

/// Decides on a Confirm.
#[must_use]
pub fn confirm(confirm: &Confirm, record: &VolumeRecord) -> Confirmation {
    if let Err(refusal) = usable(record) {
        return Confirmation::Refuse(refusal);
    }
    let (token, digest) = (hash(&confirm.token), Digest32(confirm.header.digest));
    let same_epoch = confirm.header.epoch == record.epoch;
    if let Some(header) = &record.header
        && record.pending.is_none()
        && same_epoch
        && header.token == Some(token)
        && header.digest == digest
        && record.confirmed == confirm.header.generation
    {
        return Confirmation::Again;
    }
    match &record.pending {
        Some(pending)
            if same_epoch
                && pending.generation == confirm.header.generation
                && pending.token == token =>
        {
            Confirmation::Confirmed(Box::new(VolumeRecord {
                state: State::Active,
                confirmed: pending.generation,
                header: Some(ConfirmedHeader {
                    digest,
                    token: Some(token),
                }),
                pending: None,
                grant: None,
                lease: None,
                boot: pending.boot,
                ..record.clone()
            }))
        }
        _ => Confirmation::Refuse(refuse(
            Reason::GrantInvalid,
            format!(
                "generation {} of volume {} does not wait for this confirmation: it was replaced by a later release, or is not the service's",
                confirm.header.generation, record.id
            ),
            "ask for the key again",
        )),
    }
}

#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
