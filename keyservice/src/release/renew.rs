//! Renewing a lease, ending it, and losing it.

use super::{hash, refuse, until, usable};
use crate::volume::{Holding, LeaseRecord, VolumeRecord};
use dawnkey_proto::message::{Reason, Refusal, Renew};
use jiff::Timestamp;

/// The outcome of a renewal.
#[derive(Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The record as it shall be; the lease has its full length again.
    Renewed(Box<VolumeRecord>),
    /// The record as it shall be; the lease has ended, as was asked.
    Ended(Box<VolumeRecord>),
    /// No; the record stays as it is.
    Refuse(Refusal),
}

/// Decides on a renewal.
///
/// A lease that has run out is renewed too, as long as nobody has got a later one: then nobody else has had the key.
#[must_use]
pub fn renew(renew: &Renew, record: &VolumeRecord, lease_seconds: u32, now: Timestamp) -> Renewal {
    if let Err(refusal) = holder(renew, record) {
        return Renewal::Refuse(refusal);
    }
    let progress = renew.progress.map(Into::into).or(record.progress);
    let lease = record.instance.filter(|_| !renew.end);
    let after = Box::new(VolumeRecord {
        lease: lease.map(|holder| LeaseRecord {
            holder,
            expires: until(now, lease_seconds),
        }),
        holding: record.holding.clone().filter(|_| !renew.end),
        progress,
        ..record.clone()
    });
    if renew.end {
        Renewal::Ended(after)
    } else {
        Renewal::Renewed(after)
    }
}

/// Whoever renews holds the last lease. Who does not have its token learns nothing about the volume.
fn holder(renew: &Renew, record: &VolumeRecord) -> Result<(), Refusal> {
    let token = hash(renew.token.expose());
    let holding = record.holding.as_ref();
    let known = holding.filter(|h| h.token == token && h.fencing == renew.fencing_token);
    let Some(Holding { fencing, .. }) = known else {
        return Err(unknown(renew));
    };
    usable(record)?;
    if *fencing == record.fencing {
        return Ok(());
    }
    let taker = record.instance.map(|i| i.to_string()).unwrap_or_default();
    Err(refuse(
        Reason::LeaseLost,
        format!(
            "instance {taker} has a later lease of volume {}: its fencing token is {}, not {fencing}",
            record.id, record.fencing
        ),
        "do not write to the volume any more; unlock it again once the later lease has ended",
    ))
}

/// A refusal for a lease that the service does not know, or not any more.
pub(crate) fn unknown(renew: &Renew) -> Refusal {
    refuse(
        Reason::LeaseLost,
        format!(
            "the lease of volume {} with fencing token {} is not held: an operator broke it, it was ended, or another has one",
            renew.volume, renew.fencing_token
        ),
        "do not write to the volume any more; unlock it again",
    )
}
