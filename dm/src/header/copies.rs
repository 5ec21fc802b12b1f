//! Two copies to one header: what is taken, what is recovered, what is refused.
//!
//! A header is written secondary first, flushed, then primary, flushed. So after a crash one copy is torn, or one is
//! the direct predecessor of the other; anything else was not left by us and is refused by name. Recovery never
//! guesses: the copy that is taken is complete and canonical by itself, and its seal must still open.

use uuid::Uuid;

use super::binary::{self, COPY_BYTES};
use super::error::{CopyError, CopyName, HeaderError, Torn};
use super::{REGION_BYTES, SealedHeader, json};
use crate::geometry::Layout;

/// In which state the two copies were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Both copies say the same.
    Clean,
    /// One copy was torn; the other was taken.
    Recovered {
        /// The torn copy.
        damaged: CopyName,
        /// What was wrong with it.
        torn: Torn,
    },
    /// A write was interrupted between the copies; the newer one was taken.
    Interrupted {
        /// The copy that still holds the state before.
        older: CopyName,
    },
}

/// A header and the state it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The header.
    pub header: SealedHeader,
    /// State of the copies.
    pub condition: Condition,
}

/// Reads the first [`REGION_BYTES`] of a disk.
pub fn parse(region: &[u8]) -> Result<Parsed, HeaderError> {
    let (primary, secondary) = split(region).ok_or(HeaderError::RegionSize {
        found: region.len(),
    })?;
    let magic = binary::has_magic(CopyName::Primary, primary)
        || binary::has_magic(CopyName::Secondary, secondary);
    if !magic {
        return Err(HeaderError::Absent);
    }
    let first = read(CopyName::Primary, primary)?;
    let second = read(CopyName::Secondary, secondary)?;
    match (first, second) {
        (Ok(primary), Ok(secondary)) => both(primary, secondary),
        (Ok(header), Err(torn)) => Ok(recovered(header, CopyName::Secondary, torn)),
        (Err(torn), Ok(header)) => Ok(recovered(header, CopyName::Primary, torn)),
        (Err(Torn::Luks1), Err(_)) => Err(HeaderError::Luks1),
        (Err(primary), Err(secondary)) => Err(HeaderError::BothTorn { primary, secondary }),
    }
}

/// The volume ids that stand in the copies' UUID fields, whatever state the copies are in.
///
/// Only for telling which disk a damaged header belongs to.
pub fn claimed_volumes(region: &[u8]) -> impl Iterator<Item = Uuid> + use<> {
    let claims = split(region).map(|(primary, secondary)| {
        [
            (CopyName::Primary, primary),
            (CopyName::Secondary, secondary),
        ]
        .map(|(which, copy)| {
            binary::has_magic(which, copy)
                .then(|| binary::volume(copy))
                .flatten()
        })
    });
    claims.into_iter().flatten().flatten()
}

/// Whether either copy begins with its LUKS magic.
#[must_use]
pub fn has_luks_magic(region: &[u8]) -> bool {
    split(region).is_some_and(|(primary, secondary)| {
        binary::has_magic(CopyName::Primary, primary)
            || binary::has_magic(CopyName::Secondary, secondary)
    })
}

fn split(region: &[u8]) -> Option<(&[u8; COPY_BYTES], &[u8; COPY_BYTES])> {
    let region: &[u8; REGION_BYTES] = region.try_into().ok()?;
    let (primary, secondary) = region.split_at_checked(COPY_BYTES)?;
    Some((primary.try_into().ok()?, secondary.try_into().ok()?))
}

/// Reads one copy: torn, or canonical, or an error that ends the whole parsing.
fn read(
    which: CopyName,
    copy: &[u8; COPY_BYTES],
) -> Result<Result<SealedHeader, Torn>, HeaderError> {
    if let Err(torn) = binary::whole(which, copy) {
        return Ok(Err(torn));
    }
    canonical(which, copy)
        .map(Ok)
        .map_err(|source| HeaderError::Altered { which, source })
}

fn canonical(which: CopyName, copy: &[u8; COPY_BYTES]) -> Result<SealedHeader, CopyError> {
    let binary = binary::parse(which, copy)?;
    let fields = json::parse(copy.get(binary::BINARY_BYTES..).unwrap_or_default())?;
    let header = SealedHeader { binary, fields };
    let written = header.copy(which).ok_or_else(|| not_canonical(0))?;
    if written.as_slice() == copy.as_slice() {
        return Ok(header);
    }
    // The checksum was compared before; it follows from the rest, which is what to point at.
    let differs = |(_, (a, b)): &(usize, (&u8, &u8))| a != b;
    let mut differing = written.iter().zip(copy).enumerate().filter(differs);
    let first = differing.find(|(offset, _)| !binary::CHECKSUM.contains(offset));
    let offset = first.map_or(binary::CHECKSUM.start, |(offset, _)| offset);
    Err(not_canonical(offset))
}

fn not_canonical(offset: usize) -> CopyError {
    let field = binary::field_at(offset);
    CopyError::NotCanonical { offset, field }
}

fn recovered(header: SealedHeader, damaged: CopyName, torn: Torn) -> Parsed {
    Parsed {
        header,
        condition: Condition::Recovered { damaged, torn },
    }
}

fn both(primary: SealedHeader, secondary: SealedHeader) -> Result<Parsed, HeaderError> {
    if primary == secondary {
        return Ok(Parsed {
            header: primary,
            condition: Condition::Clean,
        });
    }
    let (header, older) = if precedes(&primary, &secondary) {
        (secondary, CopyName::Primary)
    } else if precedes(&secondary, &primary) {
        (primary, CopyName::Secondary)
    } else {
        return Err(HeaderError::CopiesDiffer {
            primary: primary.binary.sequence,
            secondary: secondary.binary.sequence,
        });
    };
    Ok(Parsed {
        header,
        condition: Condition::Interrupted { older },
    })
}

/// Whether `old` is what the disk said just before `new`: one write earlier, an older generation, the same epoch or the
/// one before, no more data or ready sectors, nothing else changed but what sealing anew changes.
pub(super) fn precedes(old: &SealedHeader, new: &SealedHeader) -> bool {
    let mut like_new = old.clone();
    like_new.binary.sequence = new.binary.sequence;
    like_new.fields.generation = new.fields.generation;
    like_new.fields.epoch = new.fields.epoch;
    like_new.fields.layout = new.fields.layout;
    like_new.fields.nonce = new.fields.nonce;
    like_new.fields.sealed.clone_from(&new.fields.sealed);
    let (before, after) = (&old.fields, &new.fields);
    let same_epoch = before.epoch == after.epoch;
    like_new == *new
        && old.binary.sequence.checked_add(1) == Some(new.binary.sequence)
        && before.generation < after.generation
        && (same_epoch || before.epoch.checked_add(1) == Some(after.epoch))
        && follows(&before.layout, &after.layout)
}

/// Whether a layout may come after another one: the same place for every sector, and none taken back.
fn follows(before: &Layout, after: &Layout) -> bool {
    before.integrity() == after.integrity()
        && before.journal_mac() == after.journal_mac()
        && before.journal_sections() == after.journal_sections()
        && before.data_sectors() <= after.data_sectors()
        && before.ready_sectors() <= after.ready_sectors()
}
