//! The wipe itself, over anything that has blocks.

use std::ops::Range;

use crate::error::MapError;
use crate::geometry::BLOCK_BYTES;
use crate::steps::{Blocks, Steps, Wiped};

/// Bytes of one write.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;

/// The device that is wiped.
pub(crate) trait Medium: Blocks {
    /// Writes zeros.
    fn zero(&mut self, bytes: Range<u64>) -> Result<(), MapError>;
    /// Makes everything written durable.
    fn flush(&mut self) -> Result<(), MapError>;
}

/// One run of a wipe, until its end or until it is told to stop.
pub(crate) struct Run<'a> {
    pub(crate) steps: Steps,
    /// Bytes that are visible already.
    pub(crate) visible: u64,
    /// Bytes that must have been added before more becomes visible.
    pub(crate) stride: u64,
    /// Called before so many bytes are written; `false` stops.
    pub(crate) wait: &'a mut dyn FnMut(u64) -> bool,
    /// Makes the volume visible up to a byte.
    pub(crate) show: &'a mut dyn FnMut(u64) -> Result<(), MapError>,
}

impl Run<'_> {
    /// Goes on from what was found.
    pub(crate) fn go(mut self, found: Wiped, medium: &mut dyn Medium) -> Result<(), MapError> {
        let count = self.steps.count();
        let before = found.next.checked_sub(1);
        if let Some(before) = before.filter(|_| !found.begun) {
            // Found whole, but perhaps never flushed: a read may come from a cache that a power cut empties.
            medium.flush()?;
            self.shown(self.steps.visible_after(before), before + 1 == count)?;
        }
        let mut whole = before;
        for step in found.next..count {
            let bytes = self.steps.step(step);
            let kept = found.begun && step == found.next;
            if !self.wipe(bytes, kept, medium)? {
                break;
            }
            medium.flush()?;
            whole = Some(step);
            self.shown(self.steps.visible_after(step), step + 1 == count)?;
        }
        match whole {
            Some(step) => self.shown(self.steps.visible_after(step), true),
            None => Ok(()),
        }
    }

    /// Shows more if enough has come together, or at once.
    fn shown(&mut self, bytes: u64, at_once: bool) -> Result<(), MapError> {
        if bytes >= self.visible + self.stride || (at_once && bytes > self.visible) {
            (self.show)(bytes)?;
            self.visible = bytes;
        }
        Ok(())
    }

    /// Writes a step. Of one that was begun before, blocks that authenticate are left as they are. `false`: stopped.
    fn wipe(
        &mut self,
        bytes: Range<u64>,
        kept: bool,
        medium: &mut dyn Medium,
    ) -> Result<bool, MapError> {
        let mut begin = bytes.start;
        while begin < bytes.end {
            let chunk = begin..(begin + CHUNK_BYTES).min(bytes.end);
            if !(self.wait)(chunk.end - chunk.start) {
                return Ok(false);
            }
            begin = chunk.end;
            if kept {
                fill(chunk, medium)?;
            } else {
                medium.zero(chunk)?;
            }
        }
        Ok(true)
    }
}

/// Writes those blocks that do not authenticate.
fn fill(chunk: Range<u64>, medium: &mut dyn Medium) -> Result<(), MapError> {
    if medium.authentic(chunk.clone())? {
        return Ok(());
    }
    let mut begin = chunk.start;
    while begin < chunk.end {
        let block = begin..begin + BLOCK_BYTES;
        begin = block.end;
        if !medium.authentic(block.clone())? {
            medium.zero(block)?;
        }
    }
    Ok(())
}
