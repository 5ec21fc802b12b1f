//! Recovery: a node that no service answers proves itself to an operator and takes one volume's DEK from a signed grant.
//!
//! [`Recovery`] is one boot that waits: its nonce, its HPKE key, the grants that it has taken, and the judgement over
//! them, without any socket. `listen` is the network, `wait` the race between the service and the operator.
//! `docs/protocol.md`, "Recovery", has the rules.

mod console;
mod judge;
mod listen;
mod shared;
mod wait;

pub use console::keyboard;
pub use judge::{Judged, Refused};
pub(crate) use wait::{Won, wait};

use crate::config::RecoveryConfig;
use console::Console;
use dawnkey_dm::SealedHeader;
use dawnkey_proto::message::SeenHeader;
use dawnkey_proto::recovery::{RecoveryRequest, WaitingVolume};
use dawnkey_proto::seal::{Recipient, SealError};
use listen::Listener;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// One boot that may have to wait for an operator.
pub struct Recovery {
    config: RecoveryConfig,
    nonce: [u8; 32],
    recipient: Recipient,
    drawn: Instant,
    taken: BTreeSet<Uuid>,
    listener: Option<Listener>,
    console: Option<Console>,
    waited: bool,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recovery({} grants taken)", self.taken.len())
    }
}

impl Recovery {
    /// Draws the boot's nonce and makes its key; the boot's clock begins now.
    ///
    /// # Errors
    /// The random source failed.
    pub fn new(config: RecoveryConfig) -> Result<Self, SealError> {
        let mut nonce = [0; 32];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut nonce).map_err(|_| SealError::KeyPair)?;
        Ok(Self {
            config,
            nonce,
            recipient: Recipient::generate()?,
            drawn: Instant::now(),
            taken: BTreeSet::new(),
            listener: None,
            console: None,
            waited: false,
        })
    }

    /// Takes grants from the lines that are typed at the console, if the configuration lets it.
    #[must_use]
    pub fn with_console(mut self, lines: impl FnOnce() -> mpsc::Receiver<String>) -> Self {
        if self.config.console {
            self.console = Some(Console::new(lines()));
        }
        self
    }

    /// How long the service is tried before the node listens; `None`: its whole budget.
    #[must_use]
    pub const fn after(&self) -> Option<Duration> {
        self.config.after
    }

    /// Whether an earlier volume of this boot had to wait: then the next waits at once.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.waited
    }

    /// Seconds on the boot's clock.
    fn clock(&self) -> u32 {
        u32::try_from(self.drawn.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// What the node says of itself and of the volume that it waits for.
    #[must_use]
    pub fn request(&self, node_name: &str, header: &SealedHeader) -> RecoveryRequest {
        let seen = header.seen();
        let mut hpke_public_key = [0; 32];
        for (to, from) in hpke_public_key.iter_mut().zip(self.recipient.public_key()) {
            *to = *from;
        }
        RecoveryRequest {
            boot_nonce: self.nonce,
            hpke_public_key,
            clock_seconds: self.clock(),
            node_name: node_name.to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            volumes: vec![WaitingVolume {
                volume: header.volume(),
                seen: SeenHeader {
                    generation: seen.generation,
                    epoch: seen.epoch,
                    digest: seen.digest,
                },
            }],
        }
    }
}
