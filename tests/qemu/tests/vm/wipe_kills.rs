//! The power is cut while the wipe behind a volume runs, and while a volume takes up a larger disk. The next boot goes
//! on where that came to; every block that can be seen reads without an error, and the data is there.
//!
//! Three boots, told as in [`crate::kills`]: volumes are made with the least prefix and their wipes are cut; those are
//! finished and the other volumes, on larger disks now, are cut at an unlock; those are finished.

use std::fs::OpenOptions;
use std::sync::LazyLock;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::{Lab, Scene};
use dawnkey_qemu_tests::machine::{Boot, Machine};
use dawnkey_qemu_tests::nbd::{Backend, Cache, Event, Kind, Rule};
use dawnkey_qemu_tests::results::Step;

use crate::cuts::{Point, Points, device, header, point, stop};

/// Size of the disks, and of those that grew.
const BYTES: u64 = 64 << 20;
const GROWN: u64 = 88 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// The wipe behind a volume.
    Wipe,
    /// An unlock on a disk that has grown.
    Grow,
}

/// Requests of a whole wipe, from the log of one that was left alone.
struct Shape {
    writes: usize,
    flushes: usize,
}

impl Shape {
    fn of(log: &[Event]) -> Self {
        let count = |kind| log.iter().filter(|event| event.kind == kind).count();
        Shape {
            writes: count(Kind::Write),
            flushes: count(Kind::Flush),
        }
    }

    fn write(&self, parts: usize) -> Rule {
        stop(Kind::Write, (self.writes * parts / 8).max(1))
    }

    fn flush(&self, parts: usize) -> Rule {
        stop(Kind::Flush, (self.flushes * parts / 8).max(1))
    }
}

use Cache::{Through, Volatile};
use Job::{Grow, Wipe};

const POINTS: &[Point<Job, Shape>] = &[
    point(Wipe, "first write", Through, |shape| shape.write(0)),
    point(Wipe, "in the first step", Volatile, |shape| shape.write(1)),
    point(Wipe, "in a middle step", Through, |shape| shape.write(4)),
    point(Wipe, "in a middle step", Volatile, |shape| shape.write(4)),
    point(Wipe, "flush between steps", Volatile, |shape| {
        shape.flush(4)
    }),
    point(Wipe, "in the last step", Volatile, |shape| shape.write(6)),
    point(Grow, "before the first header copy", Volatile, |_| {
        header(1)
    }),
    point(Grow, "flush between the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(1))
    }),
    point(Grow, "before the second header copy", Volatile, |_| {
        header(2)
    }),
    point(Grow, "flush behind the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(2))
    }),
];

/// Id of a point's volume; the one behind the last is left alone.
fn id(number: usize) -> String {
    format!("3c9e5b10-7d64-4e0f-b1a2-9d8e7f6a{number:04x}")
}

const CUTS: Points<Job, Shape> = Points(POINTS);

/// `whole STEP NAME` reads all that can be seen and gives its size.
const COMMON: &str = r##"
small_prefix() { sed -i 's#^filesystem = .*#&\nwipe_prefix = "16 MiB"\ngrow = true#' "/run/n$1.toml"; }
wipe() { dawnkey-agent --config "/run/n$1.toml" wipe "n$1"; }
whole() { step "$1" read_whole "$2"; }
read_whole() { dd "if=/dev/mapper/$1" of=/dev/null bs=1048576 2>/dev/null && blockdev --getsize64 "/dev/mapper/$1"; }
finish() {
    unlock "finish_$1" "n$1"
    whole "seen_$1" "n$1"
    step "wipe_$1" wipe "$1"
    whole "whole_$1" "n$1"
    get "read_$1" "n$1" 1000
    close
}
tee_begin
"##;

const FIRST: &str = r#"
for number in $wipes $grows $left_alone; do
    unlock "format_$number" "n$number"
    put "n$number" 1000 "data of $number"
done
whole prefix "n$left_alone"
sync
await_host begin
step wipe_alone wipe $left_alone
await_host cut
for number in $wipes; do wipe $number >/dev/null 2>&1 & done
read -r _ <"$control"
"#;

const SECOND: &str = r#"
for number in $wipes; do finish $number; done
await_host cut
for number in $grows; do
    alone "$(device $number)" dawnkey-agent --config "/run/n$number.toml" --json unlock >/dev/null 2>&1 &
done
read -r _ <"$control"
"#;

const THIRD: &str = "for number in $grows; do finish $number; done\n";

struct Told {
    first: Vec<Step>,
    second: Vec<Step>,
    third: Boot,
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn machine<'a>(scene: &'a Scene<'_>, backends: &[Backend], script: &str) -> Machine<'a> {
    let begin = format!(
        "wipes='{}'\ngrows='{}'\n",
        CUTS.words(&[Wipe]),
        CUTS.words(&[Grow])
    );
    let mut text = COMMON.to_owned();
    for number in 0..backends.len() {
        let (device, id) = (device(number), id(number));
        text += &format!("configure /dev/{device} {id} n{number}; small_prefix {number}\n");
    }
    CUTS.machine(scene, backends, &begin, &(text + script))
        .memory(1024)
}

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let mut disks = Vec::new();
    for number in 0..=POINTS.len() {
        scene.operator.create_volume(&id(number))?;
        disks.push(scene.blank(&format!("{number}.disk"), BYTES)?);
    }

    let backends = CUTS.serve(&disks)?;
    let mut running = machine(&scene, &backends, FIRST).start()?;
    running.wait_step("begin")?;
    let before = backends[POINTS.len()].log().len();
    running.go()?;
    for name in ["format_0", "prefix", "wipe_alone"] {
        let step = running.wait_step(name)?;
        if step.exit != 0 {
            return Err(VmError::Report(format!("{step:#?}")));
        }
    }
    running.wait_step("cut")?;
    let shape = Shape::of(&backends[POINTS.len()].log()[before..]);
    CUTS.arm(&backends, &[Wipe], &shape);
    running.go()?;
    CUTS.wait_stopped(&backends, &[Wipe])?;
    let first = running.cut()?;
    drop(backends);

    for (point, disk) in POINTS.iter().zip(&disks) {
        if point.job == Grow {
            let file = OpenOptions::new().write(true).open(disk.path()).unwrap();
            file.set_len(GROWN).unwrap();
        }
    }
    let backends = CUTS.serve(&disks)?;
    let mut running = machine(&scene, &backends, SECOND).start()?;
    running.wait_step("cut")?;
    CUTS.arm(&backends, &[Grow], &shape);
    running.go()?;
    CUTS.wait_stopped(&backends, &[Grow])?;
    let second = running.cut()?;
    drop(backends);

    let backends = CUTS.serve(&disks)?;
    let third = machine(&scene, &backends, THIRD).boot()?;
    Ok(Told {
        first,
        second,
        third,
    })
}

fn told() -> &'static Told {
    TOLD.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

/// A step that must have worked, of the boot after the cut.
fn step(point: &Point<Job, Shape>, name: &str) -> &'static Step {
    let steps = match point.job {
        Wipe => told().second.as_slice(),
        Grow => told().third.results.steps(),
    };
    let step = steps.iter().find(|step| step.name == name);
    let step = step.unwrap_or_else(|| panic!("no step {name}"));
    let Point {
        job, what, cache, ..
    } = point;
    assert_eq!(step.exit, 0, "{job:?}, {what}, {cache:?}: {step:#?}");
    step
}

fn bytes(step: &Step) -> u64 {
    step.stdout
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{step:#?}"))
}

#[test]
fn boot_after_a_cut_wipe_goes_on_and_every_visible_block_reads() {
    let first = told().first.iter();
    let prefix = first.clone().find(|step| step.name == "prefix").unwrap();
    assert_eq!(bytes(prefix), 16 << 20, "{prefix:?}");
    let alone = first
        .clone()
        .find(|step| step.name == "wipe_alone")
        .unwrap();
    assert_eq!(alone.exit, 0, "{alone:#?}");
    for (number, point) in POINTS.iter().enumerate().filter(|(_, p)| p.job == Wipe) {
        step(point, &format!("finish_{number}"));
        let seen = bytes(step(point, &format!("seen_{number}")));
        step(point, &format!("wipe_{number}"));
        let whole = bytes(step(point, &format!("whole_{number}")));
        assert!(bytes(prefix) <= seen && seen <= whole, "{seen} of {whole}");
        assert!(whole > 40 << 20, "{whole}");
        let read = step(point, &format!("read_{number}"));
        assert_eq!(
            read.stdout.trim(),
            format!("data of {number}"),
            "{}",
            point.what
        );
        println!(
            "killed: Wipe, {}, {:?} cache: {} of {} MiB were ready",
            point.what,
            point.cache,
            seen >> 20,
            whole >> 20
        );
    }
    println!(
        "measured: {} kill points of the wipe behind a volume and of growth",
        POINTS.len()
    );
}

#[test]
fn boot_after_a_cut_growth_gives_the_whole_of_the_larger_disk() {
    for (number, point) in POINTS.iter().enumerate().filter(|(_, p)| p.job == Grow) {
        step(point, &format!("finish_{number}"));
        step(point, &format!("seen_{number}"));
        step(point, &format!("wipe_{number}"));
        let whole = bytes(step(point, &format!("whole_{number}")));
        assert!(whole > 64 << 20, "{whole}");
        let read = step(point, &format!("read_{number}"));
        assert_eq!(
            read.stdout.trim(),
            format!("data of {number}"),
            "{}",
            point.what
        );
        println!(
            "killed: Grow, {}, {:?} cache: {} MiB afterwards",
            point.what,
            point.cache,
            whole >> 20
        );
    }
}
