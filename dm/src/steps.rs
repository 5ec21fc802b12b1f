//! The plan of a wipe behind a volume in use, and the search for how far one came. No kernel, no clock.
//!
//! The part of a volume that is not ready is cut into steps, on a grid from the volume's begin, so that they are the
//! same in every boot. A step is begun only when the one before it is whole and flushed. The very last block is a step
//! of its own: it is the mark that nothing is left.
//!
//! A step becomes visible only when the one behind it has been begun (the last block: when it is written). So the last
//! step that was begun, the only one of which parts may be missing, was never visible: what it lacks is not data.

use std::ops::Range;

use crate::error::MapError;
use crate::geometry::BLOCK_BYTES;

/// Bytes between two flushes.
pub(crate) const STEP_BYTES: u64 = 16 << 20;
/// Blocks that are looked at to tell whether a step was begun.
const SAMPLES: u64 = 4;

/// The steps between what is ready and a volume's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    begin: u64,
    end: u64,
}

impl Steps {
    /// Steps from one byte to another, both on block boundaries.
    pub(crate) const fn new(begin: u64, end: u64) -> Self {
        Self { begin, end }
    }

    /// Where the last block begins.
    const fn mark(&self) -> u64 {
        self.end.saturating_sub(BLOCK_BYTES)
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> u64 {
        if self.begin >= self.end {
            0
        } else if self.begin >= self.mark() {
            1
        } else {
            self.mark().div_ceil(STEP_BYTES) - self.begin / STEP_BYTES + 1
        }
    }

    /// The bytes of a step.
    pub(crate) fn step(&self, step: u64) -> Range<u64> {
        if step + 1 >= self.count() {
            return self.mark().max(self.begin)..self.end;
        }
        let grid = self.begin / STEP_BYTES + step;
        (grid * STEP_BYTES).max(self.begin)..((grid + 1) * STEP_BYTES).min(self.mark())
    }

    /// What may be visible when this step is whole and flushed.
    pub(crate) fn visible_after(&self, step: u64) -> u64 {
        if step + 1 >= self.count() {
            self.end
        } else {
            self.step(step).start
        }
    }
}

/// The device whose blocks authenticate or do not.
pub(crate) trait Blocks {
    /// Whether every block of these bytes is read without an integrity error.
    fn authentic(&mut self, bytes: Range<u64>) -> Result<bool, MapError>;
}

/// How far a wipe came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wiped {
    /// Bytes from the volume's begin that are wiped without a gap.
    pub(crate) wiped_bytes: u64,
    /// The step to go on with.
    pub(crate) next: u64,
    /// Whether that step was begun.
    pub(crate) begun: bool,
}

/// Finds out how far a wipe came, by reading.
///
/// Which steps were begun is monotone, so it is searched for by halves; the last one that was begun is then read whole.
/// A damaged block must not look like the end of the wipe: a step counts as begun when any of a few of its blocks
/// authenticates, and steps behind the end that was found are tried too.
pub(crate) fn find(steps: &Steps, blocks: &mut dyn Blocks) -> Result<Wiped, MapError> {
    let count = steps.count();
    let mut begun = 0;
    if count > 0 && is_begun(steps.step(count - 1), blocks)? {
        begun = count;
    }
    let mut high = count;
    while begun < high {
        while begun < high {
            let middle = begun.midpoint(high);
            if is_begun(steps.step(middle), blocks)? {
                begun = middle + 1;
            } else {
                high = middle;
            }
        }
        for distance in (0..64).map(|log2| 1_u64 << log2) {
            let Some(step) = begun.checked_add(distance).filter(|step| *step < count) else {
                break;
            };
            if is_begun(steps.step(step), blocks)? {
                (begun, high) = (step + 1, count);
                break;
            }
        }
    }
    let Some(last) = begun.checked_sub(1) else {
        return Ok(Wiped {
            wiped_bytes: steps.begin,
            next: 0,
            begun: false,
        });
    };
    let bytes = steps.step(last);
    let whole = blocks.authentic(bytes.clone())?;
    Ok(Wiped {
        wiped_bytes: if whole { bytes.end } else { bytes.start },
        next: if whole { begun } else { last },
        begun: !whole,
    })
}

/// Whether any of a few blocks of a step authenticates: the first, the last, some between.
fn is_begun(step: Range<u64>, blocks: &mut dyn Blocks) -> Result<bool, MapError> {
    let last = (step.end - step.start) / BLOCK_BYTES - 1;
    let mut before = None;
    for sample in 0..SAMPLES {
        let block = last * sample / (SAMPLES - 1);
        if before.replace(block) == Some(block) {
            continue;
        }
        let at = step.start + block * BLOCK_BYTES;
        if blocks.authentic(at..at + BLOCK_BYTES)? {
            return Ok(true);
        }
    }
    Ok(false)
}
