//! What a hostile host, a late network and an operator do to the world.

use super::super::testing::Header;
use super::disk::{Copied, Slot};
use super::world::{INSTANCES, Move, Phase, World};
use crate::kek::WrappedDek;
use crate::volume::{Digest32, State};

impl World {
    pub(super) fn tamper(&mut self, how: Move) {
        let (Move::Restore(m, _)
        | Move::RestoreHeader(m, _)
        | Move::Mix(m, _, _)
        | Move::Forge(m, _, _)) = how
        else {
            return;
        };
        if self.machines[m].phase != Phase::Off {
            return;
        }
        let mut disk = self.machines[m].disk;
        match how {
            Move::Restore(_, n) => disk = self.copies[n % self.copies.len()],
            Move::RestoreHeader(_, n) | Move::Mix(_, n, _) => {
                let old = self.copies[n % self.copies.len()];
                // A newer header over older data is what nobody can see; see `old_sectors`.
                if !self.includes(disk.content, old.content) {
                    return;
                }
                match how {
                    Move::Mix(_, _, slot) => disk.slots[slot] = old.slots[slot],
                    _ => disk.slots = old.slots,
                }
            }
            Move::Forge(_, generations, epochs) => {
                let record = &self.service.record;
                let header = Header::new(record.confirmed + generations, 255);
                let forged = Copied {
                    sequence: 1000,
                    header: header.at_epoch(record.epoch + epochs),
                    forged: true,
                };
                disk.slots = [Slot::Whole(forged); 2];
            }
            _ => {}
        }
        let machine = &mut self.machines[m];
        machine.tampered |= disk != machine.disk;
        machine.disk = disk;
    }

    pub(super) fn late(&mut self) {
        let Some((m, header, token, content)) = self.late.take() else {
            return;
        };
        let before = self.service.record.clone();
        match self.service.confirm_with(header, token) {
            Ok(()) => self.confirmed(m, header, content),
            Err(_) => assert_eq!(self.service.record, before),
        }
    }

    pub(super) fn replay(&mut self) {
        let Some((header, token, fencing)) = self.spoken else {
            return;
        };
        let before = self.service.record.clone();
        // Answered again or refused, but never a change.
        let _ = self.service.confirm_with(header, token);
        if before.fencing > fencing {
            let renewed = self.service.renew_with(token, fencing, false);
            assert!(renewed.is_err(), "renewed a lease that another has");
        }
        assert_eq!(self.service.record, before);
    }

    pub(super) fn break_lease(&mut self) {
        let now = self.service.now;
        let Some(holder) = self
            .service
            .record
            .live_lease(now)
            .map(|lease| lease.holder)
        else {
            return;
        };
        self.service.record = self.service.record.clone().lease_broken();
        for (machine, instance) in self.machines.iter_mut().zip(INSTANCES) {
            if let (true, Some(launch)) = (holder == Digest32([instance; 32]), &mut machine.launch)
            {
                launch.lease_until = now;
            }
        }
        if self.service.record.state == State::Provisioning {
            self.next_window();
        }
    }

    /// An operator gives the volume its next epoch.
    pub(super) fn rotate(&mut self) {
        let record = &self.service.record;
        if record.state == State::Active && record.next_epoch.is_none() {
            let dek = WrappedDek::derived("cluster", record.epoch + 1);
            self.service.record = record.clone().rotating(dek);
        }
    }
}
