//! Master secrets of providers: proved against the ring, and taken from an operator.
//!
//! What is derived from a wrong master secret looks like any other key. So the ring keeps a check value of the first secret
//! that a provider had, before the first key is made with it, and from then on no other one is used for this provider.

use super::ring::{Ring, RingRefusal, State};
use super::seat::Seat;
use super::{KeyRing, RingError};
use dawnkey_kek::{MasterCheck, MasterSlot};
use dawnkey_secret::MasterSecret;
use std::sync::{Arc, PoisonError};

/// What became of a master secret that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The same one was there.
    pub already: bool,
    /// The ring knew none before.
    pub first: bool,
}

/// A provider that lives by a master secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterState {
    /// The provider's name.
    pub provider: String,
    /// The secret is in this process's memory.
    pub given: bool,
    /// The ring can tell the right one from others.
    pub known: bool,
}

fn check<'a>(ring: &'a Ring, name: &str) -> Option<&'a str> {
    let member = ring.members.iter().find(|m| m.name == name)?;
    member.check.as_deref()
}

impl KeyRing {
    /// Proves every master secret that is there.
    pub(super) async fn prove_masters(&self) -> Result<(), RingError> {
        for seat in &self.seats {
            if let Some(slot) = seat.master().filter(|slot| slot.filled()) {
                self.prove(seat.name(), slot.check()?).await?;
            }
        }
        Ok(())
    }

    /// Compares with the ring, or makes it known to the ring. Whether it was made known.
    async fn prove(&self, name: &str, found: MasterCheck) -> Result<bool, RingError> {
        let ring = self.ring().await?;
        let first = check(&ring, name).is_none();
        if first && self.usage().await?.contains_key(name) {
            return Err(RingRefusal::NoCheck(name.to_owned()).into());
        }
        self.change(|ring| ring.checked(name, found)).await?;
        Ok(first)
    }

    fn slot(&self, name: &str) -> Result<(&Arc<Seat>, &MasterSlot), RingRefusal> {
        let seat = self.seat(name);
        let seat = seat.ok_or_else(|| RingRefusal::Unknown(name.to_owned()))?;
        let slot = seat.master();
        let slot = slot.ok_or_else(|| RingRefusal::NoMaster(name.to_owned()))?;
        Ok((seat, slot))
    }

    /// Takes the master secret of a provider, if it is the right one. One that is there is never replaced.
    ///
    /// # Errors
    /// [`RingRefusal::OtherMaster`], [`RingRefusal::NoCheck`], [`RingRefusal::NoMaster`], [`RingRefusal::Unknown`]; the
    /// store's.
    pub async fn give_master(&self, name: &str, secret: MasterSecret) -> Result<Given, RingError> {
        let (seat, slot) = self.slot(name)?;
        let found = slot.check_of(&secret)?;
        let first = self.prove(name, found).await?;
        if slot.filled() && slot.check()? != found {
            return Err(RingRefusal::OtherMaster(name.to_owned()).into());
        }
        let taken = slot.fill(secret);
        if taken {
            seat.given();
        }
        Ok(Given {
            already: !taken,
            first,
        })
    }

    /// Every provider of this replica that lives by a master secret.
    ///
    /// # Errors
    /// The store's.
    pub async fn masters(&self) -> Result<Vec<MasterState>, RingError> {
        let ring = self.ring().await?;
        let state = |seat: &Arc<Seat>| {
            let slot = seat.master()?;
            Some(MasterState {
                provider: seat.name().to_owned(),
                given: slot.filled(),
                known: check(&ring, seat.name()).is_some(),
            })
        };
        Ok(self.seats.iter().filter_map(state).collect())
    }

    /// Names of the providers that wait for their master secret while DEKs may need them: the ring, as this replica knew it
    /// last, has them active or rekeying, or they wrap beside the active one.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let members = known.iter().flat_map(|ring| &ring.members);
        let needed: Vec<&str> = members
            .filter(|m| matches!(m.state, State::Active | State::Rekeying))
            .map(|m| m.name.as_str())
            .chain(self.settings.also_wrap.iter().map(String::as_str))
            .collect();
        let waits = |seat: &&Arc<Seat>| seat.master().is_some_and(|slot| !slot.filled());
        let waiting = self.seats.iter().filter(waits);
        waiting
            .map(|seat| seat.name().to_owned())
            .filter(|name| needed.contains(&name.as_str()))
            .collect()
    }
}
