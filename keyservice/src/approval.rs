//! The proof that a DEK may be used: bound to one volume or key, made in few places only, used up by
//! [`crate::kek::KeyRing::dek`].

use crate::keys::KeyRecord;
use crate::volume::{Digest32, InstanceId, VolumeRecord};
use uuid::Uuid;

/// Policy has let one instance have the DEK of one volume and epoch; or an operator exports it; or it is the DEK of a key
/// that belongs to no volume, for a caller who was let in.
///
/// It cannot be copied, and only this crate's policy, its admin listener and its plugin's socket make one.
#[derive(Debug, PartialEq, Eq)]
pub struct Approval {
    volume: Uuid,
    epoch: u32,
    /// The epoch that the DEK is being rotated to.
    next: Option<u32>,
    subject: Subject,
}

#[derive(Debug, PartialEq, Eq)]
enum Subject {
    Node(Node),
    Operator,
    Plugin,
    Caller,
}

/// The node whose evidence policy has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The machine.
    pub instance: InstanceId,
    /// It may take over a volume of another instance: policy lists it by name, or lets anyone who passes.
    pub takes_over: bool,
    /// What tells this launch of a guest from others, where no register of it can be capped.
    pub boot: Option<Digest32>,
    /// Its boot is closed: the evidence has shown that, where the hardware can, and policy lets it reopen volumes.
    pub reopens: bool,
    /// Policy lets the service remember the unwrapped DEK for a while.
    pub may_cache: bool,
}

impl Approval {
    /// For policy only: evidence of `node` has passed for this volume.
    pub(crate) fn for_node(volume: &VolumeRecord, node: Node) -> Self {
        Self {
            volume: volume.id,
            epoch: volume.epoch,
            next: volume.next_epoch,
            subject: Subject::Node(node),
        }
    }

    /// The same approval for the DEK of `epoch`, which the header is sealed with, and for that of the epoch to which it is
    /// to be rotated. `None` for epochs that the volume did not have when it was approved.
    pub(crate) fn for_epochs(
        self,
        epoch: u32,
        rotation: Option<u32>,
    ) -> Option<(Self, Option<Self>)> {
        let has = |wanted: u32| wanted == self.epoch || Some(wanted) == self.next;
        let node = self.node()?.clone();
        if !has(epoch) || !rotation.is_none_or(has) {
            return None;
        }
        let other = rotation.map(|epoch| Self {
            volume: self.volume,
            epoch,
            next: None,
            subject: Subject::Node(node),
        });
        let next = None;
        Some((
            Self {
                epoch,
                next,
                ..self
            },
            other,
        ))
    }

    /// For the admin listener only: the caller holds an admin certificate.
    pub(crate) fn for_operator(
        volume: &VolumeRecord,
        epoch: u32,
        _: &crate::server::Operator,
    ) -> Self {
        Self {
            volume: volume.id,
            epoch,
            next: None,
            subject: Subject::Operator,
        }
    }

    /// For the Kubernetes plugin only: the caller came over its socket. The DEK stays in this process.
    pub(crate) fn for_plugin(
        key: &KeyRecord,
        epoch: u32,
        _: &crate::kubernetes::LocalPeer,
    ) -> Self {
        Self {
            volume: key.id,
            epoch,
            next: None,
            subject: Subject::Plugin,
        }
    }

    /// For the admin listener only: what the DEK is derived to stays in this process or is no secret.
    pub(crate) fn for_operators_key(
        key: &KeyRecord,
        epoch: u32,
        _: &crate::server::Operator,
    ) -> Self {
        Self {
            volume: key.id,
            epoch,
            next: None,
            subject: Subject::Operator,
        }
    }

    /// For policy only: it lets a caller have the data key of this record.
    pub(crate) fn for_data_key(
        key: &KeyRecord,
        epoch: u32,
        _: &crate::policy::DataKeyGrant,
    ) -> Self {
        Self {
            volume: key.id,
            epoch,
            next: None,
            subject: Subject::Caller,
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(volume: Uuid, epoch: u32) -> Self {
        Self {
            volume,
            epoch,
            next: None,
            subject: Subject::Operator,
        }
    }

    /// The volume, or the id of the key's record.
    #[must_use]
    pub fn volume(&self) -> Uuid {
        self.volume
    }

    /// The epoch of the DEK.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether the unwrapped DEK may be remembered for a while.
    #[must_use]
    pub fn may_cache(&self) -> bool {
        self.node().is_some_and(|node| node.may_cache)
    }

    /// The node; `None` for others.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        match &self.subject {
            Subject::Node(node) => Some(node),
            Subject::Operator | Subject::Plugin | Subject::Caller => None,
        }
    }
}
