//! Disks that fail: errors of single requests, transfers that end early, disks that take no writes, that go away and
//! that come late. Each is a named error with its exit code, nothing stays mapped, and the next attempt succeeds.
//!
//! One boot with four hostile disks: one carries a volume, one is to be formatted, and two go away.

use std::sync::LazyLock;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::Lab;
use dawnkey_qemu_tests::layout::{HEADER, SUPERBLOCK};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::nbd::{Act, Backend, Cache, EIO, EPERM, Kind, Rule, When};
use dawnkey_qemu_tests::results::Step;

use crate::guest::FUNCTIONS;
use crate::story::failure;

/// The volumes on `/dev/vda` and so on.
const VOLUMES: [&str; 4] = [
    "0d5c2f8e-3b7a-4f0e-9a51-6f8f7a0c1d01",
    "0d5c2f8e-3b7a-4f0e-9a51-6f8f7a0c1d02",
    "0d5c2f8e-3b7a-4f0e-9a51-6f8f7a0c1d03",
    "0d5c2f8e-3b7a-4f0e-9a51-6f8f7a0c1d04",
];
/// Small, since formats are what takes time here.
const BYTES: u64 = 40 << 20;

/// One fault.
struct Fault {
    name: &'static str,
    disk: usize,
    rule: fn() -> Rule,
    /// Exit code of the agent, and a part of what it says.
    exit: i32,
    says: &'static str,
}

fn fail(kind: Kind, when: When) -> Rule {
    Rule::new(kind, when, Act::Fail(EIO))
}

const OPENING: usize = 0;
const FORMATTING: usize = 1;
const SHORT: usize = 2;
const VANISHING: usize = 3;

const FAULTS: &[Fault] = &[
    Fault {
        name: "read-of-header",
        disk: OPENING,
        rule: || fail(Kind::Read, When::From(1)).touching(0..HEADER),
        exit: 30,
        says: "/dev/vda",
    },
    Fault {
        name: "read-of-superblock",
        disk: OPENING,
        rule: || fail(Kind::Read, When::From(1)).touching(SUPERBLOCK..SUPERBLOCK + 4096),
        exit: 31,
        says: "read the dm-integrity superblock on /dev/vda",
    },
    Fault {
        name: "first-write-of-header",
        disk: OPENING,
        rule: || fail(Kind::Write, When::Nth(1)).touching(0..HEADER),
        exit: 31,
        says: "write the header on /dev/vda",
    },
    Fault {
        name: "second-write-of-header",
        disk: OPENING,
        rule: || fail(Kind::Write, When::Nth(2)).touching(0..HEADER),
        exit: 31,
        says: "write the header on /dev/vda",
    },
    Fault {
        name: "every-flush",
        disk: OPENING,
        rule: || fail(Kind::Flush, When::From(1)),
        exit: 31,
        says: "/dev/vda",
    },
    Fault {
        name: "turned-read-only",
        disk: OPENING,
        rule: || Rule::new(Kind::Write, When::From(1), Act::Fail(EPERM)),
        exit: 31,
        says: "/dev/vda",
    },
    Fault {
        name: "write-while-wiping",
        disk: FORMATTING,
        rule: || fail(Kind::Write, When::Nth(20)).touching(SUPERBLOCK..BYTES),
        exit: 31,
        says: "",
    },
    Fault {
        name: "every-flush-while-formatting",
        disk: FORMATTING,
        rule: || fail(Kind::Flush, When::From(1)),
        exit: 31,
        says: "",
    },
    Fault {
        name: "read-only-while-formatting",
        disk: FORMATTING,
        rule: || Rule::new(Kind::Write, When::From(1), Act::Fail(EPERM)),
        exit: 31,
        says: "/dev/vdb",
    },
    Fault {
        name: "first-header-of-all",
        disk: FORMATTING,
        rule: || fail(Kind::Write, When::Nth(1)).touching(0..HEADER),
        exit: 31,
        says: "write the header on /dev/vdb",
    },
    Fault {
        name: "second-copy-of-the-first-header",
        disk: FORMATTING,
        rule: || fail(Kind::Write, When::Nth(2)).touching(0..HEADER),
        exit: 31,
        says: "write the header on /dev/vdb",
    },
    Fault {
        name: "header-cut-short",
        disk: SHORT,
        rule: || Rule::new(Kind::Read, When::Nth(1), Act::Short).touching(0..HEADER),
        exit: 30,
        says: "/dev/vdc",
    },
    Fault {
        name: "vanished-while-wiping",
        disk: VANISHING,
        rule: || Rule::new(Kind::Write, When::Nth(12), Act::Vanish).touching(SUPERBLOCK..BYTES),
        exit: 31,
        says: "",
    },
];

const SCRIPT: &str = r#"
tee_begin
configure /dev/vda $volume0 disk0 && configure /dev/vdb $volume1 disk1
configure /dev/vdc $volume2 disk2 && configure /dev/vdd $volume3 disk3
unlock format disk0
put disk0 2000 "as it was written"
close
for pair in $faults; do
    fault=${pair%:*} disk=${pair#*:}
    tee_launch
    await_host "ready-$fault"
    unlock "$fault" "$disk"
    mapped "mapped-$fault"
    dmsetup remove_all
done
await_host behave
tee_launch
unlock open_after disk0
get read_after disk0 2000
close
tee_launch
unlock format_after disk1
close
tee_launch
echo 1 >"$(readlink -f /sys/block/vda/device)/../remove"
unlock absent disk0
echo 1 >/sys/bus/pci/rescan
tries=0
until [ -b /dev/vda ] || [ $tries = 200 ]; do tries=$((tries + 1)); usleep 10000; done
unlock late disk0
get read_late disk0 2000
close
"#;

static BOOT: LazyLock<Result<Boot, String>> = LazyLock::new(|| boot().map_err(|e| e.to_string()));

fn boot() -> Result<Boot, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let mut backends = Vec::new();
    let mut script = String::new();
    for (number, id) in VOLUMES.iter().enumerate() {
        scene.operator.create_volume(id)?;
        let disk = scene.blank(&format!("{number}.disk"), BYTES)?;
        backends.push(Backend::serve(&disk, Cache::Through)?);
        script += &format!("volume{number}={id}\n");
    }
    let faults = FAULTS.iter().map(|f| format!("{}:disk{} ", f.name, f.disk));
    script += &format!("faults='{}'\n", faults.collect::<String>());
    script += FUNCTIONS;
    script += SCRIPT;
    let machine = scene.direct().script(&script);
    let machine = backends
        .iter()
        .fold(machine, |machine, b| machine.backend(b));
    let mut running = machine.start()?;
    for fault in FAULTS {
        running.wait_step(&format!("ready-{}", fault.name))?;
        for backend in &backends {
            backend.behave();
        }
        backends[fault.disk].rule((fault.rule)());
        running.go()?;
    }
    running.wait_step("behave")?;
    for backend in &backends {
        backend.behave();
    }
    running.go()?;
    running.finish()
}

fn step(name: &str) -> &'static Step {
    let boot = BOOT.as_ref().unwrap_or_else(|e| panic!("{e}"));
    boot.results.step(name).unwrap()
}

#[test]
fn every_fault_is_named_with_its_exit_code() {
    for fault in FAULTS {
        let (exit, _, message) = failure(step(fault.name));
        println!("fault: {}: {exit}: {message}", fault.name);
        assert_eq!(exit, fault.exit, "{}: {message}", fault.name);
        assert!(message.contains(fault.says), "{}: {message}", fault.name);
    }
    println!("measured: {} faults of a disk", FAULTS.len());
}

#[test]
fn nothing_stays_mapped_after_a_fault() {
    for fault in FAULTS {
        let mapped = step(&format!("mapped-{}", fault.name));
        assert_eq!(mapped.stdout.trim(), "control", "{}", fault.name);
    }
}

#[test]
fn volume_opens_and_reads_once_its_disk_works_again() {
    assert_eq!(step("open_after").exit, 0, "{:#?}", step("open_after"));
    assert_eq!(step("read_after").stdout.trim(), "as it was written");
}

#[test]
fn disk_whose_formats_all_failed_can_be_used_once_it_works() {
    assert_eq!(step("format_after").exit, 0, "{:#?}", step("format_after"));
}

#[test]
fn disk_that_comes_late_is_found_at_the_next_attempt() {
    let (exit, _, message) = failure(step("absent"));
    assert_eq!(exit, 30, "{message}");
    assert_eq!(step("late").exit, 0, "{:#?}", step("late"));
    assert_eq!(step("read_late").stdout.trim(), "as it was written");
}
