//! Wrapped DEKs as records keep them, and the ring of providers that turns an [`Approval`] into a DEK.
//!
//! Nothing but [`KeyRing::dek`] yields a DEK, and it takes an [`Approval`], which only policy (for an
//! attested node) or a mutual-TLS connection of an operator can make.
//!
//! - [`ring`]: which provider is active, as the store keeps it for all replicas.
//! - `seat`, `circuit`, `race`: one provider, whether it answers, and asking several.
//! - `keyring`: making and unwrapping DEKs; `cache` keeps unwrapped ones for a while.
//! - `master`: proving a master secret, and taking one from an operator.
//! - `rewrap`: moving every DEK to the active provider, again and again until none is left.
//! - [`doctor`]: proving a provider live.
//!
//! [`Approval`]: crate::approval::Approval

mod cache;
mod circuit;
pub mod doctor;
mod keyring;
mod master;
mod named;
mod race;
mod renew;
mod rewrap;
pub mod ring;
mod seat;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_master;
#[cfg(test)]
mod tests_rewrap;
mod watched;

pub use cache::CacheLimits;
pub use circuit::Readiness;
pub use keyring::{KeyRing, Settings};
pub use master::{Given, MasterState};
pub use rewrap::{Progress, Usage};
pub use seat::Seat;
pub use watched::{Watch, Watched};

use dawnkey_kek::recovery::RecoveryError;
use dawnkey_kek::{KekError, Retry};
use dawnkey_store::StoreError;
use ring::RingRefusal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The DEK of one epoch as the store keeps it: wrapped by one provider or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedDek {
    /// The epoch whose DEK this is.
    pub epoch: u32,
    /// The same DEK, wrapped; each alone is enough.
    pub wraps: Vec<Wrap>,
    /// The same DEK, sealed to the offline recovery recipient, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// A DEK wrapped by one provider, or derivable by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrap {
    /// Name of the provider that can unwrap it.
    pub provider: String,
    /// The wrapped key; empty when the provider derives it.
    #[serde(with = "hex::serde")]
    pub blob: Vec<u8>,
    /// Version of the KEK, where the provider names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A DEK sealed to the offline recovery recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// Fingerprint of the recipient's key.
    pub recipient: String,
    /// As [`dawnkey_kek::recovery`] seals it.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
}

impl WrappedDek {
    /// What `provider` derives by itself.
    #[must_use]
    pub fn derived(provider: &str, epoch: u32) -> Self {
        let wrap = Wrap {
            provider: provider.to_owned(),
            blob: Vec::new(),
            version: None,
        };
        Self {
            epoch,
            wraps: vec![wrap],
            recovery: None,
        }
    }
}

/// A DEK could not be made or unwrapped, or the ring not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The record has no DEK of that epoch. It is never made anew.
    #[error("unwrap the DEK of volume {volume}: the record has none of epoch {epoch}")]
    NoDek {
        /// The volume.
        volume: Uuid,
        /// The epoch asked for.
        epoch: u32,
    },
    /// The DEK was wrapped by providers that are not configured.
    #[error(
        "unwrap the DEK of volume {volume}: it needs the provider `{provider}`, which is not configured"
    )]
    NoProvider {
        /// The volume.
        volume: Uuid,
        /// The providers named in the record.
        provider: String,
    },
    /// No provider could unwrap it.
    #[error("unwrap the DEK of volume {volume}: {}", listed(.failures))]
    Unwrap {
        /// The volume.
        volume: Uuid,
        /// What each provider said, at least one.
        failures: Vec<KekError>,
    },
    /// The provider that is active according to the store is not in this replica's configuration.
    #[error(
        "wrap a DEK: the active provider is `{0}`, which this replica does not have; configure it, or rotate to another"
    )]
    ActiveNotHere(String),
    /// What a provider has just wrapped does not unwrap to the same DEK: nothing of it is kept.
    #[error(
        "wrap a DEK: provider `{0}` gave back another DEK than it was given; its wrap was thrown away"
    )]
    Unproven(String),
    /// There are no random bytes.
    #[error("make a DEK: the random generator of this system does not work")]
    NoRandom,
    /// The provider failed.
    #[error(transparent)]
    Provider(#[from] KekError),
    /// The ring cannot be changed so.
    #[error(transparent)]
    Refused(#[from] RingRefusal),
    /// Sealing to the recovery recipient failed.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(failures: &[KekError]) -> String {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl RingError {
    /// Whether trying again can help: the most hopeful of what the providers said.
    #[must_use]
    pub fn retry(&self) -> Retry {
        let hopeful = |failures: &[KekError]| {
            let all = || failures.iter().map(|failure| failure.cause.retry());
            [Retry::Later, Retry::Operator]
                .into_iter()
                .find(|class| all().any(|found| found == *class))
                .unwrap_or(Retry::Never)
        };
        match self {
            Self::Unwrap { failures, .. } => hopeful(failures),
            Self::Provider(error) => hopeful(std::slice::from_ref(error)),
            Self::NoRandom | Self::Store(_) => Retry::Later,
            Self::NoDek { .. }
            | Self::NoProvider { .. }
            | Self::ActiveNotHere(_)
            | Self::Unproven(_)
            | Self::Refused(_)
            | Self::Recovery(_) => Retry::Operator,
        }
    }

    /// How long the KMS asks to be left alone, in seconds, if it says so.
    #[must_use]
    pub fn after(&self) -> Option<u32> {
        let failures = match self {
            Self::Unwrap { failures, .. } => failures.as_slice(),
            Self::Provider(error) => std::slice::from_ref(error),
            _ => return None,
        };
        let asked = |failure: &KekError| match failure.cause {
            dawnkey_kek::Cause::Throttled { after } => after,
            _ => None,
        };
        let shortest = failures.iter().filter_map(asked).min()?;
        u32::try_from(shortest.as_secs()).ok()
    }
}
