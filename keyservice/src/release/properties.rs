//! Whatever a host does with disks and power, an honest node is never locked out, and no node gets the key for a
//! disk that lacks data it has written.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::testing::{Header, LEASE, Service};
use crate::volume::State;
use dawnkey_proto::message::Ask;
use jiff::SignedDuration;
use proptest::prelude::*;

/// What the host lets happen next.
#[derive(Debug, Clone)]
enum Move {
    /// The node boots and is stopped: before it writes its header, after that, or not at all.
    Boot(Stop),
    /// The host keeps a copy of the disk.
    Snapshot,
    /// The host puts copy `n` in place of the disk, lets the node boot from it, and puts the disk back if refused.
    Restore(usize, Stop),
    /// Another machine boots from copy `n`.
    Clone(usize),
    /// The host shows a blank disk.
    Blank,
    /// Time passes.
    Wait(u16),
    /// An old confirmation is sent again.
    Replay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    BeforeHeader,
    BeforeConfirm,
    Never,
}

/// A disk: its header, and how many boots have left data on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Disk {
    header: Option<Header>,
    data: u32,
}

struct World {
    service: Service,
    disk: Disk,
    copies: Vec<Disk>,
    /// Data that confirmed boots have written in all.
    written: u32,
    headers: u8,
    last_confirm: Option<(Header, [u8; 32])>,
}

impl World {
    fn new() -> Self {
        let disk = Disk {
            header: None,
            data: 0,
        };
        Self {
            service: Service::new(),
            disk,
            copies: vec![disk],
            written: 0,
            headers: 0,
            last_confirm: None,
        }
    }

    fn ask_of(disk: &Disk) -> Ask {
        disk.header.map_or(Ask::Provision, Header::unlock)
    }

    /// Boots instance 1 from a disk; returns the disk afterwards, or `None` when refused.
    fn boot(&mut self, mut disk: Disk, stop: Stop) -> Option<Disk> {
        let granted = self.service.ask(1, &Self::ask_of(&disk)).ok()?;
        // The key has left: the disk must hold everything that was ever written under a confirmed generation.
        assert_eq!(
            disk.data, self.written,
            "key released to a rolled back disk"
        );
        if stop == Stop::BeforeHeader {
            return Some(disk);
        }
        self.headers = self.headers.wrapping_add(1);
        let header = Header::new(granted.generation, self.headers);
        disk.header = Some(header);
        if stop == Stop::BeforeConfirm {
            return Some(disk);
        }
        self.service.confirm(header, &granted).unwrap();
        self.last_confirm = Some((header, *granted.token.expose()));
        self.written += 1;
        disk.data = self.written;
        Some(disk)
    }

    fn play(&mut self, next: &Move) {
        match next {
            Move::Boot(stop) => {
                let disk = self.boot(self.disk, *stop);
                self.disk = disk.expect("an honest node was locked out");
            }
            Move::Snapshot => self.copies.push(self.disk),
            Move::Restore(n, stop) => {
                let copy = self.copies[n % self.copies.len()];
                if let Some(disk) = self.boot(copy, *stop) {
                    self.disk = disk;
                }
            }
            Move::Clone(n) => {
                let copy = self.copies[n % self.copies.len()];
                if self.service.record.instance.is_some() {
                    self.service.refused(2, &Self::ask_of(&copy));
                }
            }
            Move::Blank => {
                if self.service.record.state == State::Active {
                    self.service.refused(1, &Ask::Provision);
                }
            }
            Move::Wait(seconds) => {
                self.service.now += SignedDuration::from_secs((*seconds).into());
            }
            Move::Replay => {
                if let Some((header, token)) = self.last_confirm {
                    let before = self.service.record.clone();
                    // Answered again or refused, but never a change.
                    let _ = self.service.confirm_with(header, token);
                    assert_eq!(self.service.record, before);
                }
            }
        }
    }
}

fn stop() -> impl Strategy<Value = Stop> {
    prop_oneof![
        Just(Stop::BeforeHeader),
        Just(Stop::BeforeConfirm),
        Just(Stop::Never)
    ]
}

fn step() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => stop().prop_map(Move::Boot),
        2 => Just(Move::Snapshot),
        3 => (any::<usize>(), stop()).prop_map(|(n, stop)| Move::Restore(n, stop)),
        1 => any::<usize>().prop_map(Move::Clone),
        1 => Just(Move::Blank),
        1 => (0..2 * u16::try_from(LEASE).unwrap()).prop_map(Move::Wait),
        1 => Just(Move::Replay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_locks_out_a_node_or_releases_to_a_rolled_back_disk(
        moves in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for next in &moves {
            world.play(next);
        }
        world.play(&Move::Boot(Stop::Never));
    }
}
