//! The gate before the expensive part: so many at once, so many waiting, so long.
//!
//! Whoever finds the queue full is told when to come again, and each is told another time: as fast as places have become
//! free of late, one after the other. A fleet that starts together so comes back as a line, not as a crowd.

use crate::metrics::Metrics;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest time after which somebody is told to come again, unless the queue's own patience is longer.
const LATEST: Duration = Duration::from_secs(300);
/// How long a place is taken, before any was.
const FIRST_GUESS: f64 = 0.02;
/// What one observation weighs in the mean.
const WEIGHT: f64 = 1.0 / 16.0;

/// Bounds how much evidence is verified at the same time.
pub struct Gate {
    places: Arc<Semaphore>,
    count: usize,
    book: Arc<Mutex<Book>>,
    queue: usize,
    patience: Duration,
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// Who comes when.
struct Book {
    /// Seconds that a place is taken, on average.
    mean: f64,
    /// The latest time that somebody was told.
    last: Option<Instant>,
}

/// A place inside. It is free again when this is dropped.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    book: Arc<Mutex<Book>>,
    since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.mean += (self.since.elapsed().as_secs_f64() - book.mean) * WEIGHT;
    }
}

/// There is no place, and the queue is full or took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded {
    /// Seconds after which trying again makes sense.
    pub retry_after: u32,
}

struct Waiting<'a>(&'a Gate);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.waiting(-1);
    }
}

impl Gate {
    /// A gate for `places` at once and `queue` more that wait no longer than `patience`.
    #[must_use]
    pub fn new(places: usize, queue: usize, patience: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            count: places.max(1),
            book: Arc::new(Mutex::new(Book {
                mean: FIRST_GUESS,
                last: None,
            })),
            queue,
            patience,
            waiting: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Waits for a place.
    pub async fn enter(&self) -> Result<Place, Overloaded> {
        let places = Arc::clone(&self.places);
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            return Ok(self.place(permit));
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        self.metrics.waiting(1);
        let _leave = Waiting(self);
        if before >= self.queue {
            return Err(self.later());
        }
        match tokio::time::timeout(self.patience, places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.place(permit)),
            Ok(Err(_)) | Err(_) => Err(self.later()),
        }
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place {
            _permit: permit,
            book: Arc::clone(&self.book),
            since: Instant::now(),
        }
    }

    /// The next free time in the book.
    fn later(&self) -> Overloaded {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        #[allow(clippy::cast_precision_loss)] // at most 1024
        let each = Duration::from_secs_f64(book.mean / self.count as f64);
        let earliest = now + self.patience;
        let next = book.last.map_or(earliest, |last| last.max(earliest)) + each;
        let next = next.min(now + self.patience.max(LATEST));
        book.last = Some(next);
        let to_the_second = next - now + Duration::from_millis(500);
        let seconds = u32::try_from(to_the_second.as_secs()).unwrap_or(u32::MAX);
        Overloaded {
            retry_after: seconds.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn gate(queue: usize, patience: Duration) -> Arc<Gate> {
        Arc::new(Gate::new(1, queue, patience, Arc::default()))
    }

    #[tokio::test]
    async fn refuses_at_once_when_the_queue_is_full() {
        let gate = gate(0, Duration::from_secs(3600));
        let _inside = gate.enter().await.unwrap();
        let refused = gate.enter().await.err().unwrap();
        assert_eq!(refused.retry_after, 3600);
    }

    #[tokio::test]
    async fn refuses_after_the_longest_wait() {
        let gate = gate(1, Duration::from_millis(1));
        let _inside = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_err());
    }

    #[tokio::test]
    async fn those_who_are_sent_away_are_told_different_times() {
        let gate = gate(0, Duration::from_secs(5));
        gate.book.lock().unwrap().mean = 1.0;
        let _inside = gate.enter().await.unwrap();
        let mut told = Vec::new();
        for _ in 0..400 {
            told.push(gate.enter().await.err().unwrap().retry_after);
        }
        assert!(told.is_sorted());
        assert_eq!((told[0], told[10], told[399]), (6, 16, 300));
    }

    #[tokio::test]
    async fn lets_the_next_in_when_a_place_is_left() {
        let gate = gate(1, Duration::from_secs(3600));
        let inside = gate.enter().await.unwrap();
        let next = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_ok() }
        });
        drop(inside);
        assert!(next.await.unwrap());
    }
}
