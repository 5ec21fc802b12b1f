//! Bringing one wrapped DEK up to date: wrapped by exactly the providers that wrap now, under the newest version of
//! their keys, and sealed to the recovery recipient.

use super::keyring::KeyRing;
use super::seat::Seat;
use super::{RingError, Wrap, WrappedDek};
use dawnkey_kek::Aad;
use std::sync::Arc;
use uuid::Uuid;

/// What every wrapped DEK is to look like.
pub(super) struct Plan {
    /// Who wraps, with the newest version of its key where it names one.
    wrappers: Vec<(Arc<Seat>, Option<String>)>,
    recipient: Option<String>,
}

impl Plan {
    /// Whether nothing is to be done for this one.
    pub(super) fn met_by(&self, dek: &WrappedDek) -> bool {
        let sealed = match (&self.recipient, &dek.recovery) {
            (Some(wanted), Some(found)) => *wanted == found.recipient,
            (wanted, _) => wanted.is_none(),
        };
        let all = self.wrappers.iter().all(|(seat, version)| {
            dek.wraps
                .iter()
                .any(|wrap| good(wrap, seat, version.as_ref()))
        });
        sealed && all && dek.wraps.len() == self.wrappers.len()
    }
}

fn good(wrap: &Wrap, seat: &Seat, newest: Option<&String>) -> bool {
    // A derived DEK has neither blob nor version.
    let current = newest.is_none() || wrap.blob.is_empty() || wrap.version.as_ref() == newest;
    wrap.provider == seat.name() && current
}

impl KeyRing {
    /// What every wrapped DEK is to look like now.
    pub(super) async fn plan(&self) -> Result<Plan, RingError> {
        let mut wrappers = Vec::new();
        for seat in self.wrappers().await? {
            let version = match seat.capabilities().rotation {
                true => seat.version().await?,
                false => None,
            };
            wrappers.push((seat, version));
        }
        Ok(Plan {
            wrappers,
            recipient: self.recipient(),
        })
    }

    /// The DEKs of a record as the plan wants them; `None` when they are so already. A wrap is dropped only when every
    /// new one was proved.
    pub(super) async fn renewed(
        &self,
        plan: &Plan,
        owner: Uuid,
        deks: &[WrappedDek],
    ) -> Result<Option<Vec<WrappedDek>>, RingError> {
        if deks.iter().all(|dek| plan.met_by(dek)) {
            return Ok(None);
        }
        let mut renewed = Vec::with_capacity(deks.len());
        for dek in deks {
            renewed.push(match plan.met_by(dek) {
                true => dek.clone(),
                false => self.renew(plan, owner, dek).await?,
            });
        }
        Ok(Some(renewed))
    }

    async fn renew(
        &self,
        plan: &Plan,
        owner: Uuid,
        wrapped: &WrappedDek,
    ) -> Result<WrappedDek, RingError> {
        let aad = Aad::new(owner, wrapped.epoch);
        let (dek, _) = self.unwrap(owner, wrapped).await?;
        let mut wraps = Vec::with_capacity(plan.wrappers.len());
        for (seat, version) in &plan.wrappers {
            let kept = |wrap: &&Wrap| good(wrap, seat, version.as_ref());
            wraps.push(match wrapped.wraps.iter().find(kept) {
                Some(wrap) => wrap.clone(),
                None => seat.wrap(&dek, &aad).await?,
            });
        }
        let recovery = match (&plan.recipient, &wrapped.recovery) {
            (Some(wanted), Some(found)) if *wanted == found.recipient => Some(found.clone()),
            (Some(_), _) => self.sealed(&dek, aad)?,
            (None, found) => found.clone(),
        };
        Ok(WrappedDek {
            epoch: wrapped.epoch,
            wraps,
            recovery,
        })
    }
}
