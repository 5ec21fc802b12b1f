//! What the service cannot see: documented, and shown here so that nobody takes it for detected.

use super::disk::Disk;
use super::world::{Move, Phase, World};

/// A machine that has provisioned the volume and written to it.
fn running(hold: bool) -> World {
    let mut world = World::new(hold);
    boot(&mut world, 0);
    world
}

fn boot(world: &mut World, m: usize) {
    world.play(Move::Ask(m));
    for _ in 0..6 {
        world.play(Move::Step(m));
    }
    let phase = world.machines[m].phase;
    assert!(matches!(phase, Phase::Running { .. }), "{phase:?}");
}

/// The host puts back what a running system had on its disk earlier in the same boot: the header is still the confirmed
/// one. Only what was written before the last Confirm is protected against going back.
#[test]
fn old_sectors_under_a_current_header_are_not_detected() {
    let mut world = running(true);
    world.play(Move::Step(0));
    let early: Disk = world.machines[0].disk;
    world.play(Move::Snapshot(0));
    world.play(Move::Step(0));
    let late = world.machines[0].disk;
    assert!(world.includes(late.content, early.content));
    assert!(!world.includes(early.content, late.content));
    world.play(Move::Crash(0));
    world.play(Move::Restore(0, 1));
    boot(&mut world, 0);
    assert_eq!(
        world.machines[0].disk.content, early.content,
        "the later write is gone"
    );
    // From that boot on it is history: neither copy comes back.
    world.play(Move::Crash(0));
    world.play(Move::Restore(0, 1));
    let refusal = world.ask(0).unwrap();
    assert!(refusal.detail.contains("older copy"), "{refusal}");
}

/// Without a holder the lease ends with Confirm, and a clone is found out at the next unlock only: whichever machine asks
/// first has the volume from then on.
#[test]
fn two_copies_run_at_once_where_no_lease_is_held_until_one_of_them_boots_again() {
    let mut world = running(false);
    world.play(Move::Snapshot(0));
    world.play(Move::Restore(1, 1));
    boot(&mut world, 1);
    let [first, second] = &world.machines;
    assert!(matches!(first.phase, Phase::Running { held: false }));
    assert!(matches!(second.phase, Phase::Running { held: false }));
    world.play(Move::Crash(0));
    let refusal = world.ask(0).unwrap();
    assert!(refusal.detail.contains("older copy"), "{refusal}");
}

/// With a holder the clone waits, and the holder notices when it came too late.
#[test]
fn a_clone_waits_for_a_holder() {
    let mut world = running(true);
    world.play(Move::Snapshot(0));
    world.play(Move::Restore(1, 1));
    for _ in 0..5 {
        assert!(world.ask(1).is_some());
        world.play(Move::Tick);
        world.play(Move::Renew(0));
    }
    for _ in 0..3 {
        world.play(Move::Tick);
    }
    boot(&mut world, 1);
    world.play(Move::Renew(0));
    assert_eq!(world.machines[0].phase, Phase::Off, "it has lost its lease");
}
