//! Judging claims by a volume policy, with a trace that names the key of the file behind every step.
//!
//! The order is that of `docs/policy.md`: freshness, trust class, platform, registers that must be untouched, image.

mod image;
mod platform;
mod pre_cap;
mod snp;
mod tdx;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_tee;

use super::{Image, Policy, VolumePolicy};
use crate::release::ClosedBoot;
use dawnkey_attest::claims::{Binding, Claims, TrustClass};
use dawnkey_proto::message::Reason;
use jiff::Timestamp;
use serde::Serialize;

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceLine {
    /// The key of the policy file that asks for something.
    pub key: String,
    /// What it asks for and what the evidence shows.
    pub finding: String,
    /// Whether the evidence meets it.
    pub met: bool,
}

impl std::fmt::Display for TraceLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = if self.met { "met" } else { "NOT met" };
        write!(f, "{}: {}: {mark}", self.key, self.finding)
    }
}

/// What a volume policy says about claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The evidence is good enough.
    Approve {
        /// Name of the image that booted.
        image: String,
        /// Name of the platform that runs it, for evidence of a TEE.
        platform: Option<String>,
    },
    /// It is not.
    Deny {
        /// Stable code.
        reason: Reason,
        /// What was found and what was expected.
        detail: String,
        /// What would make it pass.
        remedy: String,
    },
}

/// A verdict with its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Every step up to the one that decided, which is the last.
    pub trace: Vec<TraceLine>,
}

impl Decision {
    /// The key of the policy file that decided.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.trace.last().map_or("volume-policy", |line| &line.key)
    }
}

/// Whether evidence must have been made for the exchange at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It must: the only choice of a key service.
    Demanded,
    /// It is recorded; judge it as if it were fresh. For an operator's tests of a policy.
    Assumed,
}

/// When in the life of a boot evidence is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment<'a> {
    /// Before it is closed: registers that are capped later must be zero.
    Open,
    /// After that, to reopen a volume: the boot's last register must show this.
    Closed(&'a ClosedBoot),
}

#[derive(Default)]
struct Trace(Vec<TraceLine>);

impl Trace {
    fn step(&mut self, key: impl Into<String>, finding: impl Into<String>, met: bool) -> bool {
        self.0.push(TraceLine {
            key: key.into(),
            finding: finding.into(),
            met,
        });
        met
    }
}

fn deny(reason: Reason, detail: impl Into<String>, remedy: impl Into<String>) -> Verdict {
    Verdict::Deny {
        reason,
        detail: detail.into(),
        remedy: remedy.into(),
    }
}

/// What one decision is about.
struct Bench<'a> {
    policy: &'a Policy,
    /// `volume-policy.NAME`.
    at: String,
    rules: &'a VolumePolicy,
    claims: &'a Claims,
    moment: Moment<'a>,
    now: Timestamp,
}

impl Policy {
    /// Judges claims of a boot that is not closed yet by the volume policy of that name.
    #[must_use]
    pub fn judge(
        &self,
        volume_policy: &str,
        claims: &Claims,
        freshness: Freshness,
        now: Timestamp,
    ) -> Decision {
        self.judge_at(volume_policy, claims, freshness, Moment::Open, now)
    }

    /// Judges claims of a certain moment in the life of a boot by the volume policy of that name.
    #[must_use]
    pub fn judge_at(
        &self,
        volume_policy: &str,
        claims: &Claims,
        freshness: Freshness,
        moment: Moment<'_>,
        now: Timestamp,
    ) -> Decision {
        let mut trace = Trace::default();
        let at = format!("volume-policy.{volume_policy}");
        let ended = match self.volume_policies.get(volume_policy) {
            Some(rules) => Bench {
                policy: self,
                at,
                rules,
                claims,
                moment,
                now,
            }
            .judge(freshness, &mut trace),
            None => {
                let detail = format!("the policy file has no [{at}]");
                trace.step(at, "is not in the policy file", false);
                let remedy = "add it, or create the volume under another policy";
                Err(deny(Reason::Internal, detail, remedy))
            }
        };
        let verdict = match ended {
            Ok((image, platform)) => Verdict::Approve { image, platform },
            Err(verdict) => verdict,
        };
        Decision {
            verdict,
            trace: trace.0,
        }
    }
}

impl Bench<'_> {
    /// The image that booted and the platform that runs it.
    fn judge(
        &self,
        freshness: Freshness,
        trace: &mut Trace,
    ) -> Result<(String, Option<String>), Verdict> {
        self.fresh(freshness, trace)?;
        self.trust_class(trace)?;
        let platform = self.platform(trace)?;
        self.pre_cap(trace)?;
        let image = self.booted(trace)?;
        Ok((image, platform))
    }

    fn fresh(&self, freshness: Freshness, trace: &mut Trace) -> Result<(), Verdict> {
        let fresh = self.claims.binding == Binding::Exchange;
        if fresh || freshness == Freshness::Assumed {
            return Ok(());
        }
        let finding = "wants evidence made for this exchange, this one was not compared with any";
        trace.step(self.at.clone(), finding, fresh);
        Err(deny(
            Reason::BinderMismatch,
            "the evidence is not bound to an exchange, so that it may be old or of another node",
            "collect evidence for the request at hand",
        ))
    }

    fn trust_class(&self, trace: &mut Trace) -> Result<(), Verdict> {
        let (wanted, found) = (self.rules.trust_class, self.claims.trust_class);
        let shown = found.map_or("none", TrustClass::name);
        let finding = format!("wants {wanted}, evidence has {shown}");
        if trace.step(self.key("trust_class"), finding, Some(wanted) == found) {
            return Ok(());
        }
        Err(deny(
            Reason::TrustClass,
            format!("evidence of trust class {shown}, policy wants {wanted}"),
            "run the node where its evidence has that class",
        ))
    }

    fn images(&self) -> impl Iterator<Item = &Image> {
        let names = self.rules.images.iter();
        names.filter_map(|name| self.policy.images.get(name))
    }

    fn key(&self, field: &str) -> String {
        format!("{}.{field}", self.at)
    }
}
