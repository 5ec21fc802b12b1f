//! The pure core: may this approved node have this volume's DEK now, and what becomes of the record.
//!
//! Nothing here reads a clock, a file or a random source. [`decide`], [`confirm`] and [`renew`] get the record, the time
//! and fresh random values, and return the answer with the record as it shall be; whoever calls them swaps it into
//! the store and starts again from the new record when somebody else was faster.
//!
//! # Generations
//!
//! A record knows the `confirmed` generation and, from a release until its Confirm, the window of those `pending`:
//!
//! | header shows | answer |
//! |---|---|
//! | confirmed, the known header | release the last pending, or issued + 1 if there is none |
//! | any in the window but the last | release the last pending |
//! | the last pending | pending = issued + 1; release that |
//! | confirmed, another header | refused: a fork of the disk |
//! | lower, or released but given up | refused: an older copy |
//! | never released | refused: the service's record is older than the disk |
//!
//! What a header shows is what the host lets the node read: nobody has authenticated it when the node asks. So nothing is
//! given up for it. The confirmed header stays good until Confirm shows that another one opened, and a forged header
//! locks nobody out.
//!
//! `issued` is the highest generation ever released. It is `pending` or `confirmed`, except that provisioning
//! a volume again, which begins at 1 again, does not lower it: a header that the given-up attempt left behind
//! is never in the window.
//!
//! The window is open until Confirm, so crashes in between never lock a volume out. No data is written under a
//! generation before its Confirm: all disks of the window hold the same.
//!
//! # Epochs
//!
//! While the DEK is being rotated a record has a `next_epoch`. A release brings both DEKs. A header of the next epoch is
//! accepted inside the window. A Confirm in the next epoch makes it the only one, and the old DEK is forgotten.
//!
//! # Leases
//!
//! A release begins a lease with a new fencing token. It ends with Confirm, or lives on when policy says `hold`: then whoever
//! has the lease token renews it, until it ends it, a later lease is given, or an operator breaks it. The instance
//! that has the lease gets the next at once; others wait for its end.
//!
//! # Launches
//!
//! A bare SNP guest has no register that the agent could cap, but its reports carry an id that is unique to its launch. A
//! record remembers the launch that confirmed last, and that launch gets no key again, unless it reopens.
//!
//! # Headers
//!
//! The header's digest is compared too: two headers of one generation exist when a node was stopped after it wrote
//! a header and the host put the older disk back for the next try. Only the one that was confirmed has data behind it.
//! An adopted volume's header is never written: its digest is all there is to compare.

mod confirm;
mod place;
mod recover;
mod renew;
mod reopen;

pub use confirm::{Confirmation, confirm};
pub(crate) use recover::{Standards, recoverable};
pub(crate) use renew::unknown;
pub use renew::{Renewal, renew};
pub use reopen::{ClosedBoot, closed_boot};

use crate::approval::{Approval, Node};
use crate::volume::{Digest32, LeaseRecord, Pending, State, VolumeRecord};
use dawnkey_proto::message::{Ask, OnLoss, Reason, Refusal, Retry};
use dawnkey_secret::ConfirmToken;
use jiff::{SignedDuration, Timestamp};
use place::{Placed, place};
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
    /// How far the clocks of two services over one store may be apart, in seconds: another instance waits so much longer.
    pub skew_seconds: u32,
    /// The lease lives on after Confirm.
    pub hold: bool,
    /// What the holder does when it loses the lease.
    pub on_loss: OnLoss,
    /// Volumes with other makers' headers may be opened.
    pub adopted: bool,
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
    /// The proof that opens the key ring, for the epoch that the header is sealed with.
    pub approval: Approval,
    /// The same for the next epoch, if the header is to be sealed with that from now on.
    pub rotation: Option<Approval>,
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

fn refuse(reason: Reason, detail: impl Into<String>, remedy: &str) -> Refusal {
    Refusal {
        reason,
        detail: detail.into(),
        remedy: remedy.to_owned(),
        retry: Retry::Never,
    }
}

fn hash(token: &[u8; 32]) -> Digest32 {
    Digest32(Sha256::digest(token).into())
}

fn until(now: Timestamp, lease_seconds: u32) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(lease_seconds.into()))
        .unwrap_or(Timestamp::MAX)
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
    owner(&node, record, rules.skew_seconds, now)?;
    reopen::moment(&node, ask, record)?;
    let Placed {
        epoch,
        rotation,
        generation,
        warning,
    } = place(ask, record, rules)?;
    let window = record.pending.as_ref().filter(|_| *ask != Ask::Provision);
    let grant = matches!(ask, Ask::Provision).then_some(fresh.grant);
    let next = VolumeRecord {
        issued: record.issued.max(generation),
        pending: Some(Pending {
            from: window.map_or(generation, |w| next_from(w, generation)),
            generation,
            token: Some(hash(fresh.token.expose())),
            boot: node.boot,
            hold: rules.hold,
            reopen: node.reopens,
        }),
        grant: grant.or(record.grant),
        instance: Some(node.instance),
        lease: Some(LeaseRecord {
            holder: node.instance,
            expires: until(now, rules.lease_seconds),
        }),
        fencing: record.fencing + 1,
        last_unlock: Some(now),
        ..record.clone()
    };
    let (approval, rotation) = approval
        .for_epochs(epoch, rotation)
        .ok_or_else(|| refuse(Reason::Internal, "the approval is for other epochs", ""))?;
    Ok(Granted {
        approval,
        rotation,
        record: next,
        grant,
        generation,
        token: fresh.token,
        warning,
    })
}

/// Where the window begins once `generation` is in it. Only a provisioning that was begun again leaves a gap behind it, and
/// what lies in the gap was given up.
fn next_from(window: &Pending, generation: u64) -> u64 {
    if generation > window.generation + 1 {
        generation
    } else {
        window.from
    }
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
    if let Some(moved) = &record.moved {
        return Err(Refusal {
            reason: Reason::VolumeMoved,
            detail: format!(
                "volume {} was handed over to key service {}",
                record.id, moved.to
            ),
            remedy: "name that service's address in the node's configuration".into(),
            // The address may be a name that is about to mean the other service.
            retry: Retry::After(30),
        });
    }
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

/// Whoever gave the lease may have a clock that is behind ours: its end by our clock is not its end by theirs, or the
/// holder's. Once our clock shows the end and the largest difference of two clocks more, it has ended by all.
fn owner(
    node: &Node,
    record: &VolumeRecord,
    skew_seconds: u32,
    now: Timestamp,
) -> Result<(), Refusal> {
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
    let ends = |lease: &LeaseRecord| until(lease.expires, skew_seconds);
    let lease = record.lease.as_ref().filter(|lease| ends(lease) > now);
    match lease {
        Some(lease) if lease.holder != node.instance => {
            let left = ends(lease).duration_since(now).as_secs().max(0);
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

#[cfg(test)]
mod leases;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod model;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod testing;
