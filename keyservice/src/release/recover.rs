//! Whether an operator may open a volume where no service answers its node: the rules of an unlock, without what only a
//! service can give. No generation is issued, nothing is recorded, no lease begins.

use super::place::newest;
use super::{Rollback, owner, refuse, reopen, usable};
use crate::approval::Node;
use crate::volume::{Kind, State, VolumeRecord};
use dawnkey_proto::message::{Ask, Reason, Refusal, SeenHeader};
use jiff::Timestamp;

/// What a recovery is judged by, beside evidence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standards {
    /// What an older disk means.
    pub(crate) rollback: Rollback,
    /// How far clocks of services over one store may be apart.
    pub(crate) skew_seconds: u32,
    /// The record may be older than the disk: it is a copy that was made some time ago.
    pub(crate) copied: bool,
}

/// Judges a node that policy has approved, and the header that it shows. The warning says what an operator should know.
pub(crate) fn recoverable(
    node: &Node,
    seen: &SeenHeader,
    record: &VolumeRecord,
    standards: Standards,
    now: Timestamp,
) -> Result<Option<String>, Refusal> {
    usable(record)?;
    if record.state != State::Active || record.kind != Kind::Own {
        return Err(refuse(
            Reason::NotProvisioned,
            format!(
                "volume {} is {} and {}; recovery opens active volumes with a header of Dawnkey's",
                record.id,
                record.state.name(),
                record.kind.name()
            ),
            "let the node provision it, or open an adopted volume with its own tools",
        ));
    }
    owner(node, record, standards.skew_seconds, now)?;
    reopen::moment(node, &Ask::Unlock(*seen), record)?;
    let copied = |what: String| {
        format!("{what}; the records are a copy that was made before the node's last unlocks")
    };
    if seen.epoch != record.epoch && record.next_epoch != Some(seen.epoch) {
        return Err(refuse(
            Reason::StaleEpoch,
            format!(
                "the header is sealed with the DEK of epoch {}, the records have epoch {}",
                seen.epoch, record.epoch
            ),
            "attach the current disk, or use newer records",
        ));
    }
    if standards.copied && seen.generation > record.confirmed {
        let found = format!(
            "the header has generation {}, {} is the last that the records know",
            seen.generation, record.confirmed
        );
        return Ok(Some(copied(found)));
    }
    newest(seen, record, standards.rollback)
}
