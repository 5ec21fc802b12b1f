//! A network that belongs to the attacker. One boot of one machine, whose clock shows another century: its volume is made
//! in good weather; then one world after the other in which it must not open, each with what the node has to say; then
//! those in which it opens all the same.
//!
//! The table is docs/scenarios.md.

mod proxy;
mod story;
mod table;
mod tape;

use dawnkey_qemu_tests::results::Step;

use crate::story::failure;
use story::told;
use table::{OPENINGS, WORLDS};

/// What emulation on a busy machine may add to a budget, in milliseconds.
const LATE: u64 = 15_000;
/// What starting, reading disks, and the diagnosis (10 s) may add to that, in seconds.
const AROUND: f64 = 60.0;

fn step(name: &str) -> &'static Step {
    told().boot.results.step(name).unwrap()
}

/// The first number behind a text.
fn number(text: &str, behind: &str) -> u64 {
    let (_, rest) = text.split_once(behind).unwrap_or_else(|| panic!("{text}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// Seconds of the guest's own clock that does not go by dates.
fn seconds(name: &str) -> f64 {
    let read = |when: &str| -> f64 {
        let uptime = &step(&format!("{when}-{name}")).stdout;
        uptime.split(' ').next().unwrap().parse().unwrap()
    };
    read("end") - read("begin")
}

#[test]
fn every_world_in_which_the_volume_must_not_open_is_named_with_what_to_do() {
    assert_eq!(step("made").exit, 0, "{:#?}", step("made"));
    assert_eq!(step("forged").exit, 0, "{:#?}", step("forged"));
    for world in WORLDS {
        let (exit, reason, message) = failure(step(world.name));
        let said = &step(world.name).stderr;
        println!("world: {}: exit {exit} {reason} {message}", world.name);
        let (code, named, says) = world.ends;
        assert_eq!(
            (exit, reason.as_str()),
            (code, named),
            "{}: {message}",
            world.name
        );
        assert!(message.contains(says), "{}: {message}", world.name);
        let what_to_do = |line: &&str| line.contains("about=advice") || line.contains(" failed ");
        let told = said
            .lines()
            .filter(what_to_do)
            .any(|line| line.contains(world.advice));
        assert!(told, "{}: {said}", world.name);
        let mapped = step(&format!("mapped-{}", world.name));
        assert_eq!(mapped.stdout.trim(), "control", "{}", world.name);
    }
    println!(
        "measured: {} worlds in which a volume must not open",
        WORLDS.len()
    );
}

#[test]
fn every_world_ends_within_its_budget_and_a_verdict_ends_it_at_once() {
    for world in WORLDS {
        let (exit, _, message) = failure(step(world.name));
        let all = seconds(world.name);
        println!(
            "measured: world {}: {all:.1} s of {} s and the diagnosis",
            world.name, world.budget
        );
        assert!(
            all < f64::from(world.budget) + AROUND,
            "{}: {all}",
            world.name
        );
        if exit == 31 {
            continue;
        }
        let spent = number(message.split_once("(attempt").unwrap().1, ", ");
        let budget = u64::from(world.budget) * 1000;
        assert!(spent < budget + LATE, "{}: {message}", world.name);
        if exit != 20 {
            assert_eq!(
                number(&message, "(attempt "),
                1,
                "{}: {message}",
                world.name
            );
        }
    }
}

#[test]
fn no_world_writes_to_the_disk_or_changes_the_volumes_record() {
    assert!(told().written.is_empty(), "{:?}", told().written);
    let [before, after, _] = &told().records;
    assert_eq!(before["generation"], 1, "{before}");
    assert_eq!(before, after);
}

/// Otherwise the tests above prove nothing.
#[test]
fn the_network_did_in_each_world_what_its_name_says() {
    for (name, count) in &told().did {
        println!("measured: world {name}: {count} packets");
        assert!(*count > 0, "{name}");
    }
    let clock: i64 = step("clock").stdout.trim().parse().unwrap();
    // Midsummer of that year at the latest.
    assert!((981_000_000..993_000_000).contains(&clock), "{clock}");
}

#[test]
fn node_entrusts_nothing_to_a_proxy_without_the_services_key_and_its_evidence_is_worth_nothing_to_one_with_it()
 {
    let [without, with] = told().entrusted;
    assert_eq!(without, 0);
    // The relay read a whole request, and gained a refusal.
    assert!(with > 1000, "{with}");
}

#[test]
fn earlier_session_played_to_the_service_again_gets_no_answer_beyond_a_handshake() {
    let (answered, recorded) = told().replayed;
    println!("measured: {answered} bytes answered to a replay, {recorded} in the session");
    // Both have the handshake; the session has the verdict too.
    assert!(answered < recorded, "{answered} {recorded}");
    let [before, _, after] = &told().records;
    assert_eq!(before, after);
}

#[test]
fn volume_opens_through_wrong_clocks_lying_names_loss_and_delay() {
    for (name, ..) in OPENINGS {
        assert_eq!(step(name).exit, 0, "{name}: {:#?}", step(name));
        let report = step(name).json().unwrap();
        assert_eq!(report["outcome"], "unlocked", "{report}");
        assert_eq!(
            step(&format!("read-{name}")).stdout.trim(),
            "as it was written"
        );
        println!("measured: world {name}: opened in {:.1} s", seconds(name));
    }
}

#[test]
fn volume_opens_once_the_service_is_back() {
    let down = step("down");
    assert_eq!(down.exit, 0, "{down:#?}");
    let failed = down.stderr.matches("attempt-failed").count();
    assert!(failed >= 4, "{}", down.stderr);
    assert_eq!(step("read-down").stdout.trim(), "as it was written");
    println!("measured: world down: opened after {failed} attempts in vain");
}
