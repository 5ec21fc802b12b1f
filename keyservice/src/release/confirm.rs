//! Confirm: a header opened with what was released, and is the only valid one from here on.

use super::place::same_header;
use super::{hash, refuse, until, usable};
use crate::volume::{
    ConfirmedHeader, Digest32, Holding, Kind, LeaseRecord, Pending, State, VolumeRecord,
};
use dawnkey_proto::lease;
use dawnkey_proto::message::{Confirm, Reason, Refusal};
use jiff::Timestamp;

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

/// Decides on a Confirm.
///
/// What the release said about holding the lease counts, whatever policy says by now: the node has acted on that. The
/// lease begins anew with its full length.
#[must_use]
pub fn confirm(
    confirm: &Confirm,
    record: &VolumeRecord,
    lease_seconds: u32,
    now: Timestamp,
) -> Confirmation {
    if again(confirm, record) {
        return Confirmation::Again;
    }
    match waiting(confirm, record) {
        Ok(pending) => {
            let after = confirmed(confirm, record, pending, until(now, lease_seconds));
            Confirmation::Confirmed(Box::new(after))
        }
        Err(refusal) => Confirmation::Refuse(refusal),
    }
}

/// The same Confirm as the last one, whose answer was lost.
fn again(confirm: &Confirm, record: &VolumeRecord) -> bool {
    let same_header = record.header.as_ref().is_some_and(|header| {
        header.token == Some(hash(confirm.token.expose()))
            && header.digest == Digest32(confirm.header.digest)
    });
    same_header
        && record.state == State::Active
        && record.pending.is_none()
        && record.epoch == confirm.header.epoch
        && record.confirmed == confirm.header.generation
}

/// The release that waits for this Confirm.
fn waiting<'a>(confirm: &Confirm, record: &'a VolumeRecord) -> Result<&'a Pending, Refusal> {
    usable(record)?;
    let (header, token) = (&confirm.header, hash(confirm.token.expose()));
    let epoch = header.epoch == record.epoch || record.next_epoch == Some(header.epoch);
    let pending = record.pending.as_ref().filter(|pending| {
        epoch && pending.generation == header.generation && pending.token == Some(token)
    });
    let pending = pending.ok_or_else(|| {
        refuse(
            Reason::GrantInvalid,
            format!(
                "generation {} of volume {} does not wait for this confirmation: it was replaced by a later release, or is not the service's",
                header.generation, record.id
            ),
            "ask for the key again",
        )
    })?;
    if record.kind == Kind::Adopted {
        same_header(&header.digest, record)?;
    }
    if pending.hold && !confirm.hold {
        return Err(refuse(
            Reason::HolderRequired,
            format!(
                "the volume policy of volume {} wants its lease held while it is mapped, and the node runs no holder",
                record.id
            ),
            "let the node run the lease holder (docs/agent.md), or set hold = false in the volume policy",
        ));
    }
    Ok(pending)
}

fn confirmed(
    confirm: &Confirm,
    record: &VolumeRecord,
    pending: &Pending,
    expires: Timestamp,
) -> VolumeRecord {
    let held = record.instance.filter(|_| pending.hold);
    VolumeRecord {
        state: State::Active,
        confirmed: pending.generation,
        header: Some(ConfirmedHeader {
            digest: Digest32(confirm.header.digest),
            token: Some(hash(confirm.token.expose())),
        }),
        pending: None,
        grant: None,
        boot: pending.boot,
        booted: if pending.reopen {
            record.booted
        } else {
            Some(pending.generation)
        },
        lease: held.map(|holder| LeaseRecord { holder, expires }),
        holding: held.map(|_| Holding {
            token: hash(lease::token(&confirm.token).expose()),
            fencing: record.fencing,
        }),
        progress: confirm.progress.map(Into::into).or(record.progress),
        ..record.clone()
    }
    .at_epoch(confirm.header.epoch)
}
