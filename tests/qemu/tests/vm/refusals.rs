//! Disks and machines that must not get the key; nothing on them or in the store changes.

use crate::story::{failure, story};

/// The agent's failure at one of the wrong disks.
fn wrong(step: &str) -> (i32, String, String) {
    failure(story().third.results.step(step).unwrap())
}

#[test]
fn refuses_two_disks_with_the_same_id() {
    let (exit, _, message) = wrong("two_disks");
    assert_eq!(exit, 30, "{message}");
    assert!(
        message.contains("vdb") && message.contains("vdc"),
        "{message}"
    );
}

#[test]
fn older_disk_copy_is_refused_as_stale_generation() {
    let (exit, reason, message) = wrong("old");
    assert_eq!(
        (exit, reason.as_str()),
        (21, "stale-generation"),
        "{message}"
    );
}

#[test]
fn wiped_header_on_active_volume_is_refused() {
    let (exit, reason, message) = wrong("wiped");
    assert_eq!(
        (exit, reason.as_str()),
        (21, "already-provisioned"),
        "{message}"
    );
}

#[test]
fn absent_disk_is_a_disk_error() {
    let (exit, _, message) = wrong("absent");
    assert_eq!(exit, 30, "{message}");
    assert!(message.contains("/dev/vdb"), "{message}");
}

#[test]
fn disk_with_a_filesystem_is_never_formatted() {
    let (exit, _, message) = wrong("ext4");
    assert_eq!(exit, 30, "{message}");
    assert!(message.contains("ext4"), "{message}");
}

#[test]
fn refuses_a_disk_that_is_too_small() {
    let (exit, _, message) = wrong("small");
    assert_eq!(exit, 30, "{message}");
}

#[test]
fn refuses_a_read_only_disk() {
    let (exit, _, message) = wrong("read_only");
    assert_eq!(exit, 30, "{message}");
    assert!(message.contains("read-only"), "{message}");
}

#[test]
fn service_down_ends_within_the_budget() {
    let results = &story().third.results;
    let (exit, _, message) = failure(results.step("down").unwrap());
    assert_eq!(exit, 20, "{message}");
    let uptime = |step: &str| -> f64 {
        results
            .step(step)
            .unwrap()
            .stdout
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let spent = uptime("down_end") - uptime("down_start");
    // The budget is 8 s; reading disks and starting up in emulation come on top.
    assert!(spent < 20.0, "{spent} s: {message}");
}

#[test]
fn refused_disks_are_unchanged_and_nothing_is_mapped() {
    for (name, before, after) in &story().wrong_disks {
        assert_eq!(before, after, "{name} was written to");
    }
    let mapped = story().third.results.step("mapped").unwrap();
    assert_eq!(mapped.stdout.trim(), "control");
}

#[test]
fn cloned_disk_in_another_machine_is_refused() {
    let story = story();
    let (exit, reason, message) = failure(story.fourth.results.step("unlock").unwrap());
    assert_eq!(exit, 21, "{message}");
    assert!(
        ["instance-not-allowed", "lease-held"].contains(&reason.as_str()),
        "{reason}: {message}"
    );
    assert_eq!(story.clone.0, story.clone.1, "the clone was written to");
}

#[test]
fn refusals_leave_the_volume_record_as_it_was() {
    let (before, after) = &story().records;
    assert_eq!(before["generation"], 2, "{before}");
    assert_eq!(before, after);
}
