//! A keyring in memory, and tokio's clock, which tests hold still.

use dawnkey_agent::lease::{Held, LeaseError, Leases};
use dawnkey_secret::LeaseToken;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

pub struct FakeLeases {
    booted: Instant,
    pub left: Vec<Held>,
    /// Lets nothing be left.
    pub full: bool,
}

pub fn copy(held: &Held) -> Held {
    Held {
        token: LeaseToken::take(&mut held.token.expose().clone()).unwrap(),
        ..*held
    }
}

impl FakeLeases {
    pub fn new() -> Self {
        Self {
            booted: Instant::now(),
            left: Vec::new(),
            full: false,
        }
    }
}

impl Leases for FakeLeases {
    fn now(&self) -> Duration {
        self.booted.elapsed()
    }

    fn leave(&mut self, held: &Held) -> Result<(), LeaseError> {
        if self.full {
            return Err(LeaseError::Malformed {
                volume: held.volume,
            });
        }
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
