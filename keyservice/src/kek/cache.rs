//! Unwrapped DEKs, kept for a short while so that nodes that start again do not wait for the KMS: bounded in number and
//! time, and wiped when their time is over.
//!
//! An entry is found by what was unwrapped: volume, epoch and every wrap of the record. A record that was wrapped again
//! does not find the entries of its past.

use super::WrappedDek;
use aws_lc_rs::digest;
use dawnkey_secret::Dek;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Bounds of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// How long an entry lives; zero switches the cache off.
    pub life: Duration,
    /// How many entries there are at most.
    pub entries: usize,
}

impl CacheLimits {
    /// No cache.
    pub const OFF: Self = Self {
        life: Duration::ZERO,
        entries: 0,
    };
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(300),
            entries: 16_384,
        }
    }
}

/// What an entry is found by: a SHA-256 digest.
pub(super) type Key = [u8; 32];

/// The key of a wrapped DEK.
pub(super) fn key(volume: Uuid, wrapped: &WrappedDek) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    part(volume.as_bytes());
    part(&wrapped.epoch.to_be_bytes());
    for wrap in &wrapped.wraps {
        part(wrap.provider.as_bytes());
        part(&wrap.blob);
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[derive(Default)]
struct Entries {
    found: HashMap<Key, (Dek, Instant)>,
    /// In the order in which they came, which is that of their ends.
    order: VecDeque<(Instant, Key)>,
}

/// The cache.
pub(super) struct DekCache {
    limits: CacheLimits,
    entries: Mutex<Entries>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl DekCache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            entries: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The DEK, if it is there; counts.
    pub(super) fn get(&self, key: &Key) -> Option<Dek> {
        if self.limits.life.is_zero() {
            return None;
        }
        self.sweep();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.found.get(key).map(|(dek, _)| copy(dek));
        let count = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps a copy.
    pub(super) fn put(&self, key: Key, dek: &Dek) {
        if self.limits.life.is_zero() || self.limits.entries == 0 {
            return;
        }
        self.sweep();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        while entries.found.len() >= self.limits.entries {
            let Some((_, oldest)) = entries.order.pop_front() else {
                break;
            };
            entries.found.remove(&oldest);
        }
        let now = Instant::now();
        if entries.found.insert(key, (copy(dek), now)).is_none() {
            entries.order.push_back((now, key));
        }
    }

    /// Wipes what is over its time.
    pub(super) fn sweep(&self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((came, key)) = entries.order.front().copied() {
            if came.elapsed() < self.limits.life {
                break;
            }
            entries.order.pop_front();
            entries.found.remove(&key);
        }
    }

    /// Wipes everything.
    pub(super) fn clear(&self) {
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = Entries::default();
    }

    /// Hits and misses so far, and entries now.
    pub(super) fn counts(&self) -> (u64, u64, usize) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (hits, misses) = (&self.hits, &self.misses);
        let now = entries.found.len();
        (
            hits.load(Ordering::Relaxed),
            misses.load(Ordering::Relaxed),
            now,
        )
    }
}

fn copy(dek: &Dek) -> Dek {
    let copied = Dek::fill(|bytes| {
        bytes.copy_from_slice(dek.expose());
        Ok::<(), Infallible>(())
    });
    match copied {
        Ok(dek) => dek,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dek(byte: u8) -> Dek {
        Dek::take(&mut [byte; 32]).unwrap()
    }

    fn cache(life: Duration, entries: usize) -> DekCache {
        DekCache::new(CacheLimits { life, entries })
    }

    #[test]
    fn holds_no_more_than_its_bound_and_forgets_the_oldest() {
        let cache = cache(Duration::from_secs(60), 2);
        for byte in [1, 2, 3] {
            cache.put([byte; 32], &dek(byte));
        }
        assert_eq!(cache.get(&[1; 32]), None);
        assert_eq!(cache.get(&[3; 32]), Some(dek(3)));
        assert_eq!(cache.counts(), (1, 1, 2));
    }

    #[test]
    fn an_entry_is_gone_after_its_time_without_being_asked_for() {
        let cache = cache(Duration::from_nanos(1), 2);
        cache.put([1; 32], &dek(1));
        while Instant::now().elapsed().is_zero() {}
        cache.sweep();
        assert_eq!(cache.counts().2, 0);
    }

    #[test]
    fn keeps_nothing_when_it_is_off() {
        let cache = DekCache::new(CacheLimits::OFF);
        cache.put([1; 32], &dek(1));
        assert_eq!(cache.get(&[1; 32]), None);
        assert_eq!(cache.counts(), (0, 0, 0));
    }

    #[test]
    fn a_record_that_was_wrapped_again_does_not_find_its_past() {
        let volume = Uuid::from_u128(1);
        let old = WrappedDek::derived("a", 1);
        let mut new = old.clone();
        new.wraps.push(super::super::Wrap {
            provider: "b".into(),
            blob: vec![1],
            version: None,
        });
        assert_ne!(key(volume, &old), key(volume, &new));
        assert_ne!(key(volume, &old), key(Uuid::from_u128(2), &old));
        assert_ne!(key(volume, &old), key(volume, &WrappedDek::derived("a", 2)));
    }
}
