//! The ring of providers: the active one makes DEKs, all can unwrap.

use super::cache::{self, CacheLimits, DekCache};
use super::rewrap::Job;
use super::ring::{Ring, RingRefusal};
use super::seat::Seat;
use super::{Recovery, RingError, Wrap, WrappedDek, race};
use crate::approval::Approval;
use crate::desk::Clock;
use crate::records::{Records, Versioned};
use dawnkey_kek::recovery::Recipient;
use dawnkey_kek::{Aad, Custody};
use dawnkey_secret::Dek;
use dawnkey_store::StoreError;
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

/// How often a change of the ring is tried anew because another replica was faster.
const ATTEMPTS: usize = 16;

/// How the ring is used by this replica. All replicas have the same.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The provider that is active while the store knows no ring.
    pub first_active: String,
    /// Providers that wrap every DEK beside the active one.
    pub also_wrap: Vec<String>,
    /// The offline recovery recipient.
    pub recovery: Option<Recipient>,
    /// Bounds of the cache of unwrapped DEKs.
    pub cache: CacheLimits,
}

/// The configured providers: one makes DEKs, all can unwrap.
pub struct KeyRing {
    pub(super) seats: Vec<Arc<Seat>>,
    pub(super) settings: Settings,
    pub(super) records: Records,
    pub(super) clock: Clock,
    pub(super) job: Job,
    pub(super) known: RwLock<Option<Ring>>,
    cache: DekCache,
}

impl KeyRing {
    /// A ring of these providers, whose state is in these records.
    #[must_use]
    pub fn new(seats: Vec<Seat>, settings: Settings, records: Records, clock: Clock) -> Self {
        Self {
            seats: seats.into_iter().map(Arc::new).collect(),
            cache: DekCache::new(settings.cache),
            settings,
            records,
            clock,
            job: Job::default(),
            known: RwLock::default(),
        }
    }

    /// Makes the ring known to the store, or itself to the ring: what is configured and not in it joins prepublished. The
    /// master secrets that are there are proved.
    ///
    /// # Errors
    /// [`RingRefusal::OtherKind`], [`RingRefusal::OtherMaster`], or the store's.
    pub async fn join(&self) -> Result<Ring, RingError> {
        let now = (self.clock)();
        let configured: Vec<_> = self
            .seats
            .iter()
            .map(|seat| (seat.name().to_owned(), seat.kind().to_owned()))
            .collect();
        let first = Ring::first(&self.settings.first_active, &configured, now);
        match self.records.create_ring(&first).await {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(other) => return Err(other.into()),
        }
        self.change(|ring| ring.joined(&configured, now)).await?;
        self.prove_masters().await?;
        self.ring().await
    }

    /// The ring as the store has it now.
    ///
    /// # Errors
    /// The store's.
    pub async fn ring(&self) -> Result<Ring, RingError> {
        Ok(self.read().await?.record)
    }

    async fn read(&self) -> Result<Versioned<Ring>, RingError> {
        let read = self.records.ring().await?;
        self.remember(&read.record);
        Ok(read)
    }

    fn remember(&self, ring: &Ring) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(ring.clone());
    }

    /// Changes the ring by compare-and-swap; decides anew when another replica was faster.
    pub(super) async fn change(
        &self,
        make: impl Fn(Ring) -> Result<Ring, RingRefusal>,
    ) -> Result<Ring, RingError> {
        for _ in 0..ATTEMPTS {
            let before = self.read().await?;
            let after = make(before.record.clone())?;
            if after == before.record {
                return Ok(after);
            }
            match self.records.swap_ring(before.version, &after).await {
                Ok(_) => {
                    self.remember(&after);
                    return Ok(after);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        let busy = StoreError::Unavailable("the ring keeps changing".into());
        Err(busy.into())
    }

    /// Name of the active provider, as this replica knew it last.
    #[must_use]
    pub fn name(&self) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let active = known.as_ref().and_then(Ring::active);
        active.unwrap_or(&self.settings.first_active).to_owned()
    }

    /// The providers of this replica's configuration.
    #[must_use]
    pub fn seats(&self) -> &[Arc<Seat>] {
        &self.seats
    }

    /// Fingerprint of the recovery recipient, if one is configured.
    #[must_use]
    pub fn recipient(&self) -> Option<String> {
        self.settings.recovery.as_ref().map(Recipient::fingerprint)
    }

    /// Names of the providers that wrap beside the active one.
    #[must_use]
    pub fn also_wrap(&self) -> &[String] {
        &self.settings.also_wrap
    }

    pub(super) fn seat(&self, name: &str) -> Option<&Arc<Seat>> {
        self.seats.iter().find(|seat| seat.name() == name)
    }

    /// Names of the providers that wrap according to this ring, the active one first.
    #[must_use]
    pub fn wrapper_names(&self, ring: &Ring) -> Vec<String> {
        let active = ring.active().unwrap_or_default();
        let beside = self
            .settings
            .also_wrap
            .iter()
            .filter(|name| *name != active);
        std::iter::once(active.to_owned())
            .chain(beside.cloned())
            .collect()
    }

    /// Who wraps now, the active provider first; from the store, since another replica may have changed it.
    pub(super) async fn wrappers(&self) -> Result<Vec<Arc<Seat>>, RingError> {
        let ring = self.ring().await?;
        let mut wrappers = Vec::new();
        for name in self.wrapper_names(&ring) {
            match self.seat(&name) {
                Some(seat) => wrappers.push(Arc::clone(seat)),
                None => return Err(RingError::ActiveNotHere(name)),
            }
        }
        Ok(wrappers)
    }

    /// Makes the DEK of a new volume or epoch, wraps it with the active provider and all that wrap beside it, and seals it
    /// to the recovery recipient. Every wrap is proved before it counts.
    ///
    /// # Errors
    /// When any of them fails: a DEK is born with everything that it is to have.
    pub async fn create(&self, volume: Uuid, epoch: u32) -> Result<WrappedDek, RingError> {
        let aad = Aad::new(volume, epoch);
        let wrappers = self.wrappers().await?;
        let derived = wrappers.first().and_then(|active| active.derive(&aad));
        let dek = match derived {
            Some(derived) => derived?,
            None => {
                Dek::fill(|bytes| aws_lc_rs::rand::fill(bytes)).map_err(|_| RingError::NoRandom)?
            }
        };
        self.wrapped_by(&wrappers, &dek, aad).await
    }

    pub(super) async fn wrapped_by(
        &self,
        wrappers: &[Arc<Seat>],
        dek: &Dek,
        aad: Aad,
    ) -> Result<WrappedDek, RingError> {
        let mut wraps = Vec::with_capacity(wrappers.len());
        for seat in wrappers {
            wraps.push(seat.wrap(dek, &aad).await?);
        }
        Ok(WrappedDek {
            epoch: aad.epoch,
            wraps,
            recovery: self.sealed(dek, aad)?,
        })
    }

    /// The DEK sealed to the recovery recipient, if one is configured.
    pub(super) fn sealed(&self, dek: &Dek, aad: Aad) -> Result<Option<Recovery>, RingError> {
        let Some(recipient) = &self.settings.recovery else {
            return Ok(None);
        };
        Ok(Some(Recovery {
            recipient: recipient.fingerprint(),
            sealed: recipient.seal(dek, &aad)?,
        }))
    }

    /// The DEK of the volume and epoch that the approval is for, out of the volume's `deks`. Uses the approval up.
    ///
    /// # Errors
    /// When no provider can unwrap it, with what each of them said.
    pub async fn dek(&self, approval: Approval, deks: &[WrappedDek]) -> Result<Dek, RingError> {
        let (volume, epoch) = (approval.volume(), approval.epoch());
        let wrapped = deks
            .iter()
            .find(|dek| dek.epoch == epoch)
            .ok_or(RingError::NoDek { volume, epoch })?;
        let key = approval.may_cache().then(|| cache::key(volume, wrapped));
        if let Some(found) = key.as_ref().and_then(|key| self.cache.get(key)) {
            return Ok(found);
        }
        let (dek, custody) = self.unwrap(volume, wrapped).await?;
        if let Some(key) = key
            && custody == Custody::Kms
        {
            self.cache.put(key, &dek);
        }
        Ok(dek)
    }

    /// Asks the providers that have wrapped it: those that answer before those that fail, the active one before others.
    pub(super) async fn unwrap(
        &self,
        volume: Uuid,
        wrapped: &WrappedDek,
    ) -> Result<race::Opened, RingError> {
        let active = self.name();
        let with_seat = |wrap: &Wrap| Some((Arc::clone(self.seat(&wrap.provider)?), wrap.clone()));
        let mut candidates: Vec<_> = wrapped.wraps.iter().filter_map(with_seat).collect();
        candidates.sort_by_key(|(seat, _)| (seat.readiness(), seat.name() != active));
        if candidates.is_empty() {
            let names: Vec<&str> = wrapped.wraps.iter().map(|w| w.provider.as_str()).collect();
            let provider = names.join("`, `");
            return Err(RingError::NoProvider { volume, provider });
        }
        let aad = Aad::new(volume, wrapped.epoch);
        let opened = race::first(candidates, aad).await;
        opened.map_err(|failures| RingError::Unwrap { volume, failures })
    }

    /// Wipes what the cache holds beyond its time; to be called now and then.
    pub fn sweep(&self) {
        self.cache.sweep();
    }

    /// Wipes the whole cache.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// Of the cache of unwrapped DEKs: hits and misses so far, and entries now.
    #[must_use]
    pub fn cache_counts(&self) -> (u64, u64, usize) {
        self.cache.counts()
    }
}
