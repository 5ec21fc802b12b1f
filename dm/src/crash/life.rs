//! Power cuts while a header is written that carries more than a new generation: how far the wipe came, a new epoch, a
//! grown layout, and all at once. Whatever was kept, the disk says the whole old state or the whole new one, and the
//! next boot goes on from it.

use std::collections::BTreeMap;

use dawnkey_secret::Dek;

use super::{Image, cuts, machine};
use crate::header::{SealError, parse};
use crate::mapper::{Found, Grant, Mapper, Ready, Rotation, Wanted, Wipe};
use crate::testing::{OneDisk, Operation};

const GROWN_BYTES: usize = 64 << 20;

/// What changes with the second opening.
#[derive(Debug, Clone, Copy)]
struct Change {
    label: &'static str,
    wiped_mib: u64,
    rotates: bool,
    grows: bool,
}

const CHANGES: [Change; 4] = [
    Change {
        label: "progress of the wipe",
        wiped_mib: 20,
        rotates: false,
        grows: false,
    },
    Change {
        label: "rotation",
        wiped_mib: 0,
        rotates: true,
        grows: false,
    },
    Change {
        label: "growth",
        wiped_mib: 0,
        rotates: false,
        grows: true,
    },
    Change {
        label: "all at once",
        wiped_mib: 1 << 20,
        rotates: true,
        grows: true,
    },
];

/// What a header says: generation, epoch, ready and data sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    generation: u64,
    epoch: u32,
    ready: u64,
    data: u64,
}

fn dek(epoch: u32) -> Dek {
    let byte = 6 + u8::try_from(epoch).unwrap();
    Dek::take(&mut [byte; 32]).unwrap()
}

fn wanted(grow: bool) -> Wanted {
    Wanted {
        wipe: Wipe::Behind {
            prefix_bytes: Wipe::LEAST_PREFIX_BYTES,
        },
        grow,
        ..super::wanted()
    }
}

/// What the header region says, if it opens under the DEK of its epoch and no other.
fn state(region: &[u8]) -> State {
    let header = parse(region).unwrap().header;
    let seen = header.seen();
    assert!(header.open(&dek(seen.epoch)).is_ok());
    let other = header.open(&dek(3 - seen.epoch));
    assert_eq!(other.unwrap_err(), SealError::Open);
    State {
        generation: seen.generation,
        epoch: seen.epoch,
        ready: header.layout().ready_sectors(),
        data: header.layout().data_sectors(),
    }
}

fn format() -> OneDisk {
    let (disk, mut volumes) = super::blank();
    let Found::Blank(empty) = volumes.find(&wanted(false)).unwrap() else {
        panic!("not blank");
    };
    let grant = Grant {
        epoch: 1,
        generation: 1,
    };
    let made = volumes.format(empty, &dek(1), grant, &mut |_| {}).unwrap();
    assert!(!made.ready.is_complete());
    disk
}

/// A boot as the key service sees it that has not been told of any rotation having ended.
fn open(disk: &OneDisk, generation: u64, change: Change) -> (Ready, Vec<Operation>) {
    let mut volumes = machine(disk);
    volumes.activation.wiped_to = change.wiped_mib << 11;
    let Found::Volume(volume) = volumes.find(&wanted(change.grows)).unwrap() else {
        panic!("not a volume");
    };
    disk.lock().log.clear();
    let (epoch, rotation) = (2, dek(2));
    let rotation = Rotation {
        epoch,
        dek: rotation,
    };
    let grant = Grant {
        epoch: 1,
        generation,
    };
    let rotation = change.rotates.then_some(&rotation);
    let mapped = volumes.open(volume, &dek(1), grant, rotation).unwrap();
    (mapped.ready, std::mem::take(&mut disk.lock().log))
}

#[test]
fn a_cut_leaves_the_whole_old_state_or_the_whole_new_one_and_the_next_boot_goes_on() {
    for change in CHANGES {
        let disk = format();
        if change.grows {
            disk.lock().resize(GROWN_BYTES);
        }
        let before = Image::of(&disk);
        let old = state(&before.header);
        let (ready, log) = open(&disk, 2, change);
        let new = state(&Image::of(&disk).header);
        assert_eq!(ready.ready_bytes, new.ready * 512);
        assert_eq!(new.epoch, if change.rotates { 2 } else { 1 });
        assert_eq!(new.data > old.data, change.grows);
        assert_eq!(new.ready > old.ready, change.wiped_mib > 0);
        // What was wiped before the disk grew ends where the volume ended.
        assert!(new.ready <= old.data);
        let mut counts = BTreeMap::<State, usize>::new();
        for unit in [4096, 512] {
            cuts(&before, &log, unit, |image| {
                let left = state(&image.header);
                assert!(left == old || left == new, "{left:?}");
                *counts.entry(left).or_default() += 1;
                image.put(&disk);
                open(&disk, 3, change);
                let next = state(&Image::of(&disk).header);
                assert_eq!((next.generation, next.epoch), (3, new.epoch));
                assert!(next.ready >= left.ready && next.data == new.data);
            });
        }
        println!("{}: {counts:?}", change.label);
        assert_eq!(counts.len(), 2, "{}", change.label);
    }
}

#[test]
fn a_copy_cut_at_any_byte_leaves_the_whole_old_state_or_the_whole_new_one() {
    let change = CHANGES[3];
    let disk = format();
    disk.lock().resize(GROWN_BYTES);
    let mut durable = Image::of(&disk);
    let old = state(&durable.header);
    let (_, log) = open(&disk, 2, change);
    let new = state(&Image::of(&disk).header);
    let mut counts = BTreeMap::<State, usize>::new();
    for operation in log {
        let Operation::Write(offset, bytes) = operation else {
            continue;
        };
        for end in (0..=bytes.len()).step_by(7).chain([bytes.len()]) {
            let mut cut = durable.clone();
            cut.apply(offset, &bytes[..end]);
            let left = state(&cut.header);
            assert!(left == old || left == new, "{left:?}");
            *counts.entry(left).or_default() += 1;
        }
        durable.apply(offset, &bytes);
    }
    println!("cut at every seventh byte: {counts:?}");
    assert_eq!(counts.len(), 2);
}
