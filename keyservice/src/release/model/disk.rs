//! A small model of a disk: two copies of a header, and which launches' data are on it.

use super::super::testing::Header;

/// One of the two places for a copy of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// Zeros: never written.
    Blank,
    /// A write was cut.
    Torn,
    /// A whole copy.
    Whole(Copied),
}

/// A whole copy of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Copied {
    pub sequence: u64,
    pub header: Header,
    /// The host made it up: no DEK opens it.
    pub forged: bool,
}

/// What is read of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Blank,
    Header(Copied),
    /// Refused by name before anything is asked.
    Unreadable,
}

/// A disk, as a whole: who copies it copies all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub slots: [Slot; 2],
    /// Names what was written to it; see [`super::world::World::includes`].
    pub content: usize,
}

impl Disk {
    pub(super) const fn blank() -> Self {
        Self {
            slots: [Slot::Blank; 2],
            content: 0,
        }
    }

    /// The rule of `dawnkey-dm`: the whole copy, or the newer of two of which the other is the direct predecessor.
    pub(super) fn read(&self) -> Read {
        match self.slots {
            [Slot::Blank, Slot::Blank] => Read::Blank,
            [Slot::Whole(a), Slot::Whole(b)] if a == b => Read::Header(a),
            [Slot::Whole(a), Slot::Whole(b)] if precedes(&a, &b) => Read::Header(b),
            [Slot::Whole(a), Slot::Whole(b)] if precedes(&b, &a) => Read::Header(a),
            [Slot::Whole(_), Slot::Whole(_)] => Read::Unreadable,
            [Slot::Whole(one), _] | [_, Slot::Whole(one)] => Read::Header(one),
            _ => Read::Unreadable,
        }
    }

    /// The slot that is not needed: written first. Of two equal ones it is the secondary.
    pub(super) fn first_slot(&self) -> usize {
        match (self.slots, self.read()) {
            ([Slot::Whole(a), Slot::Whole(b)], Read::Header(taken)) if a != b => {
                usize::from(taken == a)
            }
            ([Slot::Whole(_), _], _) => 1,
            ([_, Slot::Whole(_)], _) => 0,
            _ => 1,
        }
    }
}

fn precedes(older: &Copied, newer: &Copied) -> bool {
    let epochs = newer.header.epoch.checked_sub(older.header.epoch);
    older.sequence + 1 == newer.sequence
        && older.header.generation < newer.header.generation
        && matches!(epochs, Some(0 | 1))
}
