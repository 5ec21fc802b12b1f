//! Rewrapping: every DEK of every record is brought to the providers that wrap now.
//!
//! It can be broken off anywhere: a record is changed by one compare-and-swap or not at all, what is done is not done
//! again, and the ring keeps in the store that it has not come to its end, so that the next start goes on. Several
//! replicas may do it at once.

use super::keyring::KeyRing;
use super::renew::Plan;
use super::{RingError, WrappedDek};
use crate::keys::{KeyRecord, Purpose};
use crate::records::Versioned;
use crate::volume::VolumeRecord;
use dawnkey_store::StoreError;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Records that are worked on at the same time.
const WIDTH: usize = 8;
/// How often a record is tried again because somebody else changed it.
const ATTEMPTS: usize = 32;

/// How far a rewrap has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// It is under way in this replica.
    pub running: bool,
    /// When it began here.
    pub began: Option<Timestamp>,
    /// When it ended here.
    pub ended: Option<Timestamp>,
    /// Records to look at.
    pub total: u64,
    /// Records that are as they are to be.
    pub done: u64,
    /// Of these, how many had to be changed.
    pub changed: u64,
    /// Records for which it failed.
    pub failed: u64,
    /// What was wrong with one of them.
    pub problem: Option<String>,
}

/// How many DEKs name a provider, by the version of its key (empty where it names none).
pub type Usage = BTreeMap<String, BTreeMap<String, u64>>;

/// Whose DEKs are rewrapped.
enum Owner {
    Volume(Uuid),
    Key(Purpose),
}

/// The rewrap of this replica.
#[derive(Default)]
pub(super) struct Job(Mutex<Progress>);

impl Job {
    fn with<T>(&self, change: impl FnOnce(&mut Progress) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins, unless it is under way.
    fn begin(&self, now: Timestamp) -> bool {
        self.with(|progress| {
            if progress.running {
                return false;
            }
            *progress = Progress {
                running: true,
                began: Some(now),
                ..Progress::default()
            };
            true
        })
    }
}

/// Ends the job however it ends.
struct Ending<'a>(&'a KeyRing);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let now = (self.0.clock)();
        self.0.job.with(|progress| {
            progress.running = false;
            progress.ended = Some(now);
        });
    }
}

impl KeyRing {
    /// How far the rewrap of this replica has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.job.with(|progress| progress.clone())
    }

    /// Counts in every record which provider its DEKs need.
    ///
    /// # Errors
    /// The store's.
    pub async fn usage(&self) -> Result<Usage, RingError> {
        let mut usage = Usage::new();
        for dek in self.deks().await? {
            for wrap in dek.wraps {
                let versions = usage.entry(wrap.provider).or_default();
                *versions
                    .entry(wrap.version.unwrap_or_default())
                    .or_insert(0) += 1;
            }
        }
        Ok(usage)
    }

    /// Every wrapped DEK of every record.
    async fn deks(&self) -> Result<Vec<WrappedDek>, RingError> {
        let volumes = self.records.volumes().await?.into_iter();
        let mut deks: Vec<_> = volumes.flat_map(|volume| volume.deks).collect();
        deks.extend(
            self.records
                .keys()
                .await?
                .into_iter()
                .flat_map(|key| key.deks),
        );
        Ok(deks)
    }

    /// How many DEKs have no copy for the configured recovery recipient.
    ///
    /// # Errors
    /// The store's.
    pub async fn unsealed(&self) -> Result<u64, RingError> {
        let Some(recipient) = self.recipient() else {
            return Ok(0);
        };
        let sealed = |dek: &&WrappedDek| match &dek.recovery {
            Some(recovery) => recovery.recipient != recipient,
            None => true,
        };
        Ok(self.deks().await?.iter().filter(sealed).count() as u64)
    }

    /// Brings every record to its end, or as far as it goes; once at a time in a replica (a second call returns the
    /// progress of the first). The ring forgets the rewrap when no record has failed.
    ///
    /// # Errors
    /// What keeps it from beginning or from ending: the active provider, the store. What is wrong with single records is
    /// in [`Progress`].
    pub async fn rewrap(self: &Arc<Self>) -> Result<Progress, RingError> {
        let now = (self.clock)();
        if !self.job.begin(now) {
            return Ok(self.progress());
        }
        let ending = Ending(self);
        let outcome = self.run(now).await;
        if let Err(error) = &outcome {
            let problem = Some(error.to_string());
            self.job.with(|progress| progress.problem = problem);
        }
        drop(ending);
        outcome.map(|()| self.progress())
    }

    /// Writes into the ring that a rewrap has begun.
    pub(crate) async fn mark_rewrap(&self) -> Result<(), RingError> {
        let now = (self.clock)();
        self.change(|ring| Ok(ring.rewrapping(now))).await?;
        Ok(())
    }

    async fn run(self: &Arc<Self>, now: Timestamp) -> Result<(), RingError> {
        self.mark_rewrap().await?;
        let plan = Arc::new(self.plan().await?);
        let volumes = self.records.volumes().await?.into_iter();
        let keys = self.records.keys().await?.into_iter();
        let owners: Vec<Owner> = volumes
            .map(|volume| Owner::Volume(volume.id))
            .chain(keys.map(|key| Owner::Key(key.purpose)))
            .collect();
        self.job
            .with(|progress| progress.total = owners.len() as u64);
        let mut waiting = owners.into_iter();
        let mut working = JoinSet::new();
        loop {
            while working.len() < WIDTH
                && let Some(owner) = waiting.next()
            {
                let (ring, plan) = (Arc::clone(self), Arc::clone(&plan));
                working.spawn(async move { ring.rewrap_owner(&plan, &owner).await });
            }
            let Some(ended) = working.join_next().await else {
                break;
            };
            let outcome = ended.unwrap_or_else(|e| {
                let broken = StoreError::Unavailable(format!("a rewrap broke off: {e}"));
                Err(broken.into())
            });
            self.job.with(|progress| match outcome {
                Ok(changed) => {
                    progress.done += 1;
                    progress.changed += u64::from(changed);
                }
                Err(error) => {
                    progress.failed += 1;
                    progress.problem = Some(error.to_string());
                }
            });
        }
        if self.progress().failed > 0 {
            return Ok(());
        }
        let usage = self.usage().await?;
        let end = (self.clock)();
        let used = |name: &str| usage.contains_key(name);
        self.change(|ring| Ok(ring.rewrapped(now, used, end)))
            .await?;
        Ok(())
    }

    /// Whether the record had to be changed.
    async fn rewrap_owner(&self, plan: &Plan, owner: &Owner) -> Result<bool, RingError> {
        for _ in 0..ATTEMPTS {
            let tried = match owner {
                Owner::Volume(id) => self.rewrap_volume(plan, *id).await,
                Owner::Key(purpose) => self.rewrap_key(plan, purpose).await,
            };
            match tried {
                Err(RingError::Store(StoreError::Conflict { .. })) => {}
                other => return other,
            }
        }
        let busy = StoreError::Unavailable("a record keeps changing".into());
        Err(busy.into())
    }

    async fn rewrap_volume(&self, plan: &Plan, id: Uuid) -> Result<bool, RingError> {
        let Versioned { version, record } = self.records.volume(id).await?;
        let Some(deks) = self.renewed(plan, id, &record.deks).await? else {
            return Ok(false);
        };
        let after = VolumeRecord { deks, ..record };
        self.records.swap_volume(version, &after).await?;
        Ok(true)
    }

    async fn rewrap_key(&self, plan: &Plan, purpose: &Purpose) -> Result<bool, RingError> {
        let Versioned { version, record } = self.records.key(purpose).await?;
        let Some(deks) = self.renewed(plan, record.id, &record.deks).await? else {
            return Ok(false);
        };
        let after = KeyRecord { deks, ..record };
        self.records.swap_key(version, &after).await?;
        Ok(true)
    }

    /// Makes a provider active, after it has proved that it wraps and unwraps; the one before is rekeying.
    ///
    /// # Errors
    /// When the provider does not work, or the ring cannot be changed so.
    pub async fn rotate(&self, name: &str) -> Result<(), RingError> {
        let unknown = || super::ring::RingRefusal::Unknown(name.to_owned());
        let seat = Arc::clone(self.seat(name).ok_or_else(unknown)?);
        super::doctor::round_trip(&seat).await?;
        let now = (self.clock)();
        self.change(|ring| ring.rotated(name, now)).await?;
        Ok(())
    }

    /// Takes a provider out of the ring that no record needs any more.
    ///
    /// # Errors
    /// Why it must stay.
    pub async fn remove(&self, name: &str) -> Result<(), RingError> {
        use super::ring::RingRefusal::AlsoWraps;
        if self.settings.also_wrap.iter().any(|other| other == name) {
            return Err(AlsoWraps(name.to_owned()).into());
        }
        let usage = self.usage().await?;
        let deks = usage
            .get(name)
            .map_or(0, |versions| versions.values().sum());
        let now = (self.clock)();
        self.change(|ring| ring.without(name, deks, now)).await?;
        Ok(())
    }
}
