//! The leases that one machine's unlocks have left: a keyring of its own, and the real clock.

use dawnkey_agent::lease::{Held, LeaseError, Leases};
use dawnkey_secret::LeaseToken;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A machine's keyring since its boot.
pub struct Keyring {
    booted: Instant,
    /// What it holds.
    pub left: Vec<Held>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new()
    }
}

impl Keyring {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            booted: Instant::now(),
            left: Vec::new(),
        }
    }
}

fn copy(held: &Held) -> Held {
    Held {
        token: LeaseToken::take(&mut held.token.expose().clone()).unwrap(),
        ..*held
    }
}

impl Leases for Keyring {
    fn now(&self) -> Duration {
        self.booted.elapsed()
    }

    fn leave(&mut self, held: &Held) -> Result<(), LeaseError> {
        self.forget(held.volume)?;
        self.left.push(copy(held));
        Ok(())
    }

    fn find(&mut self, volume: Uuid) -> Result<Option<Held>, LeaseError> {
        Ok(self
            .left
            .iter()
            .find(|held| held.volume == volume)
            .map(copy))
    }

    fn forget(&mut self, volume: Uuid) -> Result<(), LeaseError> {
        self.left.retain(|held| held.volume != volume);
        Ok(())
    }
}
