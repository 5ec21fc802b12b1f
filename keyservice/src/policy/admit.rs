//! From evidence to [`Approval`]: whether policy accepts what a node runs, and whether it may have this volume.

use super::identity::boot_id;
use super::{Freshness, Identity, Moment, Owner, Policy, Reopening, Verdict, VolumePolicy};
use crate::approval::{Approval, Node};
use crate::evidence::Appraised;
use crate::volume::VolumeRecord;
use dawnkey_proto::message::{Reason, Refusal, Retry};
use jiff::Timestamp;

/// A refusal by policy, with the key of the policy file that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The refusal.
    pub refusal: Refusal,
    /// The key that decided.
    pub rule: String,
}

pub(crate) fn denial(
    rule: impl Into<String>,
    reason: Reason,
    detail: impl Into<String>,
    remedy: &str,
) -> Denial {
    Denial {
        refusal: Refusal {
            reason,
            detail: detail.into(),
            remedy: remedy.to_owned(),
            retry: Retry::Never,
        },
        rule: rule.into(),
    }
}

/// Policy's yes to one request.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The proof, bound to the volume and the instance.
    pub approval: Approval,
    /// The image that booted.
    pub image: String,
    /// The platform that runs it, for evidence of a TEE.
    pub platform: Option<String>,
    /// The key of the policy file that decided.
    pub rule: String,
}

impl Policy {
    /// The rules of a volume.
    pub fn rules(&self, volume: &VolumeRecord) -> Result<&VolumePolicy, Denial> {
        self.volume_policies.get(&volume.policy).ok_or_else(|| {
            let rule = format!("volume-policy.{}", volume.policy);
            let detail =
                format!("the policy file has no [{rule}], which the volume was created under");
            denial(rule, Reason::Internal, detail, "add it to the policy file")
        })
    }

    /// Whether a volume may be opened in a boot that is closed.
    pub(crate) fn may_reopen(&self, volume: &VolumeRecord) -> Result<(), Denial> {
        match self.rules(volume)?.reopen {
            Reopening::Allow => Ok(()),
            Reopening::Refuse => Err(denial(
                format!("volume-policy.{}.reopen", volume.policy),
                Reason::ReopenNotAllowed,
                format!("volume {} is opened at boot only", volume.id),
                "reboot the node, or set reopen = \"allow\" in its volume policy for the time of the maintenance",
            )),
        }
    }

    /// Approves a node for a volume, if what it runs and who it is satisfy the volume's policy.
    pub(crate) fn admit(
        &self,
        volume: &VolumeRecord,
        appraised: &Appraised,
        identity: &Identity,
        moment: Moment<'_>,
        now: Timestamp,
    ) -> Result<Admitted, Denial> {
        let claims = appraised.claims();
        let decision = self.judge_at(&volume.policy, claims, Freshness::Demanded, moment, now);
        let rule = decision.rule().to_owned();
        let (image, platform) = match decision.verdict {
            Verdict::Approve { image, platform } => (image, platform),
            Verdict::Deny {
                reason,
                detail,
                remedy,
            } => return Err(denial(rule, reason, detail, &remedy)),
        };
        let rules = self.rules(volume)?;
        let instance = identity.instance();
        let listed = self.listed(volume, rules, identity)?;
        let node = Node {
            instance,
            takes_over: listed || rules.owner == Owner::Any,
            boot: boot_id(claims),
            reopens: matches!(moment, Moment::Closed(_)),
            may_cache: rules.cache_dek,
        };
        Ok(Admitted {
            approval: Approval::for_node(volume, node),
            image,
            platform,
            rule,
        })
    }
}
