//! What tells one state of the world from another, whatever the numbers in it are: for counting what was visited.

use super::super::testing::{Header, LEASE};
use super::disk::{Disk, Slot};
use super::world::{INSTANCES, Phase, World};
use crate::volume::Digest32;
use jiff::Timestamp;

/// A state without absolute generations, epochs, times, tokens and contents.
pub(super) type Shape = Vec<i64>;

/// Differences above this are one.
const FAR: i64 = 4;

fn apart(a: u64, b: u64) -> i64 {
    let difference = i64::try_from(a).unwrap_or(i64::MAX) - i64::try_from(b).unwrap_or(i64::MAX);
    difference.clamp(-1, FAR)
}

impl World {
    /// Its shape.
    pub(super) fn shape(&self) -> Shape {
        let record = &self.service.record;
        let mut shape = vec![
            record.state as i64,
            i64::from(self.service.hold),
            apart(record.issued, record.confirmed),
            i64::from(record.next_epoch.is_some()),
            record.lease.as_ref().map_or(-1, |lease| {
                let own = |n: &u8| Digest32([*n; 32]) == lease.holder;
                let who = INSTANCES.iter().position(own).map_or(9, |m| m as i64);
                10 * who + self.ticks(lease.expires)
            }),
            record
                .holding
                .as_ref()
                .map_or(-1, |holding| i64::from(holding.fencing == record.fencing)),
            self.last.map_or(-1, |m| m as i64),
        ];
        if let Some(window) = &record.pending {
            shape.extend([
                apart(window.from, record.confirmed),
                apart(window.generation, record.confirmed),
                i64::from(window.token.is_some()),
            ]);
        }
        for machine in &self.machines {
            shape.push(match machine.phase {
                Phase::Off => 100,
                Phase::Asked => 101,
                Phase::Writing(n) => 102 + i64::from(n),
                Phase::Running { held } => 110 + i64::from(held),
            });
            shape.push(i64::from(machine.tampered));
            shape.extend(self.disk(&machine.disk));
            if let Some(launch) = &machine.launch {
                shape.extend([
                    self.ticks(launch.lease_until),
                    i64::from(launch.opens),
                    i64::from(launch.fencing == record.fencing),
                    apart(launch.next.header.generation, record.confirmed),
                ]);
            }
        }
        let mut copies: Vec<_> = self.copies.iter().map(|copy| self.disk(copy)).collect();
        copies.sort_unstable();
        copies.dedup();
        shape.extend(copies.into_iter().flatten());
        shape
    }

    fn ticks(&self, until: Timestamp) -> i64 {
        let third = i64::from(LEASE) / 3;
        (until.duration_since(self.service.now).as_secs() / third).clamp(0, 3)
    }

    fn disk(&self, disk: &Disk) -> [i64; 4] {
        let [primary, secondary] = disk.slots.map(|slot| self.slot(slot));
        let same = i64::from(disk.slots[0] == disk.slots[1]);
        let whole = i64::from(self.includes(disk.content, self.required));
        [primary, secondary, same, whole]
    }

    fn slot(&self, slot: Slot) -> i64 {
        let copied = match slot {
            Slot::Blank => return -1,
            Slot::Torn => return -2,
            Slot::Whole(copied) => copied,
        };
        let record = &self.service.record;
        let header = copied.header;
        let kind = match header {
            _ if copied.forged => 0,
            known if self.confirmed == Some(known) => 1,
            known if self.window.contains(&known) => 2,
            Header { generation, .. } if generation < record.confirmed => 3,
            _ => 4,
        };
        let epoch = apart(header.epoch.into(), record.epoch.into());
        100 * kind + 10 * (epoch + 1) + apart(header.generation, record.confirmed) + 1
    }
}
