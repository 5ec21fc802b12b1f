//! What a policy file allows but should not, or asks for in vain.

mod data_key;
mod image;
mod node;
mod platform;
mod roots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_tee;
mod volume;

use super::Policy;
use jiff::Timestamp;
use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Allowed, but weaker than it looks, or about to stop working.
    Warning,
    /// No node can ever pass.
    Error,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The key of the policy file.
    pub key: String,
    /// What is the matter.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// Looks for everything that [`Policy::load`] accepts and an operator should know, as of now.
#[must_use]
pub fn lint(policy: &Policy) -> Vec<Finding> {
    lint_at(policy, Timestamp::now())
}

/// Like [`lint`], as of another time.
#[must_use]
pub fn lint_at(policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let mut all = Findings::default();
    if policy.volume_policies.is_empty() {
        all.add(
            Severity::Error,
            "volume-policy",
            "there is none, so that no volume can be created",
            "add a [volume-policy.NAME]",
        );
    }
    for (name, rules) in &policy.volume_policies {
        volume::check(policy, name, rules, &mut all);
        roots::check(policy, name, rules, &mut all);
    }
    for (name, platform) in &policy.platforms {
        platform::check(policy, name, platform, &mut all);
    }
    data_key::check(policy, &mut all);
    node::check(policy, &mut all);
    for image in policy.images.values() {
        image::check(policy, image, now, &mut all);
    }
    image::twins(policy, &mut all);
    let mut findings = all.0;
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.key.cmp(&b.key)));
    findings.dedup();
    findings
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        severity: Severity,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: &str,
    ) {
        self.0.push(Finding {
            severity,
            key: key.into(),
            problem: problem.into(),
            remedy: remedy.to_owned(),
        });
    }
}
