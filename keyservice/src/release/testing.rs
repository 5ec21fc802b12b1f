//! A volume, its nodes and their headers, for tests of the core.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{
    Confirmation, Decision, Fresh, Granted, Renewal, Rollback, Rules, confirm, decide, renew,
};
use crate::approval::{Approval, Node};
use crate::kek::WrappedDek;
use crate::volume::{Digest32, VolumeRecord};
use dawnkey_proto::lease;
use dawnkey_proto::message::{Ask, Confirm, OnLoss, Reason, Refusal, Renew, SeenHeader};
use dawnkey_secret::ConfirmToken;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// Length of a lease here.
pub(super) const LEASE: u32 = 300;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

/// A header as a node reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Header {
    pub generation: u64,
    /// Which of the headers of that generation.
    pub copy: u8,
    /// Epoch that it is sealed in.
    pub epoch: u32,
}

impl Header {
    pub(super) fn new(generation: u64, copy: u8) -> Self {
        Self {
            generation,
            copy,
            epoch: 1,
        }
    }

    pub(super) fn at_epoch(self, epoch: u32) -> Self {
        Self { epoch, ..self }
    }

    pub(super) fn seen(self) -> SeenHeader {
        let mut digest = [self.copy; 32];
        digest[..8].copy_from_slice(&self.generation.to_be_bytes());
        digest[8..12].copy_from_slice(&self.epoch.to_be_bytes());
        SeenHeader {
            generation: self.generation,
            epoch: self.epoch,
            digest,
        }
    }

    pub(super) fn unlock(self) -> Ask {
        Ask::Unlock(self.seen())
    }
}

/// The service's side of one volume.
#[derive(Debug)]
pub(super) struct Service {
    pub record: VolumeRecord,
    pub rollback: Rollback,
    /// Policy wants leases held, and nodes run holders.
    pub hold: bool,
    pub adopted: bool,
    /// Evidence has shown a closed boot.
    pub reopens: bool,
    pub now: Timestamp,
    /// The launch that asks, where evidence names one.
    pub boot: Option<Digest32>,
    /// Largest difference of two clocks, in seconds.
    pub skew: u32,
    draws: u8,
}

impl Service {
    pub(super) fn new() -> Self {
        let dek = WrappedDek::derived("cluster", 1);
        let id = Uuid::from_u128(7);
        Self {
            record: VolumeRecord::new(id, "state".into(), String::new(), dek, at(0)),
            rollback: Rollback::Refuse,
            hold: false,
            adopted: false,
            reopens: false,
            now: at(0),
            boot: None,
            skew: 0,
            draws: 0,
        }
    }

    /// A service whose volume instance 1 provisioned and confirmed with header `(1, copy 1)`.
    pub(super) fn active() -> Self {
        let mut service = Self::new();
        let granted = service.ask(1, &Ask::Provision).unwrap();
        service.confirm(Header::new(1, 1), &granted).unwrap();
        service
    }

    /// Asks as instance `node`; a listed one when it is above 100. A yes is stored, a no leaves the record alone.
    pub(super) fn ask(&mut self, node: u8, ask: &Ask) -> Result<Granted, Refusal> {
        self.draws = self.draws.wrapping_add(1);
        let fresh = Fresh {
            token: ConfirmToken::take(&mut [self.draws; 32]).unwrap(),
            grant: Uuid::from_u128(self.draws.into()),
        };
        let node = Node {
            instance: Digest32([node; 32]),
            takes_over: node > 100,
            boot: self.boot,
            reopens: self.reopens,
            may_cache: false,
        };
        let approval = Approval::for_node(&self.record, node);
        let rules = self.rules();
        match decide(approval, ask, &self.record, &rules, fresh, self.now) {
            Decision::Grant(granted) => {
                self.record = granted.record.clone();
                Ok(*granted)
            }
            Decision::Refuse(refusal) => Err(refusal),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            rollback: self.rollback,
            lease_seconds: LEASE,
            skew_seconds: self.skew,
            hold: self.hold,
            on_loss: OnLoss::Suspend,
            adopted: self.adopted,
        }
    }

    pub(super) fn refused(&mut self, node: u8, ask: &Ask) -> Reason {
        let before = self.record.clone();
        let reason = self.ask(node, ask).unwrap_err().reason;
        assert_eq!(self.record, before, "a refusal changed the record");
        reason
    }

    pub(super) fn confirm(&mut self, header: Header, granted: &Granted) -> Result<(), Reason> {
        self.confirm_with(header, *granted.token.expose())
    }

    pub(super) fn confirm_with(&mut self, header: Header, token: [u8; 32]) -> Result<(), Reason> {
        let message = Confirm {
            volume: self.record.id,
            header: header.seen(),
            token: ConfirmToken::take(&mut token.clone()).unwrap(),
            progress: None,
            hold: self.hold,
        };
        match confirm(&message, &self.record, LEASE, self.now) {
            Confirmation::Confirmed(record) => self.record = *record,
            Confirmation::Again => {}
            Confirmation::Refuse(refusal) => return Err(refusal.reason),
        }
        Ok(())
    }

    /// Renews as the holder that got this release, or ends its lease.
    pub(super) fn renew(&mut self, granted: &Granted, end: bool) -> Result<(), Refusal> {
        self.renew_with(*granted.token.expose(), granted.record.fencing, end)
    }

    pub(super) fn renew_with(
        &mut self,
        mut confirmed_with: [u8; 32],
        fencing_token: u64,
        end: bool,
    ) -> Result<(), Refusal> {
        let token = ConfirmToken::take(&mut confirmed_with).unwrap();
        let message = Renew {
            volume: self.record.id,
            fencing_token,
            token: lease::token(&token),
            progress: None,
            end,
        };
        match (renew(&message, &self.record, LEASE, self.now), end) {
            (Renewal::Renewed(record), false) | (Renewal::Ended(record), true) => {
                self.record = *record;
                Ok(())
            }
            (Renewal::Refuse(refusal), _) => Err(refusal),
            (other, _) => panic!("asked to end: {end}, got {other:?}"),
        }
    }

    /// A whole boot: unlock with `header`, write the next one as `copy`, confirm it.
    pub(super) fn boot(&mut self, node: u8, header: Header, copy: u8) -> Result<Header, Reason> {
        let granted = self.ask(node, &header.unlock()).map_err(|r| r.reason)?;
        let next = Header::new(granted.generation, copy);
        self.confirm(next, &granted)?;
        Ok(next)
    }
}
