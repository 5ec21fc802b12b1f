//! The desk: takes a request through evidence, policy, release and store to its answer, and writes it down.
//!
//! What is decided is decided in [`crate::release`] and [`crate::policy`]; here stands in which order things happen:
//!
//! 1. decode, find the volume, wait for a free place, verify the evidence;
//! 2. who is the node, does policy approve it, would its request be granted;
//! 3. an unknown attestation key proves itself (`Challenge`) before anything is stored;
//! 4. unwrap and seal the DEK, swap the record, append the audit record, answer.
//!
//! A refusal leaves the store as it was. Every answer but those of overload gets one audit record, and when
//! that cannot be written, the change is taken back and no key leaves.

mod case;
mod collateral;
mod commit;
mod confirm;
mod enrol;
mod gate;
mod give;
#[cfg(test)]
mod grants;
mod kek;
#[cfg(test)]
mod life;
mod master;
mod nodes;
#[cfg(test)]
mod nodes_tests;
mod operator;
mod recover;
#[cfg(test)]
mod refusals;
mod renew;
#[cfg(test)]
mod replicas;
mod rotate;
#[cfg(test)]
mod tee;
#[cfg(test)]
pub(crate) mod testing;
mod transfer;
#[cfg(test)]
mod transfers;
mod unlock;

pub use case::Session;
pub use gate::Gate;
pub use kek::{KekStatus, SealedDek};
pub use operator::AdminError;
pub use recover::{Channel, Recover, Recovered, Signing};
pub use rotate::Adoption;
pub use transfer::{Import, Imported};

use crate::audit::AuditLog;
use crate::kek::KeyRing;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::records::Records;
use crate::release::Fresh;
use aws_lc_rs::rand;
use dawnkey_attest::verify::roots::Cache;
use dawnkey_endorse::{Endorsements, Trust};
use dawnkey_proto::message::{Reason, Refusal, Retry};
use dawnkey_secret::ConfirmToken;
use jiff::Timestamp;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use uuid::Uuid;

/// Tells the time; the system's clock, or a test's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything that answers need.
pub struct Desk {
    /// Names the service.
    pub service_id: Uuid,
    /// Volumes and instances.
    pub records: Records,
    /// The only way to a DEK.
    pub ring: Arc<KeyRing>,
    /// Where every verdict is written.
    pub audit: Arc<AuditLog>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// Length of a lease.
    pub lease_seconds: u32,
    /// Bounds verification.
    pub gate: Gate,
    /// When the service started.
    pub started: Instant,
    skew_seconds: u32,
    endorsements: Option<Arc<Endorsements>>,
    /// Signatures that held before, for all requests.
    verified: Arc<Cache>,
    policy: RwLock<Arc<Policy>>,
    /// Receives DEKs that the offline recovery key has opened.
    inbox: OnceLock<dawnkey_proto::seal::Recipient>,
}

/// The parts of a [`Desk`].
pub struct Parts {
    /// See [`Desk::service_id`].
    pub service_id: Uuid,
    /// See [`Desk::records`].
    pub records: Records,
    /// See [`Desk::ring`].
    pub ring: KeyRing,
    /// See [`Desk::audit`].
    pub audit: Arc<AuditLog>,
    /// See [`Desk::metrics`].
    pub metrics: Arc<Metrics>,
    /// See [`Desk::clock`].
    pub clock: Clock,
    /// See [`Desk::lease_seconds`].
    pub lease_seconds: u32,
    /// See [`Desk::gate`].
    pub gate: Gate,
    /// The policy in force at first.
    pub policy: Policy,
}

impl Desk {
    /// Sets the desk up.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            service_id: parts.service_id,
            records: parts.records,
            ring: Arc::new(parts.ring),
            audit: parts.audit,
            metrics: parts.metrics,
            clock: parts.clock,
            lease_seconds: parts.lease_seconds,
            gate: parts.gate,
            started: Instant::now(),
            skew_seconds: 0,
            endorsements: None,
            verified: Arc::default(),
            policy: RwLock::new(Arc::new(parts.policy)),
            inbox: OnceLock::new(),
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the clocks of services over the same store be so far apart.
    #[must_use]
    pub fn with_skew(mut self, seconds: u32) -> Self {
        self.skew_seconds = seconds;
        self
    }

    /// Looks for what evidence needs beside itself in `endorsements`.
    #[must_use]
    pub fn with_endorsements(mut self, endorsements: Option<Arc<Endorsements>>) -> Self {
        self.endorsements = endorsements;
        self
    }

    /// What vendors say about platforms, if a store is configured.
    #[must_use]
    pub fn endorsements(&self) -> Option<&Arc<Endorsements>> {
        self.endorsements.as_ref()
    }

    /// Puts another policy in force; requests that are under way end under the old one.
    pub fn set_policy(&self, policy: Policy) {
        if let Some(endorsements) = &self.endorsements {
            endorsements.set_trust(Trust::from(&policy.roots));
        }
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// Fills a buffer from the system's random source.
fn random(bytes: &mut [u8]) -> Result<(), Refusal> {
    rand::fill(bytes).map_err(|_| Refusal {
        reason: Reason::Internal,
        detail: "the random source failed".into(),
        remedy: String::new(),
        retry: Retry::After(5),
    })
}

pub(crate) fn random_uuid() -> Result<Uuid, Refusal> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn fresh() -> Result<Fresh, Refusal> {
    Ok(Fresh {
        token: ConfirmToken::fill(|bytes| random(bytes))?,
        grant: random_uuid()?,
    })
}
