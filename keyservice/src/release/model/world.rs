//! Two machines, their disks, the copies that the host has of them, and the service; and every step that any of them can take.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::super::testing::{Header, LEASE, Service};
use super::disk::{Copied, Disk, Read, Slot};
use crate::volume::{Digest32, State};
use dawnkey_proto::message::{Ask, Reason, Refusal};
use jiff::{SignedDuration, Timestamp};

/// Instances of the two machines: both are listed, so that only leases keep them apart.
pub(super) const INSTANCES: [u8; 2] = [101, 102];

/// What happens next. Numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Move {
    /// A machine that is off reads its disk and asks.
    Ask(usize),
    /// A machine goes one step on: opens the header, writes a copy, confirms, writes data.
    Step(usize),
    /// A machine loses power, at whatever point it is.
    Crash(usize),
    /// A holder renews its lease.
    Renew(usize),
    /// A volume is closed properly: the lease is ended, the machine goes off.
    Close(usize),
    /// The host keeps a copy of a machine's disk.
    Snapshot(usize),
    /// The host puts a copy into a machine that is off: rollback or clone.
    Restore(usize, usize),
    /// The host puts the header of a copy on a machine's current data.
    RestoreHeader(usize, usize),
    /// The host puts one copy of the header of an old copy of the disk on a machine's disk.
    Mix(usize, usize, usize),
    /// The host makes a header up that claims so many generations more than the confirmed one, in this or the next epoch.
    Forge(usize, u64, u32),
    /// A Confirm that was on its way when its machine crashed arrives.
    Late,
    /// An old Confirm and an old renewal arrive again.
    Replay,
    /// A third of a lease passes.
    Tick,
    /// An operator ends the lease, knowing that its holder is off.
    Break,
    /// An operator rotates the DEK.
    Rotate,
    /// An operator retires the volume.
    Retire,
}

/// How far a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Off,
    /// The key is there, the header is not opened yet.
    Asked,
    /// `n` of the four half-steps of writing are done: cut, whole, cut, whole.
    Writing(u8),
    /// Confirmed; data may be written.
    Running {
        held: bool,
    },
}

/// What a launch has got from the service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch {
    pub token: [u8; 32],
    pub fencing: u64,
    /// The header that it writes.
    pub next: Copied,
    /// The window that it belongs to.
    pub era: u32,
    /// The slot that it writes first.
    pub first: usize,
    /// The header that it read opens with the DEK.
    pub opens: bool,
    /// Until then nobody else may have the key, by the service's clock; in the past when the lease has ended.
    pub lease_until: Timestamp,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub disk: Disk,
    pub phase: Phase,
    pub launch: Option<Launch>,
    /// The host has changed the disk since this machine confirmed it last.
    pub tampered: bool,
}

pub(super) struct World {
    pub service: Service,
    pub machines: [Machine; 2],
    pub copies: Vec<Disk>,
    /// Parent of each content.
    pub(super) contents: Vec<usize>,
    /// What a disk must hold to be given a key: all that was written before the last Confirm.
    pub required: usize,
    /// The header that was confirmed last.
    pub confirmed: Option<Header>,
    /// Headers that were written since then, or since provisioning was begun anew.
    pub window: Vec<Header>,
    /// Counts windows.
    pub(super) era: u32,
    /// The machine that confirmed last.
    pub last: Option<usize>,
    pub(super) headers: u8,
    pub(super) late: Option<(usize, Header, [u8; 32], usize)>,
    pub(super) spoken: Option<(Header, [u8; 32], u64)>,
}

impl World {
    pub(super) fn new(hold: bool) -> Self {
        let mut service = Service::new();
        service.hold = hold;
        let machine = || Machine {
            disk: Disk::blank(),
            phase: Phase::Off,
            launch: None,
            tampered: false,
        };
        Self {
            service,
            machines: [machine(), machine()],
            copies: vec![Disk::blank()],
            contents: vec![0],
            required: 0,
            confirmed: None,
            window: Vec::new(),
            era: 0,
            last: None,
            headers: 0,
            late: None,
            spoken: None,
        }
    }

    /// Whether all of `part` is in `whole`.
    pub(super) fn includes(&self, mut whole: usize, part: usize) -> bool {
        while whole != part && whole != 0 {
            whole = self.contents[whole];
        }
        whole == part
    }

    pub(super) fn play(&mut self, next: Move) {
        match next {
            Move::Ask(m) => {
                let _ = self.ask(m);
            }
            Move::Step(m) => self.step(m),
            Move::Crash(m) => self.crash(m),
            Move::Renew(m) => self.renew(m, false),
            Move::Close(m) => self.renew(m, true),
            Move::Snapshot(m) => {
                // As few as the search needs to come back to them.
                if self.copies.len() < 6 {
                    self.copies.push(self.machines[m].disk);
                }
            }
            Move::Restore(..) | Move::RestoreHeader(..) | Move::Mix(..) | Move::Forge(..) => {
                self.tamper(next);
            }
            Move::Late => self.late(),
            Move::Replay => self.replay(),
            Move::Tick => self.service.now += SignedDuration::from_secs(i64::from(LEASE) / 3),
            Move::Break => self.break_lease(),
            Move::Rotate => self.rotate(),
            Move::Retire => self.service.record = self.service.record.clone().retired(),
        }
        self.one_lease();
    }

    /// Boots a machine as far as its answer; the refusal if it got one.
    pub(super) fn ask(&mut self, m: usize) -> Option<Refusal> {
        if self.machines[m].phase != Phase::Off {
            return None;
        }
        let disk = self.machines[m].disk;
        let (ask, read) = match disk.read() {
            Read::Unreadable => return None,
            Read::Blank => (Ask::Provision, None),
            Read::Header(copied) => (copied.header.unlock(), Some(copied)),
        };
        let before = self.service.record.clone();
        let granted = match self.service.ask(INSTANCES[m], &ask) {
            Ok(granted) => granted,
            Err(refusal) => {
                assert_eq!(self.service.record, before, "a refusal changed the record");
                assert!(!refusal.remedy.is_empty(), "no way out: {refusal}");
                self.refused(m, read.as_ref(), &refusal);
                return Some(refusal);
            }
        };
        let opens = read.is_none_or(|copied| !copied.forged);
        match read.filter(|_| opens) {
            Some(copied) => self.released(&disk, &copied, granted.approval.epoch()),
            None if read.is_none() => {
                assert_ne!(before.state, State::Active, "formatted an active volume");
                self.next_window();
            }
            None => {}
        }
        let epoch = granted
            .rotation
            .as_ref()
            .unwrap_or(&granted.approval)
            .epoch();
        self.headers += 1;
        let header = Header::new(granted.generation, self.headers).at_epoch(epoch);
        let sequence = read.map_or(1, |copied| copied.sequence + 1);
        self.machines[m].launch = Some(Launch {
            token: *granted.token.expose(),
            fencing: granted.record.fencing,
            next: Copied {
                sequence,
                header,
                forged: false,
            },
            era: self.era,
            first: disk.first_slot(),
            opens,
            lease_until: granted.record.lease.unwrap().expires,
        });
        self.machines[m].phase = Phase::Asked;
        None
    }

    /// The key left for a header that it opens.
    fn released(&self, disk: &Disk, copied: &Copied, epoch: u32) {
        let record = &self.service.record;
        let header = copied.header;
        assert!(
            self.includes(disk.content, self.required),
            "key released to a rolled back disk"
        );
        if record.state == State::Active {
            let known = self.confirmed == Some(header) || self.window.contains(&header);
            assert!(known, "key released to a fork: {header:?}");
        }
        assert_eq!(epoch, header.epoch, "the DEK is not the header's");
        assert!(epoch >= record.epoch, "an old epoch lives");
        assert!(record.deks.iter().all(|dek| dek.epoch >= record.epoch));
    }

    /// A refusal has to have a reason that is true.
    fn refused(&self, m: usize, read: Option<&Copied>, refusal: &Refusal) {
        let record = &self.service.record;
        let holder = record
            .live_lease(self.service.now)
            .map(|lease| lease.holder);
        let own = Digest32([INSTANCES[m]; 32]);
        match refusal.reason {
            Reason::LeaseHeld => assert!(
                holder.is_some_and(|holder| holder != own),
                "kept from its own lease"
            ),
            Reason::VolumeRetired => assert_eq!(record.state, State::Retired),
            _ => {
                let good = read.filter(|copied| !copied.forged).is_some_and(|copied| {
                    self.confirmed == Some(copied.header) || self.window.contains(&copied.header)
                });
                assert!(!good, "the window is shut too early: {refusal}");
            }
        }
    }

    fn step(&mut self, m: usize) {
        let machine = &mut self.machines[m];
        let Some(launch) = machine.launch else { return };
        match machine.phase {
            Phase::Off => {}
            Phase::Asked if launch.opens => machine.phase = Phase::Writing(0),
            // The DEK does not open what the host made up.
            Phase::Asked => self.crash(m),
            Phase::Writing(4) => self.confirm(m, launch),
            Phase::Writing(done) => {
                let slot = if done < 2 {
                    launch.first
                } else {
                    1 - launch.first
                };
                machine.disk.slots[slot] = match done {
                    0 | 2 => Slot::Torn,
                    _ => Slot::Whole(launch.next),
                };
                machine.phase = Phase::Writing(done + 1);
                if done == 1 && launch.era == self.era {
                    self.window.push(launch.next.header);
                }
            }
            Phase::Running { .. } => {
                self.contents.push(machine.disk.content);
                machine.disk.content = self.contents.len() - 1;
            }
        }
    }

    fn confirm(&mut self, m: usize, mut launch: Launch) {
        let content = self.machines[m].disk.content;
        match self.service.confirm_with(launch.next.header, launch.token) {
            Ok(()) => {
                self.confirmed(m, launch.next.header, content);
                self.spoken = Some((launch.next.header, launch.token, launch.fencing));
                let lease = self.service.record.lease.as_ref();
                launch.lease_until = lease.map_or(self.service.now, |lease| lease.expires);
                let machine = &mut self.machines[m];
                machine.tampered = false;
                machine.launch = Some(launch);
                machine.phase = Phase::Running {
                    held: self.service.hold,
                };
            }
            Err(reason) => {
                assert!(matches!(
                    reason,
                    Reason::GrantInvalid | Reason::VolumeRetired
                ));
                self.machines[m].phase = Phase::Off;
                self.machines[m].launch = None;
            }
        }
    }

    pub(super) fn next_window(&mut self) {
        self.window.clear();
        self.era += 1;
    }

    /// The service has a new confirmed header, with this content below it.
    pub(super) fn confirmed(&mut self, m: usize, header: Header, content: usize) {
        let record = &self.service.record;
        assert_eq!(
            (record.confirmed, record.epoch),
            (header.generation, header.epoch)
        );
        assert!(record.deks.iter().all(|dek| dek.epoch >= header.epoch));
        self.confirmed = Some(header);
        self.next_window();
        self.required = content;
        self.last = Some(m);
    }

    fn crash(&mut self, m: usize) {
        let machine = &mut self.machines[m];
        if let (Phase::Writing(4), Some(launch)) = (machine.phase, machine.launch) {
            let content = machine.disk.content;
            self.late = Some((m, launch.next.header, launch.token, content));
        }
        machine.phase = Phase::Off;
        machine.launch = None;
    }

    fn renew(&mut self, m: usize, end: bool) {
        let machine = &mut self.machines[m];
        let (Phase::Running { held }, Some(launch)) = (machine.phase, &mut machine.launch) else {
            return;
        };
        if held {
            match self.service.renew_with(launch.token, launch.fencing, end) {
                Ok(()) if !end => {
                    launch.lease_until = self.service.record.lease.as_ref().unwrap().expires;
                    return;
                }
                Ok(()) => assert!(self.service.record.lease.is_none()),
                Err(refusal) => {
                    assert!(!refusal.remedy.is_empty(), "no way out: {refusal}");
                    self.lost(m, &refusal);
                }
            }
        }
        if held || end {
            // It has closed the volume, or does what policy says about a lost lease.
            self.machines[m].phase = Phase::Off;
            self.machines[m].launch = None;
        }
    }

    /// A lease is lost to a later one or by an operator, and for no other reason.
    fn lost(&self, m: usize, refusal: &Refusal) {
        let (record, launch) = (&self.service.record, self.machines[m].launch.unwrap());
        let taken = record.fencing > launch.fencing;
        let broken = launch.lease_until <= self.service.now && record.holding.is_none();
        match refusal.reason {
            Reason::VolumeRetired => assert_eq!(record.state, State::Retired),
            reason => assert!(
                reason == Reason::LeaseLost && (taken || broken),
                "{refusal}"
            ),
        }
    }

    /// Never two machines with a live lease, by the service's clock.
    fn one_lease(&self) {
        let live = |machine: &&Machine| {
            machine
                .launch
                .is_some_and(|launch| launch.lease_until > self.service.now)
        };
        assert!(
            self.machines.iter().filter(live).count() <= 1,
            "two live holders"
        );
    }

    /// Whatever has happened, the machine that confirmed last and whose disk the host left alone boots; and a volume that
    /// nobody has confirmed can still be provisioned.
    pub(super) fn nobody_is_locked_out(&mut self) {
        (0..2).for_each(|m| self.crash(m));
        self.late = None;
        let m = match (self.service.record.state, self.last) {
            (State::Retired, _) => return,
            (State::Provisioning, _) => {
                self.machines[0].disk = Disk::blank();
                0
            }
            (State::Active, Some(m)) if !self.machines[m].tampered => m,
            (State::Active, _) => return,
        };
        if let Some(refusal) = self.ask(m) {
            assert_eq!(refusal.reason, Reason::LeaseHeld, "{refusal}");
            self.service.now += SignedDuration::from_secs(LEASE.into());
            let refusal = self.ask(m);
            assert!(refusal.is_none(), "locked out: {refusal:?}");
        }
        for _ in 0..7 {
            self.step(m);
        }
        let phase = self.machines[m].phase;
        assert!(matches!(phase, Phase::Running { .. }), "stuck in {phase:?}");
    }
}
