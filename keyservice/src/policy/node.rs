//! `[[node]]`: machines that the policy file knows by name, and which volumes they may have.

use super::admit::{Denial, denial};
use super::{Approval, Decision, Freshness, Identity, Policy, TraceLine, Verdict, VolumePolicy};
use crate::volume::{InstanceId, VolumeRecord};
use dawnkey_attest::claims::Claims;
use dawnkey_proto::message::{Reason, printable};
use jiff::Timestamp;
use std::collections::BTreeSet;
use uuid::Uuid;

/// One machine, known by any of what is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRule {
    /// Its name.
    pub name: String,
    /// Names of groups that it belongs to.
    pub labels: BTreeSet<String>,
    /// What it is by its instance, chip, platform, endorsement key or attestation key.
    pub instances: BTreeSet<InstanceId>,
    /// Subjects of the certificate of its endorsement key.
    pub subjects: BTreeSet<String>,
    /// The only volumes that it may have; empty: any that names it.
    pub volumes: BTreeSet<Uuid>,
}

impl NodeRule {
    /// Whether the machine is this one.
    #[must_use]
    pub fn is(&self, identity: &Identity) -> bool {
        let subject = identity.endorser().map(printable);
        self.instances.contains(&identity.instance())
            || subject.is_some_and(|subject| self.subjects.contains(&subject))
    }

    fn may_have(&self, volume: Uuid) -> bool {
        self.volumes.is_empty() || self.volumes.contains(&volume)
    }
}

/// Nodes that a volume policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeRef {
    /// The node of this name.
    Name(String),
    /// Nodes with this label.
    Label(String),
}

impl NodeRef {
    /// Reads `NAME` or `label:NAME`.
    #[must_use]
    pub fn read(text: &str) -> Self {
        match text.strip_prefix("label:") {
            Some(label) => Self::Label(label.to_owned()),
            None => Self::Name(text.to_owned()),
        }
    }

    /// Whether it names that node.
    #[must_use]
    pub fn names(&self, rule: &NodeRule) -> bool {
        match self {
            Self::Name(name) => rule.name == *name,
            Self::Label(label) => rule.labels.contains(label),
        }
    }
}

impl std::fmt::Display for NodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Label(label) => write!(f, "label:{label}"),
        }
    }
}

impl Policy {
    /// The nodes of the file that a machine is.
    fn nodes_of(&self, identity: &Identity) -> impl Iterator<Item = &NodeRule> {
        self.nodes.values().filter(move |rule| rule.is(identity))
    }

    /// Whether the machine may have the volume because it is listed; `false` where nobody has to be.
    pub(super) fn listed(
        &self,
        volume: &VolumeRecord,
        rules: &VolumePolicy,
        identity: &Identity,
    ) -> Result<bool, Denial> {
        if let Some(node) = self.nodes_of(identity).find(|n| !n.may_have(volume.id)) {
            return Err(denial(
                format!("node.{}.volumes", node.name),
                Reason::InstanceNotAllowed,
                format!("node {} may not have volume {}", node.name, volume.id),
                "add the volume to `volumes` of the node",
            ));
        }
        self.chosen(&volume.policy, rules, identity)
    }

    /// The same, for any volume of the volume policy of that name.
    fn chosen(
        &self,
        volume_policy: &str,
        rules: &VolumePolicy,
        identity: &Identity,
    ) -> Result<bool, Denial> {
        if rules.instances.is_empty() && rules.nodes.is_empty() {
            return Ok(false);
        }
        let instance = identity.instance();
        let named = |node: &NodeRule| rules.nodes.iter().any(|wanted| wanted.names(node));
        if rules.instances.contains(&instance) || self.nodes_of(identity).any(named) {
            return Ok(true);
        }
        let field = match rules.nodes.is_empty() {
            true => "instances",
            false => "nodes",
        };
        Err(denial(
            format!("volume-policy.{volume_policy}.{field}"),
            Reason::InstanceNotAllowed,
            format!("instance {instance} is not listed"),
            "add it to `instances` of the volume policy, or a `[[node]]` that it is to `nodes`",
        ))
    }

    /// Like [`Policy::judge`], and who the machine is, as far as the claims tell: for operators' tests of a policy.
    #[must_use]
    pub fn judge_with_identity(
        &self,
        volume_policy: &str,
        claims: &Claims,
        freshness: Freshness,
        now: Timestamp,
    ) -> Decision {
        let mut decision = self.judge(volume_policy, claims, freshness, now);
        let rules = self.volume_policies.get(volume_policy);
        let approved = matches!(decision.verdict, Verdict::Approve { .. });
        let Some((rules, identity)) = rules.zip(Identity::shown(claims)).filter(|_| approved)
        else {
            return decision;
        };
        let names: Vec<&str> = self.nodes_of(&identity).map(|n| n.name.as_str()).collect();
        let who = match names.is_empty() {
            true => format!("instance {}", identity.instance()),
            false => format!(
                "instance {}, node {}",
                identity.instance(),
                names.join(", ")
            ),
        };
        let mut step = |key: String, finding: String, met: bool| {
            decision.trace.push(TraceLine { key, finding, met });
        };
        let at = |field: &str| format!("volume-policy.{volume_policy}.{field}");
        match self.chosen(volume_policy, rules, &identity) {
            Ok(true) => step(at("nodes"), format!("{who} is listed"), true),
            Ok(false) => step(at("owner"), format!("{who}; nobody has to be listed"), true),
            Err(denial) => {
                step(denial.rule, format!("{who} is not listed"), false);
                decision.verdict = Verdict::Deny {
                    reason: denial.refusal.reason,
                    detail: denial.refusal.detail,
                    remedy: denial.refusal.remedy,
                };
                return decision;
            }
        }
        if rules.approval == Approval::Required {
            let finding = "an operator has to have approved it";
            step(at("approval"), finding.to_owned(), true);
        }
        decision
    }

    /// Whether an operator must approve nodes for this volume.
    pub(crate) fn needs_approval(&self, volume: &VolumeRecord) -> bool {
        self.rules(volume)
            .is_ok_and(|rules| rules.approval == Approval::Required)
    }
}
