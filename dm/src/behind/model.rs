//! The wipe behind a volume against a disk that loses power, blocks and patience: whatever the order of boots, stops,
//! cuts, growth and damage, a boot finds at least what was ever visible, and nothing that was never written.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout
)]

use std::cell::Cell;
use std::ops::Range;

use proptest::prelude::*;

use super::run::{Medium, Run};
use crate::error::MapError;
use crate::geometry::BLOCK_BYTES;
use crate::steps::{Blocks, STEP_BYTES, Steps, Wiped, find};

const BLOCK: usize = BLOCK_BYTES as usize;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Nothing that authenticates: never written.
    Never,
    Zeros,
    /// Written by the volume's user.
    Data,
    /// Written once, and damaged.
    Damaged,
}

/// A disk whose writes since the last flush may be lost, any of them.
struct Drive {
    now: Vec<Block>,
    /// Blocks changed since the last flush, and what they were.
    unflushed: Vec<(usize, Block)>,
    /// Writes and flushes until the power goes.
    power: Option<usize>,
    overwritten: bool,
}

fn blocks(bytes: &Range<u64>) -> Range<usize> {
    bytes.start as usize / BLOCK..bytes.end as usize / BLOCK
}

impl Drive {
    fn new(count: usize, ready: usize) -> Self {
        let mut now = vec![Block::Never; count];
        now[..ready].fill(Block::Zeros);
        Self {
            now,
            unflushed: Vec::new(),
            power: None,
            overwritten: false,
        }
    }

    fn power(&mut self) -> Result<(), MapError> {
        match &mut self.power {
            Some(0) => Err(MapError::List(std::io::Error::other("power cut"))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The power goes: of what was not flushed, `kept` says which part stays.
    fn cut(&mut self, mut kept: impl FnMut() -> bool) {
        let unflushed = std::mem::take(&mut self.unflushed);
        for (block, before) in unflushed.into_iter().rev() {
            if !kept() {
                self.now[block] = before;
            }
        }
        self.power = None;
    }

    fn sync(&mut self) {
        self.unflushed.clear();
    }
}

impl Blocks for Drive {
    fn authentic(&mut self, bytes: Range<u64>) -> Result<bool, MapError> {
        let bad = [Block::Never, Block::Damaged];
        Ok(!self.now[blocks(&bytes)]
            .iter()
            .any(|block| bad.contains(block)))
    }
}

impl Medium for Drive {
    fn zero(&mut self, bytes: Range<u64>) -> Result<(), MapError> {
        self.power()?;
        for block in blocks(&bytes) {
            self.overwritten |= matches!(self.now[block], Block::Data | Block::Damaged);
            self.unflushed.push((block, self.now[block]));
            self.now[block] = Block::Zeros;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MapError> {
        self.power()?;
        self.sync();
        Ok(())
    }
}

/// What happens in one boot after the volume was opened.
#[derive(Debug, Clone)]
enum Event {
    /// The wipe goes on until it has written so many chunks, then stops in order.
    Stop(usize),
    /// The power goes after so many writes and flushes.
    Cut(usize, u64),
    /// The power goes while nothing is being wiped.
    Idle(u64),
    /// The disk grows by so many blocks; seen at the next boot.
    Grow(usize),
    /// The wipe goes on for so many chunks; then a block of what is visible is damaged, the last ones rather.
    Damage(usize, usize),
    /// The header's write is lost: the boot counts for nothing.
    Unsealed,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..40_usize).prop_map(Event::Stop),
        4 => (0..60_usize, any::<u64>()).prop_map(|(at, seed)| Event::Cut(at, seed)),
        1 => any::<u64>().prop_map(Event::Idle),
        1 => (0..6000_usize).prop_map(Event::Grow),
        2 => (0..60_usize, 1..5000_usize).prop_map(|(chunks, back)| Event::Damage(chunks, back)),
        1 => Just(Event::Unsealed),
    ]
}

fn random(seed: u64) -> impl FnMut() -> bool {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state & 1 == 1
    }
}

/// The volume over many boots.
struct World {
    drive: Drive,
    /// Sealed in the header, in bytes.
    sealed: u64,
    end: u64,
    /// What any boot ever showed.
    shown: u64,
    damaged: usize,
}

impl World {
    fn bytes(blocks: usize) -> u64 {
        blocks as u64 * BLOCK_BYTES
    }

    /// Opens the volume: finds, compares with what was ever shown, seals.
    fn boot(&mut self) -> Wiped {
        let steps = Steps::new(self.sealed, self.end);
        let found = find(&steps, &mut self.drive).unwrap();
        assert!(found.wiped_bytes >= self.shown, "{found:?} {}", self.shown);
        let visible = &self.drive.now[..found.wiped_bytes as usize / BLOCK];
        assert!(!visible.contains(&Block::Never), "{found:?}");
        found
    }

    /// Runs the wipe over what is visible, with the user writing to everything as soon as it can be seen.
    fn wipe(&mut self, visible: u64, chunks: usize) -> Result<(), MapError> {
        let steps = Steps::new(visible, self.end);
        let found = find(&steps, &mut self.drive)?;
        let (left, shown) = (Cell::new(chunks), Cell::new(visible));
        let run = Run {
            steps,
            visible,
            stride: 3 * STEP_BYTES / 2,
            wait: &mut |_| left.replace(left.get().saturating_sub(1)) > 0,
            show: &mut |bytes| {
                assert!(bytes > shown.get());
                shown.set(bytes);
                Ok(())
            },
        };
        let result = run.go(found, &mut self.drive);
        self.shown = self.shown.max(shown.get());
        self.write();
        result
    }

    /// The user writes all that was ever shown, through to the disk.
    fn write(&mut self) {
        for block in 0..self.shown as usize / BLOCK {
            if self.drive.now[block] != Block::Damaged {
                self.drive.now[block] = Block::Data;
            }
            assert!(
                !self.drive.unflushed.iter().any(|(at, _)| *at == block)
                    || self.drive.power.is_some()
            );
        }
        let shown = self.shown as usize / BLOCK;
        self.drive.unflushed.retain(|(at, _)| *at >= shown);
    }

    fn event(&mut self, event: &Event, grown: &mut u64) {
        let found = self.boot();
        if matches!(event, Event::Unsealed) {
            return;
        }
        self.sealed = found.wiped_bytes;
        self.shown = self.shown.max(self.sealed);
        self.end = *grown;
        self.drive
            .now
            .resize(self.end as usize / BLOCK, Block::Never);
        self.write();
        match event {
            Event::Stop(chunks) => {
                self.wipe(self.sealed, *chunks).unwrap();
                // Once more in the same boot, from what is visible now.
                self.wipe(self.shown, *chunks).unwrap();
                self.drive.sync();
            }
            Event::Cut(at, seed) => {
                self.drive.power = Some(*at);
                let _ = self.wipe(self.sealed, usize::MAX);
                self.drive.cut(random(*seed));
            }
            Event::Idle(seed) => self.drive.cut(random(*seed)),
            Event::Grow(blocks) => *grown += Self::bytes(*blocks),
            Event::Damage(chunks, back) => {
                self.wipe(self.sealed, *chunks).unwrap();
                self.drive.sync();
                // The volume's last block is the mark: damaged, it is written once more.
                let last = (self.shown.min(self.end - BLOCK_BYTES)) as usize / BLOCK;
                self.drive.now[last - back.min(&last)] = Block::Damaged;
                self.damaged += 1;
            }
            Event::Unsealed => {}
        }
        assert!(!self.drive.overwritten, "data was overwritten");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_a_boot_finds_all_that_was_visible_and_nothing_that_was_never_written(
        ready in 4096_usize..9000, behind in 1_usize..24_000,
        events in prop::collection::vec(event(), 1..14),
    ) {
        let end = World::bytes(ready + behind);
        let mut world = World {
            drive: Drive::new(ready + behind, ready),
            sealed: World::bytes(ready),
            end,
            shown: World::bytes(ready),
            damaged: 0,
        };
        let mut grown = end;
        for event in &events {
            world.event(event, &mut grown);
        }
        // Undisturbed, the wipe ends, and the next boot knows it.
        world.boot();
        world.end = grown;
        world.drive.now.resize(grown as usize / BLOCK, Block::Never);
        world.wipe(world.shown, usize::MAX).unwrap();
        prop_assert_eq!(world.shown, grown);
        prop_assert_eq!(world.boot().wiped_bytes, grown);
        prop_assert!(!world.drive.now.contains(&Block::Never));
        let damaged = world.drive.now.iter().filter(|block| **block == Block::Damaged).count();
        prop_assert!(damaged <= world.damaged);
    }

    #[test]
    fn steps_cover_what_is_left_without_gap_or_overlap_and_end_with_one_block(
        begin in 0_u64..100_000, more in 0_u64..100_000,
    ) {
        let (begin, end) = (begin * BLOCK_BYTES, (begin + more) * BLOCK_BYTES);
        let steps = Steps::new(begin, end);
        let mut at = begin;
        for step in 0..steps.count() {
            let bytes = steps.step(step);
            prop_assert!(bytes.start == at && bytes.start < bytes.end);
            prop_assert!(bytes.end - bytes.start <= STEP_BYTES);
            prop_assert!(steps.visible_after(step) <= bytes.end);
            at = bytes.end;
        }
        prop_assert_eq!(at, end);
        if let Some(last) = steps.count().checked_sub(1) {
            let last = steps.step(last);
            prop_assert_eq!(last.end - last.start, BLOCK_BYTES);
        }
    }
}

/// How many blocks a boot reads to find the end of a wipe of 1 TiB.
#[test]
fn search_reads_few_blocks_however_large_the_volume_is() {
    struct Counting {
        wiped: u64,
        reads: u64,
    }
    impl Blocks for Counting {
        fn authentic(&mut self, bytes: Range<u64>) -> Result<bool, MapError> {
            self.reads += (bytes.end - bytes.start) / BLOCK_BYTES;
            Ok(bytes.end <= self.wiped)
        }
    }
    let steps = Steps::new(128 << 20, 1 << 40);
    for wiped in [
        0,
        128 << 20,
        1 << 30,
        (500 << 30) + 4096,
        (1 << 40) - 4096,
        1 << 40,
    ] {
        let mut blocks = Counting { wiped, reads: 0 };
        let found = find(&steps, &mut blocks).unwrap();
        let whole = wiped.max(128 << 20);
        let step = whole / STEP_BYTES * STEP_BYTES;
        assert!(
            found.wiped_bytes == whole || found.wiped_bytes == step,
            "{found:?}"
        );
        println!("1 TiB, wiped to {wiped}: {} blocks read", blocks.reads);
        assert!(blocks.reads < 4096 + 300);
    }
}

/// A disk that fails while it is wiped: the wipe ends with its error, and whatever was shown before was whole.
#[test]
fn failed_write_or_flush_ends_the_wipe_and_shows_nothing_that_was_not_flushed() {
    let (ready, end) = (World::bytes(4096), World::bytes(24_000));
    for failing in 0..100 {
        let mut drive = Drive::new(24_000, 4096);
        drive.power = Some(failing);
        let steps = Steps::new(ready, end);
        let found = find(&steps, &mut drive).unwrap();
        let shown = Cell::new(ready);
        let ended = Run {
            steps,
            visible: ready,
            stride: STEP_BYTES,
            wait: &mut |_| true,
            show: &mut |bytes| {
                shown.set(bytes);
                Ok(())
            },
        }
        .go(found, &mut drive);
        assert_eq!(ended.is_err(), shown.get() < end, "{failing}");
        // Nothing of what was not flushed stays.
        drive.cut(|| false);
        let visible = &drive.now[..shown.get() as usize / BLOCK];
        assert!(!visible.contains(&Block::Never), "{failing}");
    }
}
