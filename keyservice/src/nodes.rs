//! What operators have decided about nodes: records by instance, checked at every request.

use crate::volume::InstanceId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It asked, its evidence passed, and nobody has decided yet.
    Pending,
    /// An operator lets it in where policy asks for approval.
    Approved,
    /// An operator does not let it in: it gets nothing, whatever policy says.
    Denied,
    /// It was let in once: it gets nothing any more, and its leases are not renewed.
    Revoked,
}

impl Standing {
    /// The standing's name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
        }
    }

    /// Whether the node gets nothing, whatever policy says.
    #[must_use]
    pub const fn shut_out(self) -> bool {
        matches!(self, Self::Denied | Self::Revoked)
    }
}

/// What a node's first request showed, for the operator who decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// Kind of evidence.
    pub kind: String,
    /// Who vouches for the node: the subject of a certificate; empty where a TEE's report does.
    pub endorsement: String,
    /// The image that booted.
    pub image: String,
    /// What it calls itself; not trusted.
    pub node_name: String,
    /// Where it came from.
    pub peer: String,
    /// The volume that it asked for.
    pub volume: Option<Uuid>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRecord {
    /// The machine.
    pub instance: InstanceId,
    /// How it stands.
    pub standing: Standing,
    /// What its first request showed; `None` where an operator decided before it came.
    pub introduction: Option<Introduction>,
    /// When it was first recorded.
    pub since: Timestamp,
    /// When an operator last decided.
    pub decided: Option<Timestamp>,
    /// That operator's certificate.
    pub decided_by: Option<String>,
}

impl NodeRecord {
    /// A node that waits for an operator.
    #[must_use]
    pub fn pending(instance: InstanceId, introduction: Introduction, now: Timestamp) -> Self {
        Self {
            instance,
            standing: Standing::Pending,
            introduction: Some(introduction),
            since: now,
            decided: None,
            decided_by: None,
        }
    }

    /// A node that an operator decided about before it ever came.
    #[must_use]
    pub fn announced(instance: InstanceId, now: Timestamp) -> Self {
        Self {
            instance,
            standing: Standing::Pending,
            introduction: None,
            since: now,
            decided: None,
            decided_by: None,
        }
    }

    /// The record after an operator's decision.
    #[must_use]
    pub fn decided(mut self, standing: Standing, by: &str, now: Timestamp) -> Self {
        self.standing = standing;
        self.decided = Some(now);
        self.decided_by = Some(by.to_owned());
        self
    }
}
