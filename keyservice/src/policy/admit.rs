//! From evidence to [`Approval`]: who the node is, whether policy accepts what it runs, and whether it may
//! have this volume.

use super::{Enrol, Policy, Verdict, VolumePolicy};
use crate::approval::{Approval, Node};
use crate::evidence::Appraised;
use crate::volume::{InstanceId, InstanceRecord, VolumeRecord};
use dawnkey_attest::claims::{Claims, Endorsement};
use dawnkey_proto::message::{Reason, Refusal, Retry};
use jiff::Timestamp;

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Its attestation key was enrolled for this instance.
    Enrolled(InstanceId),
    /// Its attestation key is new; it says that it lives in this endorsed TPM and has to prove it.
    Claimed(InstanceId, Endorsement),
}

impl Identity {
    /// The instance.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        match self {
            Self::Enrolled(instance) | Self::Claimed(instance, _) => *instance,
        }
    }
}

/// Name of the key that signed a TPM's evidence: what enrolment is remembered by.
pub(crate) fn key_name(claims: &Claims) -> &str {
    claims
        .tpm
        .as_ref()
        .map_or("", |tpm| tpm.attestation_key_name.as_str())
}

/// A refusal by policy, with the key of the policy file that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The refusal.
    pub refusal: Refusal,
    /// The key that decided.
    pub rule: String,
}

fn denial(
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

    /// Finds out who the node is: by its enrolment, or by an endorsement that policy trusts for enrolling.
    pub fn identify(
        &self,
        volume: &VolumeRecord,
        claims: &Claims,
        enrolment: Option<&InstanceRecord>,
    ) -> Result<Identity, Denial> {
        let Some(tpm) = &claims.tpm else {
            let detail = format!("evidence of kind {} names no instance", claims.kind);
            let rule = format!("volume-policy.{}", volume.policy);
            return Err(denial(rule, Reason::EvidenceKindNotAllowed, detail, ""));
        };
        let endorsed = match &tpm.endorsement {
            Some(endorsement) => Some((instance(endorsement)?, endorsement)),
            None => None,
        };
        if let Some(known) = enrolment {
            return match endorsed {
                Some((other, _)) if other != known.instance => Err(denial(
                    "roots.tpm_ek",
                    Reason::EndorsementUntrusted,
                    format!(
                        "attestation key {} was enrolled for instance {}, the endorsement certificate is of instance {other}",
                        known.key_name, known.instance
                    ),
                    "let the node show the certificate of its own TPM",
                )),
                _ => Ok(Identity::Enrolled(known.instance)),
            };
        }
        let key = &tpm.attestation_key_name;
        let rule = format!("volume-policy.{}.enrol", volume.policy);
        if self.rules(volume)?.enrol == Enrol::Never {
            let detail = format!("attestation key {key} is not enrolled, and policy enrols none");
            let remedy = "set enrol = \"endorsed\" in its volume policy to enrol the machine";
            return Err(denial(rule, Reason::KeyNotEnrolled, detail, remedy));
        }
        match endorsed {
            Some((instance, endorsement)) => Ok(Identity::Claimed(instance, endorsement.clone())),
            None => {
                let problem = tpm.endorsement_problem.as_deref();
                let problem = problem.unwrap_or("it shows no endorsement certificate");
                let detail = format!(
                    "attestation key {key} is not enrolled, and its TPM is not endorsed: {problem}"
                );
                let remedy = "add the CA of the TPM's endorsement certificate to roots.tpm_ek";
                Err(denial(
                    "roots.tpm_ek",
                    Reason::EndorsementUntrusted,
                    detail,
                    remedy,
                ))
            }
        }
    }

    /// Approves a node for a volume, if what it runs and who it is satisfy the volume's policy.
    pub(crate) fn admit(
        &self,
        volume: &VolumeRecord,
        appraised: &Appraised,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Admitted, Denial> {
        let decision = self.judge(&volume.policy, appraised.claims(), now);
        let rule = decision.rule().to_owned();
        let image = match decision.verdict {
            Verdict::Approve { image } => image,
            Verdict::Deny {
                reason,
                detail,
                remedy,
            } => return Err(denial(rule, reason, detail, &remedy)),
        };
        let listed = &self.rules(volume)?.instances;
        let instance = identity.instance();
        if !listed.is_empty() && !listed.contains(&instance) {
            return Err(denial(
                format!("volume-policy.{}.instances", volume.policy),
                Reason::InstanceNotAllowed,
                format!("instance {instance} is not listed"),
                "add it to `instances` of the volume policy",
            ));
        }
        let node = Node {
            instance,
            listed: !listed.is_empty(),
        };
        Ok(Admitted {
            approval: Approval::for_node(volume, node),
            image,
            rule,
        })
    }
}

fn instance(endorsement: &Endorsement) -> Result<InstanceId, Denial> {
    endorsement.ek_spki_sha256.parse().map_err(|e| {
        let detail = format!("identity of the endorsement key: {e}");
        denial("roots.tpm_ek", Reason::Internal, detail, "")
    })
}
