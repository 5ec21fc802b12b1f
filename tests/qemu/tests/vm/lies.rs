//! A disk that answers the same question twice with different bytes.
//!
//! One boot. A volume is made on a hostile disk, which then lies at one read of the header or of the dm-integrity
//! superblock: the first time it is read, which is ours, or the second, which is ours of the header and the kernel's
//! of the superblock. docs/volume-format.md, "What the kernel took", says what must come of each.

use std::sync::LazyLock;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::lab::{DISK_BYTES, Lab};
use dawnkey_qemu_tests::layout::{HEADER, SUPERBLOCK};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::nbd::{Act, Backend, Cache, Event, Kind, Rule, When};
use dawnkey_qemu_tests::operator::VOLUME;
use dawnkey_qemu_tests::results::Step;

use crate::guest::FUNCTIONS;
use crate::story::failure;

/// A volume whose header is shown in place of the true one.
const OTHER: &str = "0c1f6c0b-6a0d-4f5c-9a55-5b8f6b0c7d22";

/// What comes of a lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The volume opens, and reads as it was written.
    Harmless,
    /// The agent ends with this exit code and says this.
    Refused(i32, &'static str),
}
use Outcome::{Harmless, Refused};

/// The disk's answer to one read.
struct Lie {
    name: &'static str,
    /// Which read of the place, counted from the unlock's begin.
    when: When,
    outcome: Outcome,
    /// The bytes that are shown there, made from the true ones.
    shown: fn(&Shown) -> (u64, Vec<u8>),
}

/// What lies are made of.
struct Shown {
    other_header: Vec<u8>,
    header: Vec<u8>,
    superblock: Vec<u8>,
}

/// A superblock with one byte changed.
fn bent(shown: &Shown, offset: usize, change: fn(u8) -> u8) -> (u64, Vec<u8>) {
    let mut superblock = shown.superblock.clone();
    superblock[offset] = change(superblock[offset]);
    (SUPERBLOCK, superblock)
}

const LIES: &[Lie] = &[
    Lie {
        name: "header-of-another-volume-second",
        when: When::Nth(2),
        outcome: Harmless,
        shown: |shown| (0, shown.other_header.clone()),
    },
    Lie {
        name: "header-of-another-volume-first",
        when: When::From(1),
        outcome: Refused(30, "must be blank"),
        shown: |shown| (0, shown.other_header.clone()),
    },
    Lie {
        name: "header-torn-first",
        when: When::From(1),
        outcome: Refused(30, "read the header"),
        shown: |shown| {
            let torn = shown.header.iter().enumerate();
            // A bit of the JSON text in each copy.
            let flip = |at| u8::from(at == 4200 || at == 4200 + 16384);
            (0, torn.map(|(at, byte)| byte ^ flip(at)).collect())
        },
    },
    Lie {
        name: "superblock-zero-first",
        when: When::Nth(1),
        outcome: Refused(31, "check /dev/vda"),
        shown: |_| (SUPERBLOCK, vec![0; 4096]),
    },
    Lie {
        name: "superblock-zero-second",
        when: When::Nth(2),
        outcome: Harmless,
        shown: |_| (SUPERBLOCK, vec![0; 4096]),
    },
    Lie {
        name: "superblock-journal-second",
        when: When::Nth(2),
        outcome: Refused(31, "what the kernel took"),
        shown: |shown| bent(shown, 12, |sections| sections - 1),
    },
    Lie {
        name: "superblock-interleave-second",
        when: When::Nth(2),
        outcome: Refused(31, "what the kernel took"),
        shown: |shown| bent(shown, 9, |_| 14),
    },
    Lie {
        name: "superblock-padding-second",
        when: When::Nth(2),
        outcome: Refused(31, "what the kernel took"),
        shown: |shown| bent(shown, 24, |flags| flags & !8),
    },
    Lie {
        name: "superblock-recalculate-second",
        when: When::Nth(2),
        outcome: Refused(31, ""),
        shown: |shown| bent(shown, 24, |flags| flags | 2),
    },
    Lie {
        name: "superblock-tag-size-second",
        when: When::Nth(2),
        outcome: Refused(31, ""),
        shown: |shown| bent(shown, 10, |_| 16),
    },
    Lie {
        name: "superblock-version-second",
        when: When::Nth(2),
        outcome: Refused(31, ""),
        shown: |shown| bent(shown, 8, |_| 99),
    },
    Lie {
        name: "superblock-more-sectors-second",
        when: When::Nth(2),
        outcome: Harmless,
        shown: |shown| bent(shown, 19, |_| 1),
    },
];

const SCRIPT: &str = r#"
tee_begin
configure /dev/vda $first state && configure /dev/vdb $second other
unlock format state
unlock format_other other
put state 2000 "as it was written"
close
tee_launch
unlock settle state
close
for lie in $lies; do
    tee_launch
    await_host "ready-$lie"
    unlock "$lie" state
    [ $step_exit != 0 ] || get "read-$lie" state 2000
    close
    mapped "mapped-$lie"
done
"#;

struct Told {
    boot: Boot,
    /// Requests in the course of each lie.
    requests: Vec<Vec<Event>>,
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let disk = scene.volume()?;
    scene.operator.create_volume(OTHER)?;
    let other = scene.blank("other.disk", DISK_BYTES)?;
    let backend = Backend::serve(&disk, Cache::Through)?;
    let names: Vec<&str> = LIES.iter().map(|lie| lie.name).collect();
    let script = format!(
        "first={VOLUME}\nsecond={OTHER}\nlies='{}'\n{FUNCTIONS}{SCRIPT}",
        names.join(" ")
    );
    let machine = scene.direct().backend(&backend).disk(&other);
    let mut running = machine.script(&script).start()?;
    let mut begins = Vec::new();
    for lie in LIES {
        running.wait_step(&format!("ready-{}", lie.name))?;
        begins.push(backend.log().len());
        backend.behave();
        let (at, bytes) = (lie.shown)(&shown(&disk, &other)?);
        let end = at + bytes.len() as u64;
        let act = Act::show(at, bytes);
        backend.rule(Rule::new(Kind::Read, lie.when, act).touching(at..end));
        running.go()?;
    }
    let boot = running.finish()?;
    let log = backend.log();
    let ends = begins.iter().skip(1).copied().chain([log.len()]);
    let requests = begins
        .iter()
        .zip(ends)
        .map(|(begin, end)| log[*begin..end].to_vec());
    Ok(Told {
        boot,
        requests: requests.collect(),
    })
}

fn shown(disk: &Disk, other: &Disk) -> Result<Shown, VmError> {
    Ok(Shown {
        other_header: other.head(HEADER as usize)?,
        header: disk.head(HEADER as usize)?,
        superblock: disk.read_at(SUPERBLOCK, 4096)?,
    })
}

fn told() -> &'static Told {
    TOLD.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

fn step(name: &str) -> &'static Step {
    told().boot.results.step(name).unwrap()
}

#[test]
fn lies_that_are_harmless_change_nothing() {
    for lie in LIES.iter().filter(|lie| lie.outcome == Harmless) {
        assert_eq!(step(lie.name).exit, 0, "{:#?}", step(lie.name));
        let read = step(&format!("read-{}", lie.name));
        assert_eq!(read.stdout.trim(), "as it was written", "{}", lie.name);
    }
}

#[test]
fn other_lies_are_refused_by_name_and_nothing_stays_mapped() {
    for lie in LIES {
        if let Refused(code, says) = lie.outcome {
            let (exit, _, message) = failure(step(lie.name));
            assert_eq!(exit, code, "{}: {message}", lie.name);
            assert!(message.contains(says), "{}: {message}", lie.name);
            println!("refused: {}: {message}", lie.name);
        }
        let mapped = step(&format!("mapped-{}", lie.name));
        assert_eq!(mapped.stdout.trim(), "control", "{}", lie.name);
    }
    println!("measured: {} lies of a disk", LIES.len());
}

/// Otherwise the tests above prove nothing. The header is the exception: a second read does not come.
#[test]
fn every_lie_about_the_superblock_was_told_and_the_header_is_read_once() {
    for (lie, requests) in LIES.iter().zip(&told().requests) {
        let told = requests.iter().filter(|event| event.rule.is_some()).count();
        let header_twice = lie.name == "header-of-another-volume-second";
        assert_eq!(told == 0, header_twice, "{}: {requests:#?}", lie.name);
        let of_header = |event: &&Event| event.kind == Kind::Read && event.offset < HEADER;
        if header_twice {
            assert_eq!(
                requests.iter().filter(of_header).count(),
                1,
                "{requests:#?}"
            );
        }
    }
}
