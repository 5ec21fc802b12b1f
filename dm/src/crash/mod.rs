//! Power cuts: every write and flush of formatting, first opening and updating is recorded, and every state that a disk
//! may be in after a cut at any instant is opened again by the same code.
//!
//! A disk has kept what was written before the last flush that it confirmed, and of what was written since any part, in
//! any order. Parts are sectors of 4096 bytes (all subsets) and of 512 bytes (families of subsets: runs from either
//! end, one or two alone, all but one, every other, 256 drawn at random); a header's copy is also cut at every byte.
//! A failed write or flush ends the work, so what the disk holds afterwards is one of these states too.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod life;

use std::collections::BTreeMap;

use crate::blank::Content;
use crate::error::MapError;
use crate::faults::{VOLUME, blank, dek, wanted};
use crate::geometry::DATA_OFFSET_BYTES;
use crate::header::{HeaderError, REGION_BYTES};
use crate::mapper::{Found, Grant, Mapper};
use crate::testing::{OneDisk, Operation, Remembered};
use crate::volumes::Volumes;

/// Bytes behind 16 MiB that the model of the kernel writes to.
const DATA_BYTES: usize = 64 << 10;

/// The parts of a disk that are written to.
#[derive(Clone, PartialEq, Eq)]
struct Image {
    header: Vec<u8>,
    data: Vec<u8>,
}

impl Image {
    fn of(disk: &OneDisk) -> Self {
        let begin = usize::try_from(DATA_OFFSET_BYTES).unwrap();
        let disk = disk.lock();
        Self {
            header: disk.bytes()[..REGION_BYTES].to_vec(),
            data: disk.bytes()[begin..begin + DATA_BYTES].to_vec(),
        }
    }

    fn put(&self, disk: &OneDisk) {
        let mut disk = disk.lock();
        disk.load(0, &self.header);
        disk.load(DATA_OFFSET_BYTES, &self.data);
    }

    fn apply(&mut self, offset: u64, bytes: &[u8]) {
        let (window, at) = match offset.checked_sub(DATA_OFFSET_BYTES) {
            None => (&mut self.header, offset),
            Some(at) => (&mut self.data, at),
        };
        let at = usize::try_from(at).unwrap();
        window[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Subsets of `units` parts of what was not flushed.
fn subsets(units: usize) -> Vec<Vec<bool>> {
    let by = |keep: &dyn Fn(usize) -> bool| (0..units).map(keep).collect::<Vec<_>>();
    if units <= 10 {
        return (0..1_usize << units)
            .map(|set| by(&|unit| set >> unit & 1 == 1))
            .collect();
    }
    let mut all = vec![by(&|unit| unit % 2 == 0), by(&|unit| unit % 2 == 1)];
    for n in 0..=units {
        all.push(by(&|unit| unit < n));
        all.push(by(&|unit| unit >= n));
        all.push(by(&|unit| unit != n));
        all.extend((n..units).map(|m| by(&|unit| unit == n || unit == m)));
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..256 {
        all.push(
            by(&|_| true)
                .into_iter()
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state & 1 == 1
                })
                .collect(),
        );
    }
    all
}

/// Gives every state that a cut at any instant of `log` may leave to `check`. Returns how many.
fn cuts(before: &Image, log: &[Operation], unit: usize, mut check: impl FnMut(&Image)) -> usize {
    let (mut durable, mut count) = (before.clone(), 0);
    let mut pending: Vec<(u64, &[u8])> = Vec::new();
    for operation in log {
        match operation {
            Operation::Write(offset, bytes) => {
                pending.extend(
                    (*offset..)
                        .step_by(unit)
                        .zip(bytes.chunks(unit))
                        .collect::<Vec<_>>(),
                );
                for kept in subsets(pending.len()) {
                    let mut cut = durable.clone();
                    let parts = pending.iter().zip(kept).filter(|(_, kept)| *kept);
                    parts.for_each(|((offset, part), _)| cut.apply(*offset, part));
                    check(&cut);
                    count += 1;
                }
            }
            Operation::Flush => {
                pending
                    .drain(..)
                    .for_each(|(offset, part)| durable.apply(offset, part));
                check(&durable);
                count += 1;
            }
        }
    }
    count
}

/// What the next boot makes of a disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Blank,
    /// Opens, showing this generation.
    Opens(u64),
    /// Refused under this name.
    Refused(&'static str),
}

/// Boots on `image`: finds, and if it is a volume opens it with the volume's key.
fn boot(disk: &OneDisk, image: &Image, key: &[u8]) -> Outcome {
    image.put(disk);
    let mut volumes = machine(disk);
    match volumes.find(&wanted()) {
        Ok(Found::Blank(_)) => Outcome::Blank,
        Ok(Found::Volume(volume)) => {
            let generation = volume.seen().generation;
            let next = Grant {
                epoch: 1,
                generation: generation + 1,
            };
            volumes.open(volume, &dek(), next, None).unwrap();
            assert_eq!(volumes.activation.mapped[0].1, key);
            Outcome::Opens(generation)
        }
        Err(MapError::Header {
            source: HeaderError::BothTorn { .. },
            ..
        }) => Outcome::Refused("both copies torn"),
        Err(MapError::NotBlank {
            content: Content::Luks | Content::Unknown,
            ..
        }) => Outcome::Refused("not blank"),
        Err(other) => panic!("{other:?}"),
    }
}

fn machine(disk: &OneDisk) -> Volumes<OneDisk, Remembered> {
    Volumes {
        disks: disk.clone(),
        activation: Remembered::default(),
    }
}

/// Opens the volume on `disk` with this generation and returns what was written meanwhile.
fn open(disk: &OneDisk, generation: u64) -> Vec<Operation> {
    let mut volumes = machine(disk);
    let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
        panic!("not a volume");
    };
    disk.lock().log.clear();
    let grant = Grant {
        epoch: 1,
        generation,
    };
    volumes.open(volume, &dek(), grant, None).unwrap();
    std::mem::take(&mut disk.lock().log)
}

/// A blank disk, formatted with generation 1: the disk, what was written, the volume key.
fn format() -> (OneDisk, Vec<Operation>, Vec<u8>) {
    let (disk, mut volumes) = blank();
    let Found::Blank(empty) = volumes.find(&wanted()).unwrap() else {
        panic!("not blank");
    };
    let grant = Grant {
        epoch: 1,
        generation: 1,
    };
    volumes.format(empty, &dek(), grant, &mut |_| {}).unwrap();
    let log = std::mem::take(&mut disk.lock().log);
    let key = volumes.activation.mapped[0].1.clone();
    (disk, log, key)
}

type Counts = BTreeMap<Outcome, usize>;

#[test]
fn a_cut_while_formatting_leaves_a_blank_disk_the_volume_or_a_named_refusal() {
    let (disk, log, key) = format();
    let whole = Image::of(&disk);
    let empty = Image {
        header: vec![0; REGION_BYTES],
        data: vec![0; DATA_BYTES],
    };
    for unit in [4096, 512] {
        let mut counts = Counts::new();
        let states = cuts(&empty, &log, unit, |image| {
            let outcome = boot(&disk, image, &key);
            // Blank exactly as long as not a byte of the header is there.
            let untouched = image.header.iter().all(|byte| *byte == 0);
            assert_eq!(outcome == Outcome::Blank, untouched);
            assert!(
                !matches!(outcome, Outcome::Opens(2..)),
                "a generation that was not granted"
            );
            *counts.entry(outcome).or_default() += 1;
        });
        println!("format, parts of {unit} bytes: {states} states: {counts:?}");
        assert!(counts[&Outcome::Opens(1)] > 1);
    }
    assert_eq!(boot(&disk, &whole, &key), Outcome::Opens(1));
}

#[test]
fn a_cut_while_updating_leaves_the_old_or_the_new_generation() {
    let (disk, _, key) = format();
    let before = Image::of(&disk);
    let log = open(&disk, 2);
    for unit in [4096, 512] {
        let mut counts = Counts::new();
        let states = cuts(&before, &log, unit, |image| {
            let outcome = boot(&disk, image, &key);
            assert!(matches!(outcome, Outcome::Opens(1 | 2)), "{outcome:?}");
            *counts.entry(outcome).or_default() += 1;
        });
        println!("update, parts of {unit} bytes: {states} states: {counts:?}");
        assert_eq!(counts.len(), 2);
    }
}

#[test]
fn a_copy_cut_at_any_byte_leaves_the_old_or_the_new_generation() {
    let (disk, _, _) = format();
    let mut durable = Image::of(&disk);
    let mut counts = BTreeMap::<u64, usize>::new();
    for operation in open(&disk, 2) {
        let Operation::Write(offset, bytes) = operation else {
            continue;
        };
        for end in 0..=bytes.len() {
            let mut cut = durable.clone();
            cut.apply(offset, &bytes[..end]);
            let header = crate::header::parse(&cut.header).unwrap().header;
            assert!(header.open(&dek()).is_ok());
            *counts.entry(header.seen().generation).or_default() += 1;
        }
        durable.apply(offset, &bytes);
    }
    println!("update cut at every byte: generations {counts:?}");
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 2]);
}

/// The boot after a cut is cut again: the generation that the first cut left is never lost, whichever copy held it.
#[test]
fn a_second_cut_loses_neither_the_volume_nor_the_generation_that_the_first_one_left() {
    let (disk, _, key) = format();
    let before = Image::of(&disk);
    let first = open(&disk, 2);
    let mut left = Vec::new();
    cuts(&before, &first, 4096, |image| {
        if !left.contains(image) {
            left.push(image.clone());
        }
    });
    // Copies lost to something else than our writing.
    for copy in before
        .header
        .chunks(REGION_BYTES / 2)
        .enumerate()
        .map(|(at, _)| at)
    {
        let mut damaged = before.clone();
        damaged.header[copy * REGION_BYTES / 2..][..REGION_BYTES / 2].fill(0);
        left.push(damaged);
    }
    let (mut states, mut counts) = (0, Counts::new());
    for image in &left {
        let Outcome::Opens(taken) = boot(&disk, image, &key) else {
            panic!("the first cut lost the volume");
        };
        image.put(&disk);
        let second = open(&disk, 3);
        for unit in [4096, 512] {
            states += cuts(image, &second, unit, |image| {
                let header = crate::header::parse(&image.header).map(|parsed| parsed.header);
                let header = header.unwrap_or_else(|error| panic!("volume lost: {error}"));
                assert_eq!(header.open(&dek()).unwrap().expose(), key);
                let generation = header.seen().generation;
                assert!(
                    generation == taken || generation == 3,
                    "{taken} became {generation}"
                );
                *counts.entry(Outcome::Opens(generation)).or_default() += 1;
            });
        }
    }
    println!(
        "second cut: {} states of the first, {states} of the second: {counts:?}",
        left.len()
    );
}

#[test]
fn the_disk_vanishing_at_any_operation_is_an_error_and_loses_nothing() {
    let (disk, written, _) = format();
    let empty = Image {
        header: vec![0; REGION_BYTES],
        data: vec![0; DATA_BYTES],
    };
    for gone_after in 0..written.len() {
        empty.put(&disk);
        let mut volumes = machine(&disk);
        let Found::Blank(blank) = volumes.find(&wanted()).unwrap() else {
            panic!("not blank");
        };
        disk.lock().gone_after = Some(gone_after);
        let grant = Grant {
            epoch: 1,
            generation: 1,
        };
        let refused = volumes
            .format(blank, &dek(), grant, &mut |_| {})
            .unwrap_err();
        assert!(matches!(refused, MapError::Disk { .. }), "{refused}");
        let looked = volumes.find(&wanted()).unwrap_err();
        assert!(matches!(looked, MapError::Open(_)), "{looked}");
        disk.lock().gone_after = None;
        match machine(&disk).find(&wanted()) {
            Ok(Found::Blank(_)) => {}
            Ok(Found::Volume(volume)) => assert_eq!(volume.seen().generation, 1),
            Err(error) => panic!("{error}"),
        }
    }
    let (disk, _, key) = format();
    let before = Image::of(&disk);
    for gone_after in 0..4 {
        before.put(&disk);
        let mut volumes = machine(&disk);
        let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
            panic!("not a volume");
        };
        disk.lock().gone_after = Some(gone_after);
        let grant = Grant {
            epoch: 1,
            generation: 2,
        };
        let refused = volumes.open(volume, &dek(), grant, None).unwrap_err();
        assert!(matches!(refused, MapError::Disk { .. }), "{refused}");
        assert_eq!(volumes.activation.mapped, []);
        disk.lock().gone_after = None;
        let now = Image::of(&disk);
        assert!(matches!(boot(&disk, &now, &key), Outcome::Opens(1 | 2)));
    }
    assert_eq!(VOLUME, wanted().volume);
}
