//! The ring as the store keeps it: which provider is in which state, the same for every replica.
//!
//! A provider goes prepublished → active → rekeying → inactive. New in the configuration, it is *prepublished*: every
//! replica that has it can unwrap with it, nothing is wrapped with it yet. One is *active* and wraps. What was active
//! before is *rekeying*: records that need it are wrapped again by the active one. Once none needs it, it is *inactive*
//! and can be removed. Changes are compare-and-swap on one record.

use dawnkey_kek::MasterCheck;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a provider must have rested before it can be removed: whoever began to wrap with it has ended by then.
pub const QUIET_SECONDS: i64 = 120;

/// State of a provider in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Known to all, wraps nothing yet.
    Prepublished,
    /// Wraps every new DEK.
    Active,
    /// Was active; what it wrapped is being wrapped again.
    Rekeying,
    /// No record needs it.
    Inactive,
}

impl State {
    /// As reports name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepublished => "prepublished",
            Self::Active => "active",
            Self::Rekeying => "rekeying",
            Self::Inactive => "inactive",
        }
    }
}

/// One provider of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name in configurations and records.
    pub name: String,
    /// Its kind, `aws-kms`: a name is not given to another kind while it is in the ring.
    pub kind: String,
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Check value of its master secret in hex, if it lives by one: another secret is not taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// All providers, and whether records are being wrapped again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// In the order in which they came.
    pub members: Vec<Member>,
    /// When the rewrap began that has not come to its end.
    pub rewrap: Option<Timestamp>,
}

/// The ring cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingRefusal {
    /// No such member.
    #[error("the ring has no provider `{0}`; configure it first, on every replica")]
    Unknown(String),
    /// It is active already.
    #[error("provider `{0}` is active already")]
    Active(String),
    /// The active one cannot be removed.
    #[error(
        "remove provider `{0}`: it is active; make another one active with `dawnkey kek rotate`"
    )]
    RemoveActive(String),
    /// Records need it.
    #[error(
        "remove provider `{name}`: {deks} DEKs are wrapped by it; `dawnkey kek rewrap` moves them to the active one"
    )]
    InUse {
        /// The provider.
        name: String,
        /// How many DEKs name it.
        deks: u64,
    },
    /// It wrapped a moment ago.
    #[error(
        "remove provider `{name}`: it has been {state} for less than {QUIET_SECONDS} s; a replica may still wrap with it. Wait {seconds} s"
    )]
    NotQuiet {
        /// The provider.
        name: String,
        /// Its state.
        state: &'static str,
        /// What remains.
        seconds: i64,
    },
    /// It wraps beside the active one.
    #[error(
        "remove provider `{0}`: [kek] also_wrap names it; take it out of that list, on every replica"
    )]
    AlsoWraps(String),
    /// Another master secret than the one that this provider had.
    #[error(
        "the master secret of provider `{0}` is not the one with which its keys were made; nothing was changed. Give the right one, with the salt that it had"
    )]
    OtherMaster(String),
    /// Keys were made with a master secret of which nothing is known.
    #[error(
        "provider `{0}` has DEKs, but the ring has no check value of their master secret: the ring is not the one that belongs to these records. Restore it with them"
    )]
    NoCheck(String),
    /// The provider has no such thing.
    #[error("provider `{0}` has no master secret; only those of kind `cluster` have one")]
    NoMaster(String),
    /// The name is used for another kind.
    #[error(
        "provider `{name}` is of kind {configured}, but the ring knows it as {known}: choose a new name for another kind"
    )]
    OtherKind {
        /// The name.
        name: String,
        /// What the configuration says.
        configured: String,
        /// What the ring says.
        known: String,
    },
}

impl Ring {
    /// The first ring: one active, the others prepublished.
    #[must_use]
    pub fn first(active: &str, configured: &[(String, String)], now: Timestamp) -> Self {
        let member = |(name, kind): &(String, String)| Member {
            name: name.clone(),
            kind: kind.clone(),
            state: if name == active {
                State::Active
            } else {
                State::Prepublished
            },
            since: now,
            check: None,
        };
        Self {
            members: configured.iter().map(member).collect(),
            rewrap: None,
        }
    }

    /// Name of the active provider.
    #[must_use]
    pub fn active(&self) -> Option<&str> {
        let active = self.members.iter().find(|m| m.state == State::Active)?;
        Some(&active.name)
    }

    /// The ring with every configured provider in it.
    ///
    /// # Errors
    /// [`RingRefusal::OtherKind`].
    pub fn joined(
        mut self,
        configured: &[(String, String)],
        now: Timestamp,
    ) -> Result<Self, RingRefusal> {
        for (name, kind) in configured {
            match self.members.iter().find(|m| m.name == *name) {
                Some(known) if known.kind == *kind => {}
                Some(known) => {
                    return Err(RingRefusal::OtherKind {
                        name: name.clone(),
                        configured: kind.clone(),
                        known: known.kind.clone(),
                    });
                }
                None => self.members.push(Member {
                    name: name.clone(),
                    kind: kind.clone(),
                    state: State::Prepublished,
                    since: now,
                    check: None,
                }),
            }
        }
        Ok(self)
    }

    /// The check value of a member's master secret, noted at its first use.
    ///
    /// # Errors
    /// [`RingRefusal::OtherMaster`], [`RingRefusal::Unknown`].
    pub fn checked(mut self, name: &str, check: MasterCheck) -> Result<Self, RingRefusal> {
        let check = check.to_string();
        let Some(member) = self.members.iter_mut().find(|m| m.name == name) else {
            return Err(RingRefusal::Unknown(name.into()));
        };
        match &member.check {
            Some(known) if *known == check => {}
            Some(_) => return Err(RingRefusal::OtherMaster(name.into())),
            None => member.check = Some(check),
        }
        Ok(self)
    }

    /// `name` becomes active; what was active is rekeying.
    ///
    /// # Errors
    /// [`RingRefusal::Unknown`] and [`RingRefusal::Active`].
    pub fn rotated(mut self, name: &str, now: Timestamp) -> Result<Self, RingRefusal> {
        if self.active() == Some(name) {
            return Err(RingRefusal::Active(name.into()));
        }
        if !self.members.iter().any(|m| m.name == name) {
            return Err(RingRefusal::Unknown(name.into()));
        }
        for member in &mut self.members {
            let next = match member.state {
                _ if member.name == name => State::Active,
                State::Active => State::Rekeying,
                other => other,
            };
            member.change(next, now);
        }
        Ok(self)
    }

    /// A rewrap has begun, or goes on.
    #[must_use]
    pub fn rewrapping(mut self, now: Timestamp) -> Self {
        self.rewrap.get_or_insert(now);
        self
    }

    /// A rewrap has come to its end; rekeying providers that no record names (`used` says so) are inactive. A provider
    /// that became rekeying after `began` stays so: this rewrap was not for it.
    #[must_use]
    pub fn rewrapped(
        mut self,
        began: Timestamp,
        used: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Self {
        for member in &mut self.members {
            let done = member.state == State::Rekeying && member.since <= began;
            if done && !used(&member.name) {
                member.change(State::Inactive, now);
            }
        }
        self.rewrap = None;
        self
    }

    /// The ring without a provider that no record names.
    ///
    /// # Errors
    /// Why it must stay.
    pub fn without(mut self, name: &str, deks: u64, now: Timestamp) -> Result<Self, RingRefusal> {
        let name = name.to_owned();
        let Some(member) = self.members.iter().find(|m| m.name == name) else {
            return Err(RingRefusal::Unknown(name));
        };
        if member.state == State::Active {
            return Err(RingRefusal::RemoveActive(name));
        }
        if deks > 0 {
            return Err(RingRefusal::InUse { name, deks });
        }
        let rested = now.as_second().saturating_sub(member.since.as_second());
        if rested < QUIET_SECONDS {
            return Err(RingRefusal::NotQuiet {
                name,
                state: member.state.name(),
                seconds: QUIET_SECONDS.saturating_sub(rested),
            });
        }
        self.members.retain(|m| m.name != name);
        Ok(self)
    }
}

impl Member {
    fn change(&mut self, state: State, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn named(names: &[&str]) -> Vec<(String, String)> {
        let one = |name: &&str| ((*name).to_owned(), "transit".to_owned());
        names.iter().map(one).collect()
    }

    fn states(ring: &Ring) -> Vec<(&str, State)> {
        ring.members
            .iter()
            .map(|m| (m.name.as_str(), m.state))
            .collect()
    }

    #[test]
    fn a_provider_goes_through_every_state_and_out() {
        use State::{Active, Inactive, Prepublished, Rekeying};
        let ring = Ring::first("a", &named(&["a"]), at(0));
        let ring = ring.joined(&named(&["a", "b"]), at(10)).unwrap();
        assert_eq!(states(&ring), [("a", Active), ("b", Prepublished)]);
        let ring = ring.rotated("b", at(20)).unwrap();
        assert_eq!(states(&ring), [("a", Rekeying), ("b", Active)]);
        let ring = ring.rewrapping(at(30)).rewrapped(at(30), |_| true, at(40));
        assert_eq!(states(&ring), [("a", Rekeying), ("b", Active)]);
        let ring = ring.rewrapping(at(50)).rewrapped(at(50), |_| false, at(60));
        assert_eq!(states(&ring), [("a", Inactive), ("b", Active)]);
        let early = ring.clone().without("a", 0, at(60 + QUIET_SECONDS - 1));
        assert!(matches!(
            early,
            Err(RingRefusal::NotQuiet { seconds: 1, .. })
        ));
        let ring = ring.without("a", 0, at(60 + QUIET_SECONDS)).unwrap();
        assert_eq!(states(&ring), [("b", Active)]);
    }

    #[test]
    fn a_provider_that_became_rekeying_during_a_rewrap_waits_for_the_next() {
        let ring = Ring::first("a", &named(&["a", "b"]), at(0)).rewrapping(at(5));
        let ring = ring.rotated("b", at(6)).unwrap();
        let ring = ring.rewrapped(at(5), |_| false, at(7));
        assert_eq!(states(&ring)[0], ("a", State::Rekeying));
    }

    #[test]
    fn the_first_check_of_a_master_secret_stays() {
        let ring = Ring::first("a", &named(&["a"]), at(0));
        let (one, other) = (MasterCheck([1; 32]), MasterCheck([2; 32]));
        let ring = ring.checked("a", one).unwrap();
        assert_eq!(ring.clone().checked("a", one).unwrap(), ring);
        let refused = ring.clone().checked("a", other).unwrap_err();
        assert_eq!(refused, RingRefusal::OtherMaster("a".into()));
        let refused = ring.checked("z", one).unwrap_err();
        assert_eq!(refused, RingRefusal::Unknown("z".into()));
    }

    #[test]
    fn refuses_to_remove_what_is_active_in_use_or_unknown() {
        let ring = Ring::first("a", &named(&["a", "b"]), at(0));
        let remove = |name: &str, deks| ring.clone().without(name, deks, at(900)).unwrap_err();
        assert_eq!(remove("a", 0), RingRefusal::RemoveActive("a".into()));
        let in_use = RingRefusal::InUse {
            name: "b".into(),
            deks: 3,
        };
        assert_eq!(remove("b", 3), in_use);
        assert_eq!(remove("c", 0), RingRefusal::Unknown("c".into()));
    }

    #[test]
    fn refuses_to_rotate_to_the_active_or_an_unknown_provider_and_a_name_of_another_kind() {
        let ring = Ring::first("a", &named(&["a"]), at(0));
        let refused = ring.clone().rotated("a", at(1)).unwrap_err();
        assert_eq!(refused, RingRefusal::Active("a".into()));
        let refused = ring.clone().rotated("z", at(1)).unwrap_err();
        assert_eq!(refused, RingRefusal::Unknown("z".into()));
        let other = vec![("a".to_owned(), "aws-kms".to_owned())];
        let refused = ring.joined(&other, at(1)).unwrap_err();
        assert!(matches!(refused, RingRefusal::OtherKind { known, .. } if known == "transit"));
    }
}
