//! The power is cut at every step of a format, of an unlock and of a change to another epoch: SIGKILL to QEMU at the
//! very request to the disk. The next boot finishes the job, and the data is there.
//!
//! Three boots for all kill points. Each point has a volume and a hostile disk of its own, which stops at its request;
//! when all have stopped the power is cut. In the second boot formats are finished, then unlocks are cut; in the third
//! those are finished. Half of the disks have a volatile write cache, which the cut empties.

use std::sync::LazyLock;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::{Lab, Scene};
use dawnkey_qemu_tests::layout::{COPY, HEADER, SUPERBLOCK};
use dawnkey_qemu_tests::machine::{Boot, Machine};
use dawnkey_qemu_tests::nbd::{Backend, Cache, Event, Kind, Rule};
use dawnkey_qemu_tests::results::Step;
use serde_json::Value;

use crate::cuts::{Point, Points, device, header, point, stop};

/// The smallest disk with some blocks on it: formats are what takes time here.
const BYTES: u64 = 36 << 20;
/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// The format of a blank disk.
    Format,
    /// An unlock, which writes the next generation.
    Unlock,
    /// An unlock that also seals the header under the next epoch.
    Rotate,
}

/// Numbers of requests in a whole format, from the log of one that was left alone.
struct Shape {
    /// Writes behind the superblock until the first header copy; how many they are depends on what the kernel merges.
    data_writes: usize,
    /// Whether the primary copy was the first.
    primary_first: bool,
}

impl Shape {
    fn of(log: &[Event]) -> Self {
        let writes = || log.iter().filter(|event| event.kind == Kind::Write);
        let is_header = |event: &&Event| event.offset < HEADER;
        let data = writes()
            .take_while(|event| !is_header(event))
            .filter(|event| event.offset > SUPERBLOCK);
        let first = writes().find(is_header).expect("a format writes a header");
        Shape {
            data_writes: data.count(),
            primary_first: first.offset < COPY,
        }
    }
}

fn data(number: usize) -> Rule {
    stop(Kind::Write, number).touching(SUPERBLOCK + 4096..BYTES)
}

fn superblock(number: usize) -> Rule {
    stop(Kind::Write, number).touching(SUPERBLOCK..SUPERBLOCK + 4096)
}

use Cache::{Through, Volatile};
use Job::{Format, Rotate, Unlock};

const POINTS: &[Point<Job, Shape>] = &[
    point(Format, "superblock is zeroed", Volatile, |_| superblock(1)),
    point(Format, "kernel writes its superblock", Through, |_| {
        superblock(2)
    }),
    point(Format, "wipe begins", Through, |_| data(1)),
    point(Format, "wipe is half done", Volatile, |s| {
        data(s.data_writes / 2)
    }),
    point(Format, "second mapping reads its journal", Through, |s| {
        let journal = SUPERBLOCK + 4096..SUPERBLOCK + 8192;
        stop(Kind::Read, 1)
            .touching(journal)
            .after(data(s.data_writes / 2))
    }),
    point(Format, "before the first header copy", Through, |_| {
        header(1)
    }),
    point(Format, "flush between the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(1))
    }),
    point(Format, "flush between the copies", Volatile, |_| {
        stop(Kind::Flush, 1).after(header(1))
    }),
    point(Format, "before the second header copy", Volatile, |_| {
        header(2)
    }),
    point(Format, "flush behind the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(2))
    }),
    point(Format, "flush behind the copies", Volatile, |_| {
        stop(Kind::Flush, 1).after(header(2))
    }),
    point(Unlock, "mapping starts", Through, |_| stop(Kind::Write, 1)),
    point(Unlock, "before the first header copy", Volatile, |_| {
        header(1)
    }),
    point(Unlock, "flush between the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(1))
    }),
    point(Unlock, "flush between the copies", Volatile, |_| {
        stop(Kind::Flush, 1).after(header(1))
    }),
    point(Unlock, "before the second header copy", Through, |_| {
        header(2)
    }),
    point(Unlock, "flush behind the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(2))
    }),
    point(Unlock, "flush behind the copies", Volatile, |_| {
        stop(Kind::Flush, 1).after(header(2))
    }),
    point(Rotate, "before the first header copy", Volatile, |_| {
        header(1)
    }),
    point(Rotate, "flush between the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(1))
    }),
    point(Rotate, "before the second header copy", Volatile, |_| {
        header(2)
    }),
    point(Rotate, "flush behind the copies", Through, |_| {
        stop(Kind::Flush, 1).after(header(2))
    }),
    point(Rotate, "flush behind the copies", Volatile, |_| {
        stop(Kind::Flush, 1).after(header(2))
    }),
];

/// Id of a point's volume; the one behind the last is left alone.
fn id(number: usize) -> String {
    format!("5a1d7c36-0d2f-4b0a-8a3e-7c4f3b2a{number:04x}")
}

const CUTS: Points<Job, Shape> = Points(POINTS);

/// `cut NUMBER...` unlocks these volumes at once, each with its own disk alone in sight.
const FIRST: &str = r#"
unlock "format_$left_alone" "n$left_alone"
dmsetup remove_all
await_host recorded
for number in $unlocks; do
    unlock "format_$number" "n$number"
    put "n$number" 1000 "data of $number"
    close
done
await_host cut
cut $formats
read -r _ <"$control"
"#;

const SECOND: &str = r#"
for number in $formats; do
    unlock "finish_$number" "n$number"
    put "n$number" 1000 "data of $number"
    get "read_$number" "n$number" 1000
    close
done
await_host cut
cut $unlocks
read -r _ <"$control"
"#;

const THIRD: &str = r#"
for number in $unlocks; do
    unlock "finish_$number" "n$number"
    get "read_$number" "n$number" 1000
    close
done
"#;

const CUT: &str = r#"
cut() {
    for number; do
        alone "$(device $number)" dawnkey-agent --config "/run/n$number.toml" --json unlock >/dev/null 2>&1 &
    done
}
tee_begin
"#;

struct Told {
    second: Vec<Step>,
    third: Boot,
    shape: Shape,
    /// Records of the volumes at the end.
    records: Vec<Value>,
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

fn machine<'a>(scene: &'a Scene<'_>, backends: &[Backend], script: &str) -> Machine<'a> {
    let begin = format!(
        "formats='{}'\nunlocks='{}'\n",
        CUTS.words(&[Format]),
        CUTS.words(&[Unlock, Rotate])
    );
    let mut text = CUT.to_owned();
    for number in 0..backends.len() {
        let (device, id) = (device(number), id(number));
        text += &format!("configure /dev/{device} {id} n{number}\n");
    }
    CUTS.machine(scene, backends, &begin, &(text + script))
        .memory(1536)
}

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    let mut disks = Vec::new();
    for number in 0..=POINTS.len() {
        scene.operator.create_volume(&id(number))?;
        disks.push(scene.blank(&format!("{number}.disk"), BYTES)?);
    }
    let unlocks = [Unlock, Rotate];

    let backends = CUTS.serve(&disks)?;
    let mut running = machine(&scene, &backends, FIRST).start()?;
    running.wait_step("recorded")?;
    let shape = Shape::of(&backends[POINTS.len()].log());
    running.go()?;
    running.wait_step("cut")?;
    CUTS.arm(&backends, &[Format], &shape);
    running.go()?;
    CUTS.wait_stopped(&backends, &[Format])?;
    running.cut()?;
    drop(backends);

    for (number, point) in POINTS.iter().enumerate() {
        if point.job == Rotate {
            scene.operator.dawnkey(&["volume", "rotate", &id(number)])?;
        }
    }
    let backends = CUTS.serve(&disks)?;
    let mut running = machine(&scene, &backends, SECOND).start()?;
    running.wait_step("cut")?;
    CUTS.arm(&backends, &unlocks, &shape);
    running.go()?;
    CUTS.wait_stopped(&backends, &unlocks)?;
    let second = running.cut()?;
    drop(backends);

    let backends = CUTS.serve(&disks)?;
    let third = machine(&scene, &backends, THIRD).boot()?;
    let show = |number| {
        let shown = scene
            .operator
            .dawnkey(&["volume", "show", &id(number), "--json"])?;
        serde_json::from_str(&shown).map_err(|e| VmError::Report(format!("{e}: {shown}")))
    };
    let records = (0..POINTS.len()).map(show).collect::<Result<_, _>>()?;
    Ok(Told {
        second,
        third,
        shape,
        records,
    })
}

fn told() -> &'static Told {
    TOLD.as_ref().unwrap_or_else(|e| panic!("{e}"))
}

/// The step of the boot after the cut.
fn step(job: Job, name: &str) -> &'static Step {
    let steps = match job {
        Format => told().second.as_slice(),
        Unlock | Rotate => told().third.results.steps(),
    };
    steps
        .iter()
        .find(|step| step.name == name)
        .unwrap_or_else(|| panic!("no step {name}"))
}

#[test]
fn boot_after_a_cut_finishes_the_job_and_the_data_is_there() {
    for (number, point) in POINTS.iter().enumerate() {
        let Point {
            job, what, cache, ..
        } = point;
        let finished = step(*job, &format!("finish_{number}"));
        assert_eq!(
            finished.exit, 0,
            "{job:?}, {what}, {cache:?}: {finished:#?}"
        );
        let read = step(*job, &format!("read_{number}"));
        assert_eq!(
            read.stdout.trim(),
            format!("data of {number}"),
            "{job:?}, {what}, {cache:?}"
        );
        println!("killed: {job:?}, {what}, {cache:?} cache: finished by the next boot");
    }
    println!("measured: {} kill points", POINTS.len());
}

#[test]
fn format_writes_its_header_last_and_one_copy_after_the_other() {
    let shape = &told().shape;
    assert!(shape.data_writes > 100, "{}", shape.data_writes);
    assert!(!shape.primary_first);
}

#[test]
fn rotated_volumes_are_of_the_next_epoch_after_the_cut_and_others_are_not() {
    for (point, record) in POINTS.iter().zip(&told().records) {
        let epoch = if point.job == Rotate { 2 } else { 1 };
        assert_eq!(record["epoch"], epoch, "{}: {record}", point.what);
        assert_eq!(record["next_epoch"], Value::Null, "{record}");
    }
}
