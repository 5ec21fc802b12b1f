//! As many machines at once as this one has processors: an emulated machine needs one to itself, and more of them
//! only make each other late.

use std::sync::{Condvar, Mutex, PoisonError};

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// The right to run one machine; passed on with this value's end.
#[derive(Debug)]
pub(crate) struct Turn(());

impl Turn {
    /// Waits for it.
    pub(crate) fn wait() -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= most {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Turn(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        *running = running.saturating_sub(1);
        drop(running);
        ENDED.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_runs_when_one_has_ended() {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let turns: Vec<Turn> = (0..most).map(|_| Turn::wait()).collect();
        std::thread::scope(|scope| {
            let next = scope.spawn(Turn::wait);
            drop(turns);
            assert!(next.join().is_ok());
        });
    }
}
