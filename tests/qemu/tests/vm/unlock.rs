//! A volume is provisioned once, unlocked afterwards, and readable by stock tools.

use crate::story::{failure, story};

#[test]
fn first_boot_provisions_and_second_unlocks() {
    let story = story();
    let first = story.first.results.step("unlock").unwrap().json().unwrap();
    assert_eq!(first["outcome"], "provisioned", "{first}");
    assert_eq!(first["volumes"][0]["generation"], 1);
    assert_eq!(story.first.results.step("write").unwrap().exit, 0);
    let second = story.second.results.step("unlock").unwrap().json().unwrap();
    assert_eq!(second["outcome"], "unlocked", "{second}");
    assert_eq!(second["volumes"][0]["generation"], 2);
    assert_eq!(
        story.second.results.step("found").unwrap().stdout,
        "written by the first boot\n"
    );
}

#[test]
fn every_boot_of_the_story_ends_by_power_off() {
    let story = story();
    let boots = [&story.first, &story.second, &story.third, &story.fourth];
    for (number, boot) in boots.iter().enumerate() {
        assert!(
            boot.serial.contains("reboot: Power down"),
            "{}",
            boot.serial
        );
        println!(
            "measured: boot {} of the story {:.1} s",
            number + 1,
            boot.elapsed.as_secs_f64()
        );
    }
}

#[test]
fn second_unlock_needs_no_enrolment_round_trip() {
    let story = story();
    let trips = |boot: &dawnkey_qemu_tests::machine::Boot| {
        boot.results.step("unlock").unwrap().json().unwrap()["round_trips"]
            .as_u64()
            .unwrap()
    };
    assert!(trips(&story.second) < trips(&story.first));
}

#[test]
fn second_request_after_boot_is_refused() {
    let (exit, reason, message) = failure(story().first.results.step("again").unwrap());
    assert_eq!(exit, 21, "{message}");
    assert_eq!(reason, "pcr-mismatch", "{message}");
    assert!(message.contains("PCR 15"), "{message}");
}

#[test]
fn key_is_not_in_the_device_mapper_table() {
    let table = &story().first.results.step("table").unwrap().stdout;
    assert!(table.contains(":logon:"), "{table}");
    let key = &story().volume_key;
    let half = &key[..key.len() / 2];
    assert!(key.len() == 192 && !table.contains(half), "{table}");
    let longest_hex = table
        .split(|c: char| !c.is_ascii_hexdigit())
        .map(str::len)
        .max();
    assert!(longest_hex < Some(64), "{table}");
}

#[test]
fn cryptsetup_opens_volume_with_exported_key() {
    let results = &story().second.results;
    let dump = results.step("dump").unwrap();
    assert_eq!(dump.exit, 0, "{dump:?}");
    assert!(
        dump.stdout.contains("aes-xts-plain64") && dump.stdout.contains("dawnkey"),
        "{}",
        dump.stdout
    );
    let open = results.step("stock_open").unwrap();
    assert_eq!(open.exit, 0, "{open:?}");
    assert_eq!(
        results.step("stock_found").unwrap().stdout,
        "written by the first boot\n"
    );
    println!(
        "measured: exec to mapped device {:.2} s, cryptsetup open {:.2} s",
        seconds("start", "opened"),
        seconds("stock_start", "stock_opened")
    );
}

/// Seconds between two readings of `/proc/uptime` in the second boot.
fn seconds(from: &str, to: &str) -> f64 {
    let read = |name: &str| -> f64 {
        let step = story().second.results.step(name).unwrap();
        step.stdout.split(' ').next().unwrap().parse().unwrap()
    };
    read(to) - read(from)
}

#[test]
fn audit_log_of_all_boots_verifies() {
    assert!(story().audit.is_ok(), "{:?}", story().audit);
}
