//! Judging a node that waits for an operator: the same evidence, identity and policy as at an unlock. The key service does
//! it for an operator whose service cannot be reached by the node; `dawnkey recover` does it over exported records when there is
//! no service at all.

use crate::evidence::Appraised;
use crate::nodes::Standing;
use crate::policy::{Admitted, Denial, Moment, Policy, denial, key_name};
use crate::release::{Standards, recoverable};
use crate::volume::{InstanceRecord, VolumeRecord};
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::message::{Reason, Refusal};
use dawnkey_proto::recovery::WaitingVolume;
use jiff::Timestamp;
use serde::Serialize;

/// Everything that a recovery is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The volume's record.
    pub record: &'a VolumeRecord,
    /// The enrolment of the key that signed the evidence, if there is one: see [`enrolled_key`].
    pub enrolment: Option<&'a InstanceRecord>,
    /// What the node says of the volume.
    pub waiting: &'a WaitingVolume,
    /// The evidence, verified.
    pub appraised: &'a Appraised,
    /// How far clocks of services over one store may be apart, in seconds.
    pub skew_seconds: u32,
    /// The record is a copy that was made some time ago.
    pub copied: bool,
    /// The time.
    pub now: Timestamp,
}

/// What was found, for the operator who has to say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Kind of the evidence.
    pub kind: String,
    /// What roots it.
    pub trust_class: String,
    /// The machine.
    pub instance: String,
    /// The image that booted.
    pub image: String,
    /// The platform that runs it, for evidence of a TEE.
    pub platform: Option<String>,
    /// The key of the policy file that decided.
    pub rule: String,
    /// The volume's label.
    pub label: String,
    /// Generation of the header.
    pub generation: u64,
    /// Epoch of the header's DEK.
    pub epoch: u32,
    /// What the operator should know before saying yes.
    pub warning: Option<String>,
}

/// A node that may have the key.
#[derive(Debug)]
pub struct Passed {
    /// What was found.
    pub findings: Findings,
    pub(crate) admitted: Admitted,
}

/// A refusal with the key of the policy that decided, if one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The refusal.
    pub refusal: Refusal,
    /// The key of the policy file.
    pub rule: Option<String>,
}

impl From<Denial> for Failed {
    fn from(denial: Denial) -> Self {
        Self {
            refusal: denial.refusal,
            rule: Some(denial.rule),
        }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            rule: None,
        }
    }
}

/// Name of the key whose enrolment a [`Case`] needs; `None` where the hardware's vendor vouches for the node.
#[must_use]
pub fn enrolled_key(appraised: &Appraised) -> Option<&str> {
    key_name(appraised.claims())
}

/// Judges a node.
///
/// `standing` looks up what an operator has decided about a machine.
///
/// # Errors
/// Evidence, policy, identity or header do not pass; the error says which and what would be right.
pub fn judge(
    case: &Case<'_>,
    standing: impl FnOnce(&crate::volume::InstanceId) -> Option<Standing>,
) -> Result<Passed, Failed> {
    let Case {
        policy,
        record,
        waiting,
        appraised,
        now,
        ..
    } = *case;
    let claims = appraised.claims();
    let identity = policy.identify(record, claims, case.enrolment)?;
    if identity.vouched_by().is_some() {
        return Err(denial(
            format!("volume-policy.{}.enrol", record.policy),
            Reason::KeyNotEnrolled,
            format!(
                "attestation key {} is not enrolled; recovery enrols nobody, since nothing proves here that the key lives in its TPM",
                key_name(claims).unwrap_or("without a name")
            ),
            "let the node unlock once with the key service; with an export, use one that was made after that",
        )
        .into());
    }
    let instance = identity.instance();
    let standing = standing(&instance);
    let shut_out = standing.is_some_and(Standing::shut_out);
    let waits = policy.needs_approval(record) && standing != Some(Standing::Approved);
    if shut_out || waits {
        let reason = match shut_out {
            true => Reason::NodeRevoked,
            false => Reason::NodeNotApproved,
        };
        let found = standing.map_or("not known", Standing::name);
        return Err(denial(
            format!("volume-policy.{}", record.policy),
            reason,
            format!("node {instance} is {found}"),
            "`dawnkey node approve` lets it in",
        )
        .into());
    }
    let admitted = policy.admit(record, appraised, &identity, Moment::Open, now)?;
    let node = admitted.approval.node().ok_or_else(|| {
        denial(
            "volume-policy",
            Reason::Internal,
            "the approval is of no node",
            "",
        )
    })?;
    let standards = Standards {
        rollback: policy.rules(record)?.rollback,
        skew_seconds: case.skew_seconds,
        copied: case.copied,
    };
    let warning = recoverable(node, &waiting.seen, record, standards, now)?;
    let findings = Findings {
        kind: claims.kind.clone(),
        trust_class: claims
            .trust_class
            .map_or("none", TrustClass::name)
            .to_owned(),
        instance: instance.to_string(),
        image: admitted.image.clone(),
        platform: admitted.platform.clone(),
        rule: admitted.rule.clone(),
        label: record.label.clone(),
        generation: waiting.seen.generation,
        epoch: waiting.seen.epoch,
        warning,
    };
    Ok(Passed { findings, admitted })
}
