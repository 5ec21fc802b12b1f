//! When to try again: one place for the budget, the attempt's share of it, and the back-off.

use crate::config::Pace;
use std::time::Duration;
use tokio::time::Instant;

/// First wait between attempts; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// First wait after a denial that may be an outage; each further one is twice as long.
const FIRST_DENIED_WAIT: Duration = Duration::from_secs(1);
/// Most attempts that end in such a denial.
const MOST_DENIED: u32 = 6;

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No.
    Never,
    /// After a back-off.
    Soon,
    /// After the time that the service named.
    After(Duration),
    /// After a longer back-off, a few times: each attempt costs the other end the judging of evidence.
    Few,
}

/// A number from 0 to 65535 that differs from node to node, so that a fleet does not come back in step.
pub type Jitter<'a> = &'a mut dyn FnMut() -> u16;

/// What is left of the time for one purpose.
#[derive(Debug)]
pub struct Budget {
    began: Instant,
    pace: Pace,
    /// Attempts begun so far.
    attempts: u32,
    /// Attempts that were denied so far.
    denied: u32,
    next_wait: Duration,
}

impl Budget {
    /// A whole budget, from now on.
    #[must_use]
    pub fn start(pace: Pace) -> Self {
        Self {
            began: Instant::now(),
            pace,
            attempts: 0,
            denied: 0,
            next_wait: FIRST_WAIT,
        }
    }

    /// Counts a new attempt and gives its number, from 1.
    pub const fn attempt(&mut self) -> u32 {
        self.attempts = self.attempts.saturating_add(1);
        self.attempts
    }

    /// Attempts begun so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When the next step over the network must have ended: its own time, but never beyond the budget.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        (Instant::now() + self.pace.attempt).min(self.end())
    }

    /// Time since the budget began.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.began.elapsed()
    }

    fn end(&self) -> Instant {
        self.began + self.pace.budget
    }

    /// How long to wait before the next attempt; `None` when there must be none.
    ///
    /// A back-off lies between half and all of 250 ms, 500 ms, … 5 s; a time that the service named is waited for, and
    /// up to half of it more, so that those who were sent away together do not come back together. After a denial that is
    /// between half and all of 1 s, 2 s, … 16 s, and the sixth is the last. A wait that would not end before the budget
    /// is not begun: the verdict is known now.
    pub fn wait(&mut self, again: Again, jitter: Jitter<'_>) -> Option<Duration> {
        let wait = match again {
            Again::Never => return None,
            Again::After(named) => named + named / 2 * u32::from(jitter()) / u32::from(u16::MAX),
            Again::Few => {
                let whole = FIRST_DENIED_WAIT * 2_u32.pow(self.denied.min(MOST_DENIED));
                self.denied = self.denied.saturating_add(1);
                if self.denied >= MOST_DENIED {
                    return None;
                }
                whole / 2 + whole / 2 * u32::from(jitter()) / u32::from(u16::MAX)
            }
            Again::Soon => {
                let half = self.next_wait / 2;
                self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
                half + half * u32::from(jitter()) / u32::from(u16::MAX)
            }
        };
        (Instant::now() + wait < self.end()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PACE: Pace = Pace {
        budget: Duration::from_secs(60),
        attempt: Duration::from_secs(10),
    };

    #[tokio::test(start_paused = true)]
    async fn back_off_doubles_up_to_five_seconds_and_keeps_within_its_half() {
        let mut budget = Budget::start(PACE);
        let longest: Vec<_> = (0..7)
            .map(|_| {
                budget
                    .wait(Again::Soon, &mut || u16::MAX)
                    .unwrap()
                    .as_millis()
            })
            .collect();
        assert_eq!(longest, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        let mut budget = Budget::start(PACE);
        let shortest: Vec<_> = (0..3)
            .map(|_| budget.wait(Again::Soon, &mut || 0).unwrap().as_millis())
            .collect();
        assert_eq!(shortest, [125, 250, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_is_tried_again_five_times_ever_later() {
        let mut budget = Budget::start(PACE);
        let mut waits = Vec::new();
        while let Some(wait) = budget.wait(Again::Few, &mut || u16::MAX) {
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_reaches_beyond_the_budget() {
        let mut budget = Budget::start(PACE);
        let minute = Again::After(Duration::from_secs(60));
        assert_eq!(budget.wait(minute, &mut || 0), None);
        let spread = Again::After(Duration::from_secs(20));
        let latest = budget.wait(spread, &mut || u16::MAX);
        assert_eq!(latest, Some(Duration::from_secs(30)));
        let short = Again::After(Duration::from_secs(59));
        assert_eq!(budget.wait(short, &mut || 0), Some(Duration::from_secs(59)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(budget.wait(Again::Soon, &mut || 0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_is_the_attempts_own_until_the_budget_ends_first() {
        let budget = Budget::start(PACE);
        assert_eq!(budget.deadline(), Instant::now() + PACE.attempt);
        tokio::time::advance(Duration::from_secs(55)).await;
        assert_eq!(budget.deadline(), Instant::now() + Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn final_verdict_is_not_waited_for() {
        assert_eq!(Budget::start(PACE).wait(Again::Never, &mut || 0), None);
    }
}
