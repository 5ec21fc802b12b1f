//! Where the header that a node shows stands among generations and epochs.

use super::{Rollback, Rules, refuse};
use crate::volume::{Digest32, Kind, State, VolumeRecord};
use dawnkey_proto::message::{Ask, Reason, Refusal, SeenHeader};

/// The place of a request that may have a key.
pub(super) struct Placed {
    /// Epoch of the DEK that the header is sealed with.
    pub epoch: u32,
    /// Epoch that the header is to be sealed with from now on, if another.
    pub rotation: Option<u32>,
    /// Generation for the header.
    pub generation: u64,
    /// What an operator should know, if policy let an older disk pass.
    pub warning: Option<String>,
}

/// Finds the place of what a node asks for, or why there is none.
pub(super) fn place(ask: &Ask, record: &VolumeRecord, rules: &Rules) -> Result<Placed, Refusal> {
    let Some(seen) = ask.seen() else {
        provisionable(record)?;
        return Ok(Placed {
            epoch: record.epoch,
            rotation: None,
            generation: 1,
            warning: None,
        });
    };
    known_of(seen, record)?;
    same_kind(ask, record, rules)?;
    let stale_epoch = seen.epoch != record.epoch && record.next_epoch != Some(seen.epoch);
    if stale_epoch {
        return Err(refuse(
            Reason::StaleEpoch,
            format!(
                "the header is sealed with the DEK of epoch {}, the volume is at epoch {}",
                seen.epoch, record.epoch
            ),
            "attach the current disk, or restore a backup of its current header",
        ));
    }
    if record.kind == Kind::Adopted {
        return adopted(seen, record);
    }
    let warning = newest(seen, record, rules.rollback)?;
    let generation = match &record.pending {
        Some(window) if window.generation > seen.generation => window.generation,
        _ => record.issued + 1,
    };
    Ok(Placed {
        epoch: seen.epoch,
        rotation: record.next_epoch.filter(|next| *next != seen.epoch),
        generation,
        warning,
    })
}

fn provisionable(record: &VolumeRecord) -> Result<(), Refusal> {
    match record.state {
        State::Provisioning => Ok(()),
        State::Active | State::Retired => Err(refuse(
            Reason::AlreadyProvisioned,
            format!(
                "the disk is blank, but volume {} was provisioned and has generation {}",
                record.id, record.confirmed
            ),
            "attach the volume's disk; if its data is really gone, retire the volume and create a new one",
        )),
    }
}

fn known_of(seen: &SeenHeader, record: &VolumeRecord) -> Result<(), Refusal> {
    if record.state != State::Provisioning || record.pending.is_some() {
        return Ok(());
    }
    Err(refuse(
        Reason::NotProvisioned,
        format!(
            "the disk has a header of generation {}, but volume {} was never provisioned",
            seen.generation, record.id
        ),
        "attach a blank disk, or correct the volume id in the node's configuration",
    ))
}

/// A header of another maker passes only where the record and policy both say so.
fn same_kind(ask: &Ask, record: &VolumeRecord, rules: &Rules) -> Result<(), Refusal> {
    match (ask.adopted(), record.kind) {
        (false, Kind::Own) => Ok(()),
        (true, Kind::Own) => Err(refuse(
            Reason::AdoptedNotAllowed,
            format!(
                "volume {} has a header of Dawnkey's, the node asks for an adopted volume",
                record.id
            ),
            "remove `adopted` from the volume's entry in the node's configuration",
        )),
        (false, Kind::Adopted) => Err(refuse(
            Reason::HeaderMismatch,
            format!(
                "volume {} was adopted with another maker's header, the disk has one of Dawnkey's",
                record.id
            ),
            "attach the adopted disk",
        )),
        (true, Kind::Adopted) if rules.adopted => Ok(()),
        (true, Kind::Adopted) => Err(refuse(
            Reason::AdoptedNotAllowed,
            format!(
                "volume {} is an adopted one, which its volume policy does not allow",
                record.id
            ),
            "set adopted = true in its volume policy, or migrate it to a header of Dawnkey's",
        )),
    }
}

/// There are no generations: the header must be the very one that an operator recorded.
fn adopted(seen: &SeenHeader, record: &VolumeRecord) -> Result<Placed, Refusal> {
    same_header(&seen.digest, record)?;
    Ok(Placed {
        epoch: seen.epoch,
        rotation: None,
        generation: record.confirmed,
        warning: None,
    })
}

/// An adopted volume's header is the recorded one.
pub(super) fn same_header(digest: &[u8; 32], record: &VolumeRecord) -> Result<(), Refusal> {
    let known = record.header.as_ref().map(|header| header.digest);
    if known == Some(Digest32(*digest)) {
        return Ok(());
    }
    let shown = known.map_or_else(|| "none".to_owned(), |known| known.to_string());
    Err(refuse(
        Reason::HeaderMismatch,
        format!(
            "the header of adopted volume {} has the digest {}, {shown} is recorded",
            record.id,
            Digest32(*digest)
        ),
        "attach the adopted disk with the header that was recorded; if you changed it yourself, record it anew with `dawnkey volume adopt`",
    ))
}

/// The header is the newest, in the window or confirmed; the warning says what it is where policy lets an older one pass.
pub(super) fn newest(
    seen: &SeenHeader,
    record: &VolumeRecord,
    rollback: Rollback,
) -> Result<Option<String>, Refusal> {
    if in_window(seen, record) {
        return Ok(None);
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
    let Some(problem) = older(seen, record) else {
        return Ok(None);
    };
    match rollback {
        // The next header is the newest of all again, whatever this one was.
        Rollback::Warn => Ok(Some(problem)),
        Rollback::Refuse => Err(refuse(
            Reason::StaleGeneration,
            problem,
            "attach the current disk, or set rollback = \"warn\" in its volume policy until it has unlocked",
        )),
    }
}

/// Whether the header was released since the last Confirm. Every attempt to provision begins with generation 1.
fn in_window(seen: &SeenHeader, record: &VolumeRecord) -> bool {
    let Some(window) = &record.pending else {
        return false;
    };
    let first = record.state == State::Provisioning && seen.generation == 1;
    first || (window.from..=window.generation).contains(&seen.generation)
}

/// Why a header that was released, but not in the window, is not the confirmed one; `None` if it is.
fn older(seen: &SeenHeader, record: &VolumeRecord) -> Option<String> {
    if seen.generation < record.confirmed {
        return Some(format!(
            "the header has generation {}, {} is confirmed: this is an older copy of the disk",
            seen.generation, record.confirmed
        ));
    }
    if seen.generation > record.confirmed {
        return Some(format!(
            "the header has generation {}, which was never confirmed and given up; {} is confirmed: this is another copy of the disk",
            seen.generation, record.confirmed
        ));
    }
    let known = record.header.as_ref()?;
    let found = Digest32(seen.digest);
    (known.digest != found).then(|| {
        format!(
            "the header has the confirmed generation {}, but it is not the header that was confirmed ({found} instead of {}): this is another copy of the disk",
            seen.generation, known.digest
        )
    })
}
