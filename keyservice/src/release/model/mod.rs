//! The model test: disks, machines, a host and an operator do whatever they can, and the promises about a volume hold.
//!
//! The service is the real core: [`super::decide`], [`super::confirm`], [`super::renew`] and the record's own changes. Disks and
//! agents are a small model ([`disk`], [`world`]) of what `docs/volume-format.md` says.
//!
//! # The state space
//!
//! | part | states |
//! |---|---|
//! | volume | provisioning, active, retired; with or without a next epoch; a window of pending generations; the lease of the one or the other machine, 0 to 3 ticks before its end; held or not, by the last fencing token or an older one |
//! | machine, two of them, both listed | off; asked; header being written: before, first copy torn, first whole, second torn, both whole; running with or without a holder |
//! | disk, one in each machine and up to six copies that the host keeps | each copy of the header: blank, torn, forged, the confirmed one, one of the window, older, of another fork; in the old, current or next epoch; data as new as the last Confirm or not |
//! | under way | a Confirm that outlives its machine; messages that are repeated |
//!
//! What happens: every step of [`world::Move`], in any order, so that power is lost before and after every write, and between the
//! service's change and the answer that its machine no longer gets.
//!
//! # What holds in every state
//!
//! 1. By the service's clock there are never two machines with a live lease.
//! 2. A key is released to a genuine header only if the disk holds everything that was written before the last Confirm, and
//!    the header is the confirmed one or of the window: no older disk, no fork.
//! 3. The DEK is that of the header's epoch; after Confirm in a new epoch the old one's DEK is gone and never released.
//! 4. A header of the window is accepted until the next Confirm, and none of them after it but the confirmed one.
//! 5. Nobody is kept from a lease of its own. A lease is lost to a later one or by an operator, and for no other reason.
//! 6. Every refusal names a way out, changes nothing, and its reason is true.
//! 7. However it went, the machine that confirmed last boots again unless the host changed its disk: what was written under a
//!    confirmed generation is never lost to a refusal.
//!
//! What is not seen is shown too: [`limits`].
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod disk;
mod host;
mod limits;
mod shape;
mod world;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use shape::Shape;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use world::{Move, World};

fn step() -> impl Strategy<Value = Move> {
    let machine = || 0..2usize;
    let copy = || 0..6usize;
    prop_oneof![
        24 => machine().prop_map(Move::Step),
        6 => machine().prop_map(Move::Ask),
        2 => machine().prop_map(Move::Crash),
        3 => machine().prop_map(Move::Renew),
        1 => machine().prop_map(Move::Close),
        2 => machine().prop_map(Move::Snapshot),
        2 => (machine(), copy()).prop_map(|(m, n)| Move::Restore(m, n)),
        1 => (machine(), copy()).prop_map(|(m, n)| Move::RestoreHeader(m, n)),
        1 => (machine(), copy(), 0..2usize).prop_map(|(m, n, slot)| Move::Mix(m, n, slot)),
        1 => (machine(), 0..4u64, 0..2u32).prop_map(|(m, g, e)| Move::Forge(m, g, e)),
        1 => Just(Move::Late),
        1 => Just(Move::Replay),
        3 => Just(Move::Tick),
        1 => Just(Move::Break),
        1 => Just(Move::Rotate),
    ]
}

/// A life: whether leases are held, and what happens. Three of four begin with a volume in use, one of ten ends retired.
fn moves() -> impl Strategy<Value = (bool, Vec<Move>)> {
    let life = proptest::collection::vec(step(), 1..160);
    let first = 0..4u8;
    (any::<bool>(), first, life, 0..1600usize).prop_map(|(hold, first, mut life, retired)| {
        if retired < life.len() {
            life[retired] = Move::Retire;
        }
        if first > 0 {
            let boot = [&[Move::Ask(0)][..], &[Move::Step(0); 7]].concat();
            life.splice(0..0, boot);
        }
        (hold, life)
    })
}

/// What was visited: states by number, and steps between them.
#[derive(Default)]
struct Visited {
    states: HashMap<Shape, usize>,
    steps: HashSet<(usize, Move, usize)>,
    changes: HashSet<(usize, usize)>,
}

impl Visited {
    fn state(&mut self, world: &World) -> usize {
        let next = self.states.len();
        *self.states.entry(world.shape()).or_insert(next)
    }

    fn moved(&mut self, from: usize, next: Move, to: usize) {
        self.steps.insert((from, next, to));
        if from != to {
            self.changes.insert((from, to));
        }
    }
}

#[test]
fn no_host_crash_or_clock_breaks_what_is_promised_of_a_volume() {
    const CASES: u32 = 4000;
    let visited = RefCell::new(Visited::default());
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&moves(), |(hold, life)| {
        let mut world = World::new(hold);
        let mut from = visited.borrow_mut().state(&world);
        for next in life {
            world.play(next);
            let to = visited.borrow_mut().state(&world);
            visited.borrow_mut().moved(from, next, to);
            from = to;
        }
        world.nobody_is_locked_out();
        Ok(())
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
    let visited = visited.into_inner();
    println!(
        "{CASES} lives: {} distinct states, {} distinct transitions between them, {} with the step that made them or changed nothing",
        visited.states.len(),
        visited.changes.len(),
        visited.steps.len()
    );
    assert!(visited.states.len() > 10_000, "the model hardly moves");
}
