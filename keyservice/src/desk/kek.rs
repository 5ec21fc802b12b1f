//! What operators do to the ring of KEK providers. Every change gets its audit record first.

use super::Desk;
use super::operator::{AdminError, entry};
use crate::audit::Entry;
use crate::kek::doctor::{Examination, examine};
use crate::kek::ring::{Ring, RingRefusal};
use crate::kek::{Progress, RingError, Usage, WrappedDek};
use crate::keys::KeyRecord;
use crate::records::Versioned;
use crate::report::{self, Event};
use crate::server::Operator;
use crate::volume::{State, VolumeRecord};
use dawnkey_proto::seal::{self, Purpose, Sealed};
use dawnkey_secret::Dek;
use dawnkey_store::StoreError;
use std::sync::Arc;
use uuid::Uuid;

/// How often a restore is tried anew because somebody else changed the record.
const ATTEMPTS: usize = 16;

/// The ring with what its providers are used for.
#[derive(Debug)]
pub struct KekStatus {
    /// The rewrap of this replica, read before the ring: where it has ended, the ring is as it left it.
    pub progress: Progress,
    /// As the store has it.
    pub ring: Ring,
    /// DEKs by provider and version.
    pub usage: Usage,
    /// DEKs without a copy for the recovery recipient.
    pub unsealed: u64,
}

/// A DEK as it was sealed to the offline recovery recipient.
#[derive(Debug)]
pub struct SealedDek {
    /// Volume, or key that belongs to none.
    pub owner: Uuid,
    /// The owner is a volume.
    pub volume: bool,
    /// The DEK with its wraps.
    pub dek: WrappedDek,
    /// Every provider that wraps now has wrapped it.
    pub current: bool,
}

/// Whose DEK is restored.
enum Owner {
    Volume(Box<Versioned<VolumeRecord>>),
    Key(Box<Versioned<KeyRecord>>),
}

impl Owner {
    fn deks(&self) -> &[WrappedDek] {
        match self {
            Self::Volume(volume) => &volume.record.deks,
            Self::Key(key) => &key.record.deks,
        }
    }
}

impl Desk {
    /// The ring and its use.
    pub async fn kek_status(&self) -> Result<KekStatus, AdminError> {
        Ok(KekStatus {
            progress: self.ring.progress(),
            ring: self.ring.ring().await?,
            usage: self.ring.usage().await?,
            unsealed: self.ring.unsealed().await?,
        })
    }

    /// Makes a provider active.
    pub async fn kek_rotate(&self, operator: &Operator, name: &str) -> Result<(), AdminError> {
        let before = self.ring.ring().await?;
        let entry = entry("kek-rotate", operator)
            .with("provider", name.to_owned())
            .with("before", before.active().unwrap_or_default().to_owned());
        self.audit.append(entry).await?;
        Ok(self.ring.rotate(name).await?)
    }

    /// Begins to rewrap, or goes on, beside everything else.
    pub async fn kek_rewrap(self: &Arc<Self>, operator: &Operator) -> Result<(), AdminError> {
        let name = self.ring.ring().await?;
        let entry = entry("kek-rewrap", operator)
            .with("provider", name.active().unwrap_or_default().to_owned());
        self.audit.append(entry).await?;
        let desk = Arc::clone(self);
        tokio::spawn(async move { desk.rewrap().await });
        // Its beginning is to be seen in the answer.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Rewraps, and writes down how it ended.
    pub(crate) async fn rewrap(&self) {
        let outcome = self.ring.rewrap().await;
        let progress = self.ring.progress();
        if progress.running {
            return;
        }
        let entry = Entry::new("kek-rewrapped")
            .with("records", progress.total)
            .with("changed", progress.changed)
            .with("failed", progress.failed)
            .with_some("problem", progress.problem);
        if let Err(error) = &outcome {
            report::emit(&Event::StoreFailed { error });
        }
        if let Err(error) = self.audit.append(entry).await {
            report::emit(&Event::AuditFailed { error: &error });
        }
    }

    /// Takes a provider out of the ring.
    pub async fn kek_remove(&self, operator: &Operator, name: &str) -> Result<(), AdminError> {
        let entry = entry("kek-remove", operator).with("provider", name.to_owned());
        self.audit.append(entry).await?;
        Ok(self.ring.remove(name).await?)
    }

    /// Proves every provider, or the named one, live.
    pub async fn kek_doctor(&self, name: &str) -> Result<Vec<Examination>, AdminError> {
        let mut all = Vec::new();
        for seat in self.ring.seats() {
            if name.is_empty() || seat.name() == name {
                all.push(examine(seat).await);
            }
        }
        match all.is_empty() {
            true => Err(RingError::from(RingRefusal::Unknown(name.to_owned())).into()),
            false => Ok(all),
        }
    }

    /// What was sealed to the recovery recipient: of one record or of all.
    pub async fn kek_sealed(&self, owner: Option<Uuid>) -> Result<Vec<SealedDek>, AdminError> {
        let wanted = |id: Uuid| owner.is_none_or(|owner| owner == id);
        let volumes = self.records.volumes().await.map_err(AdminError::Store)?;
        let keys = self.records.keys().await.map_err(AdminError::Store)?;
        let volumes = volumes.into_iter().map(|v| (v.id, true, v.deks));
        let all = volumes.chain(keys.into_iter().map(|k| (k.id, false, k.deks)));
        let ring = self.ring.ring().await?;
        let names = self.ring.wrapper_names(&ring);
        let mut sealed = Vec::new();
        for (owner, volume, deks) in all.filter(|(id, ..)| wanted(*id)) {
            for dek in deks {
                let has = |name: &&str| dek.wraps.iter().any(|wrap| wrap.provider == **name);
                sealed.push(SealedDek {
                    owner,
                    volume,
                    current: names.iter().all(|name| has(&name.as_str())),
                    dek,
                });
            }
        }
        Ok(sealed)
    }

    /// The public key for [`Self::kek_restore`]: of this process, made anew with it.
    pub fn kek_inbox(&self) -> Result<&seal::Recipient, AdminError> {
        if let Some(inbox) = self.inbox.get() {
            return Ok(inbox);
        }
        let made = seal::Recipient::generate().map_err(|e| AdminError::State(e.to_string()))?;
        Ok(self.inbox.get_or_init(|| made))
    }

    /// Takes a DEK that the offline recovery key has opened, and wraps it with the providers that wrap now. What was there
    /// for this epoch is replaced. Returns who wraps it now.
    pub async fn kek_restore(
        &self,
        operator: &Operator,
        owner: Uuid,
        epoch: u32,
        sealed: &Sealed,
    ) -> Result<Vec<String>, AdminError> {
        let purpose = Purpose {
            volume: owner,
            epoch,
            generation: 0,
        };
        let opened = self.kek_inbox()?.open_export(sealed, &purpose);
        let dek = opened.map_err(|e| AdminError::Invalid(e.to_string()))?;
        let restored = self.restored(owner, epoch, &dek).await?;
        let wrapped: Vec<_> = restored.wraps.iter().map(|w| w.provider.clone()).collect();
        let entry = entry("kek-restore", operator)
            .with("volume", owner.to_string())
            .with("epoch", epoch)
            .with("providers", wrapped.join(","));
        self.audit.append(entry).await?;
        for _ in 0..ATTEMPTS {
            match self.put_back(owner, &restored).await {
                Ok(()) => return Ok(wrapped),
                Err(AdminError::Store(StoreError::Conflict { .. })) => {}
                Err(other) => return Err(other),
            }
        }
        let busy = StoreError::Unavailable("the record keeps changing".into());
        Err(AdminError::Store(busy))
    }

    async fn restored(&self, owner: Uuid, epoch: u32, dek: &Dek) -> Result<WrappedDek, AdminError> {
        let found = self.owner(owner).await?;
        if !found.deks().iter().any(|known| known.epoch == epoch) {
            return Err(RingError::NoDek {
                volume: owner,
                epoch,
            }
            .into());
        }
        Ok(self.ring.wrap(dek, owner, epoch).await?)
    }

    async fn owner(&self, id: Uuid) -> Result<Owner, AdminError> {
        match self.records.volume(id).await {
            Ok(found) if found.record.state == State::Retired => {
                let text = format!("volume {id} is retired, its DEKs are forgotten");
                return Err(AdminError::State(text));
            }
            Ok(found) => return Ok(Owner::Volume(Box::new(found))),
            Err(StoreError::Missing { .. }) => {}
            Err(other) => return Err(AdminError::Store(other)),
        }
        let keys = self.records.keys().await.map_err(AdminError::Store)?;
        let Some(key) = keys.into_iter().find(|key| key.id == id) else {
            let text = format!("there is no volume and no key {id}");
            return Err(AdminError::NotFound(text));
        };
        let read = self.records.key(&key.purpose).await;
        Ok(Owner::Key(Box::new(read.map_err(AdminError::Store)?)))
    }

    async fn put_back(&self, owner: Uuid, restored: &WrappedDek) -> Result<(), AdminError> {
        let replace = |deks: &mut Vec<WrappedDek>| {
            for dek in deks.iter_mut().filter(|dek| dek.epoch == restored.epoch) {
                dek.clone_from(restored);
            }
        };
        let swapped = match self.owner(owner).await? {
            Owner::Volume(read) => {
                let Versioned {
                    version,
                    mut record,
                } = *read;
                replace(&mut record.deks);
                self.records.swap_volume(version, &record).await
            }
            Owner::Key(read) => {
                let Versioned {
                    version,
                    mut record,
                } = *read;
                replace(&mut record.deks);
                self.records.swap_key(version, &record).await
            }
        };
        swapped.map(drop).map_err(AdminError::Store)
    }
}
