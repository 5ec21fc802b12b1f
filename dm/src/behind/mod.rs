//! The wipe behind a volume that is in use: goes on where formatting or an earlier boot stopped, lengthens the mapping,
//! and lets the filesystem grow.
//!
//! It needs no key: it writes zeros to `NAME_whole`, the encrypting layer that is there as long as a volume is not
//! ready. Nothing on the disk says how far it came; the blocks themselves do (`steps`), and the next opening
//! seals that into the header. It may be stopped or killed at any instant.

mod filesystem;
#[cfg(test)]
mod model;
mod run;
pub(crate) mod whole;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::devices::Devices;
use crate::error::MapError;
use crate::geometry::SECTOR_BYTES;
use crate::mapper::Ready;
use crate::steps::{self, Steps};
use crate::tables::{self, MappedName};
use run::Run;
use whole::Whole;

pub use filesystem::{Growth, grow as grow_filesystem};

/// How fast a wipe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// Most bytes in a second; `None`: as fast as the disk takes them.
    pub bytes_per_second: Option<u64>,
}

/// Parts in which a volume becomes visible, at most: each costs a table and a call of the filesystem.
const STRIDES: u64 = 256;
/// Longest time between two looks at the stop mark.
const LOOK: Duration = Duration::from_millis(100);

/// How much of a mapped volume can be used, from the kernel's tables. `None` if nothing of this name is mapped.
pub fn status(name: &MappedName) -> Result<Option<Ready>, MapError> {
    let devices = Devices::open()?;
    stack(&devices, name).map(|stack| stack.map(|stack| stack.ready()))
}

/// Wipes what is left of a mapped volume, lengthens its device and lets a mounted ext4 grow. Returns when all is ready
/// or `stop` is set, with what is ready then; `report` is told whenever the device has become longer.
///
/// A filesystem that could not grow does not stop the wipe: the error comes at the end. One that is not mounted, or is
/// not ext4, is left as it is; [`grow_filesystem`] says which.
///
/// Errors: nothing of this name is mapped, another wipe is running, the disk failed, the filesystem refused.
pub fn finish(
    name: &MappedName,
    pace: &Pace,
    report: &mut dyn FnMut(Ready),
    stop: &AtomicBool,
) -> Result<Ready, MapError> {
    let devices = Devices::open()?;
    let stack = stack(&devices, name)?.ok_or_else(|| MapError::NotMapped { name: name.clone() })?;
    let mut ready = stack.ready();
    let mut grown = grow_filesystem(name).map(drop);
    if let Some(lower) = stack.whole {
        let steps = Steps::new(ready.ready_bytes, ready.total_bytes);
        let mut whole = Whole::write(lower)?;
        let found = steps::find(&steps, &mut whole)?;
        let stride = (ready.total_bytes / STRIDES).max(steps::STEP_BYTES);
        let mut clock = Clock::start(pace, stop);
        let mut show = |bytes| {
            let table = tables::linear(lower, bytes / SECTOR_BYTES);
            devices.lengthen(name.as_str(), &table)?;
            ready.ready_bytes = bytes;
            report(ready);
            let now = grow_filesystem(name).map(drop);
            grown = std::mem::replace(&mut grown, Ok(())).and(now);
            Ok(())
        };
        Run {
            steps,
            visible: stack.sectors * SECTOR_BYTES,
            stride,
            wait: &mut |bytes| clock.wait(bytes),
            show: &mut show,
        }
        .go(found, &mut whole)?;
    }
    grown.map(|()| ready)
}

/// The devices of a mapped volume.
struct Stack {
    /// Sectors of the volume's device.
    sectors: u64,
    /// The whole volume below it, and its sectors, if not all of it is visible.
    whole: Option<crate::tables::DeviceNumber>,
    total: u64,
}

impl Stack {
    const fn ready(&self) -> Ready {
        Ready {
            ready_bytes: self.sectors * SECTOR_BYTES,
            total_bytes: self.total * SECTOR_BYTES,
        }
    }
}

fn stack(devices: &Devices, name: &MappedName) -> Result<Option<Stack>, MapError> {
    let Some(device) = devices.active(name.as_str())? else {
        return Ok(None);
    };
    let whole = match device.target.as_str() {
        tables::LINEAR => devices.active(&name.whole_layer())?,
        _ => None,
    };
    let total = whole.as_ref().map_or(device.sectors, |whole| whole.sectors);
    Ok(Some(Stack {
        sectors: device.sectors,
        whole: whole
            .filter(|_| device.sectors < total)
            .map(|whole| whole.number),
        total,
    }))
}

/// Keeps to a pace.
struct Clock<'a> {
    pace: Pace,
    stop: &'a AtomicBool,
    begun: Instant,
    bytes: u64,
}

impl<'a> Clock<'a> {
    fn start(pace: &Pace, stop: &'a AtomicBool) -> Self {
        Self {
            pace: *pace,
            stop,
            begun: Instant::now(),
            bytes: 0,
        }
    }

    /// Waits until so many more bytes may be written. `false`: stop instead.
    fn wait(&mut self, bytes: u64) -> bool {
        let stopped = || self.stop.load(Ordering::Relaxed);
        if let Some(rate) = self.pace.bytes_per_second {
            let due = Duration::from_secs_f64(self.bytes as f64 / rate.max(1) as f64);
            while !stopped() {
                let left = due.saturating_sub(self.begun.elapsed());
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(LOOK));
            }
        }
        self.bytes += bytes;
        !stopped()
    }
}
