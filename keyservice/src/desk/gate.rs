//! The gate before the expensive part: so many at once, so many waiting, so long.

use crate::metrics::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds how much evidence is verified at the same time.
pub struct Gate {
    places: Arc<Semaphore>,
    queue: usize,
    patience: Duration,
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
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
            queue,
            patience,
            waiting: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Waits for a place. It is free again when the permit is dropped.
    pub async fn enter(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        let places = Arc::clone(&self.places);
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            return Ok(permit);
        }
        let seconds = u32::try_from(self.patience.as_secs()).unwrap_or(u32::MAX);
        let overloaded = Overloaded {
            retry_after: seconds.max(1),
        };
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        self.metrics.waiting(1);
        let _leave = Waiting(self);
        if before >= self.queue {
            return Err(overloaded);
        }
        match tokio::time::timeout(self.patience, places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(overloaded),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gate(queue: usize, patience: Duration) -> Arc<Gate> {
        Arc::new(Gate::new(1, queue, patience, Arc::default()))
    }

    #[tokio::test]
    async fn refuses_at_once_when_the_queue_is_full() {
        let gate = gate(0, Duration::from_secs(3600));
        let _inside = gate.enter().await.unwrap();
        let refused = gate.enter().await.unwrap_err();
        assert_eq!(refused.retry_after, 3600);
    }

    #[tokio::test]
    async fn refuses_after_the_longest_wait() {
        let gate = gate(1, Duration::from_millis(1));
        let _inside = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_err());
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
