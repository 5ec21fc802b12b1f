//! What a policy file allows but should not, or asks for in vain.

use super::{Enrol, Image, Policy, VolumePolicy};
use crate::release::Rollback;
use dawnkey_attest::claims::TrustClass;
use jiff::{SignedDuration, Timestamp};
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
    let mut findings = Vec::new();
    if policy.volume_policies.is_empty() {
        findings.push(finding(
            Severity::Error,
            "volume-policy",
            "there is none, so that no volume can be created",
            "add a [volume-policy.NAME]",
        ));
    }
    for (name, rules) in &policy.volume_policies {
        volume_policy(name, rules, &mut findings);
        if rules.enrol == Enrol::Endorsed && policy.roots.tpm_ek.is_empty() {
            findings.push(finding(
                Severity::Error,
                "roots.tpm_ek",
                format!("is empty, so that volume policy {name} can enrol no machine"),
                "name files with the CA certificates of your TPMs' endorsement keys",
            ));
        }
    }
    for image in policy.images.values() {
        one_image(policy, image, now, &mut findings);
    }
    twins(policy, &mut findings);
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.key.cmp(&b.key)));
    findings
}

fn finding(
    severity: Severity,
    key: impl Into<String>,
    problem: impl Into<String>,
    remedy: &str,
) -> Finding {
    Finding {
        severity,
        key: key.into(),
        problem: problem.into(),
        remedy: remedy.to_owned(),
    }
}

fn volume_policy(name: &str, rules: &VolumePolicy, findings: &mut Vec<Finding>) {
    use Severity::{Error, Note, Warning};
    let key = |field: &str| format!("volume-policy.{name}.{field}");
    let mut found = |severity, field: &str, problem: &str, remedy: &str| {
        findings.push(finding(severity, key(field), problem, remedy));
    };
    if rules.images.is_empty() {
        let remedy = "add one with `dawnkey policy add-image` and list it here";
        found(
            Error,
            "images",
            "no image is listed, so that no node can pass",
            remedy,
        );
    }
    if rules.trust_class != TrustClass::Hypervisor {
        let remedy = "use \"hypervisor\" and accept that the hypervisor is trusted";
        found(
            Error,
            "trust_class",
            "no kind of evidence of this version has this class",
            remedy,
        );
    }
    if !rules.pcrs_pre_cap.contains(&15) {
        let problem =
            "PCR 15 is not asked for, so that the running system can ask for the key again";
        found(Warning, "pcrs_pre_cap", problem, "pcrs_pre_cap = [15]");
    }
    if rules.rollback == Rollback::Warn {
        let problem = "an older copy of the disk is accepted";
        found(
            Warning,
            "rollback",
            problem,
            "set it back to \"refuse\" once the disk has unlocked",
        );
    }
    match (rules.enrol, rules.instances.is_empty()) {
        (Enrol::Endorsed, true) => found(
            Note,
            "instances",
            "any endorsed machine that boots a listed image first owns a new volume",
            "list the instances if you know them",
        ),
        (Enrol::Never, _) => found(
            Note,
            "enrol",
            "only machines that are enrolled already can pass",
            "enrol = \"endorsed\" to let new ones in",
        ),
        (Enrol::Endorsed, false) => {}
    }
}

fn one_image(policy: &Policy, image: &Image, now: Timestamp, findings: &mut Vec<Finding>) {
    use Severity::{Note, Warning};
    let key = |field: &str| format!("image.{}.{field}", image.name);
    let mut found = |severity, field: &str, problem: String, remedy: &str| {
        findings.push(finding(severity, key(field), problem, remedy));
    };
    let used = |rules: &VolumePolicy| rules.images.contains(&image.name);
    if !policy.volume_policies.values().any(used) {
        found(
            Note,
            "name",
            "no volume policy lists this image".into(),
            "list it or remove it",
        );
    }
    for (pcr, what) in [
        (4, "the boot loader and kernel image"),
        (11, "the parts of the unified kernel image"),
        (12, "kernel arguments that were added at boot"),
    ] {
        match image.pcrs.get(&pcr) {
            None => found(
                Warning,
                "pcrs.sha256",
                format!("PCR {pcr} is free: {what} can be anything"),
                "take the values from `dawnkey measure uki`",
            ),
            Some(value) if pcr != 12 && value.0 == [0; 32] => found(
                Warning,
                &format!("pcrs.sha256.{pcr}"),
                format!("PCR {pcr} is all zero: {what} were not measured"),
                "take the values from `dawnkey measure uki`",
            ),
            Some(_) => {}
        }
    }
    match image.valid_until {
        Some(end) if end <= now => found(
            Warning,
            "valid_until",
            format!("ended at {end}: nodes that boot this image are refused"),
            "remove the image or renew it",
        ),
        Some(end) if end.duration_since(now) < SignedDuration::from_hours(30 * 24) => found(
            Note,
            "valid_until",
            format!("ends at {end}, in less than 30 days"),
            "roll out a newer image or renew it",
        ),
        _ => {}
    }
}

fn twins(policy: &Policy, findings: &mut Vec<Finding>) {
    let images: Vec<&Image> = policy.images.values().collect();
    for (n, image) in images.iter().enumerate() {
        if let Some(twin) = images.iter().take(n).find(|other| other.pcrs == image.pcrs) {
            findings.push(finding(
                Severity::Note,
                format!("image.{}.pcrs.sha256", image.name),
                format!("has the values of image {}", twin.name),
                "keep one of them",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{FILE, parse};
    use super::*;

    fn keys(text: &str) -> Vec<(Severity, String)> {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        lint_at(&parse(text).unwrap(), now)
            .into_iter()
            .map(|f| (f.severity, f.key))
            .collect()
    }

    fn has(text: &str, severity: Severity, key: &str) -> bool {
        keys(text).contains(&(severity, key.to_owned()))
    }

    #[test]
    fn good_policy_gets_a_note_on_first_come_ownership_only() {
        let note = (Severity::Note, "volume-policy.state.instances".to_owned());
        assert_eq!(keys(FILE), [note]);
    }

    #[test]
    fn finds_policy_without_images_and_image_without_policy() {
        let none = FILE.replacen("images = [\"node-2026-11\"]", "images = []", 1);
        assert!(has(&none, Severity::Error, "volume-policy.state.images"));
        assert!(has(&none, Severity::Note, "image.node-2026-11.name"));
    }

    #[test]
    fn finds_missing_roots() {
        let none = FILE.replacen("[\"ek-ca.pem\"]", "[]", 1);
        assert!(has(&none, Severity::Error, "roots.tpm_ek"));
    }

    #[test]
    fn finds_free_and_unmeasured_pcrs() {
        let free = FILE.replacen("\n11 = \"", "\n13 = \"", 1);
        assert!(has(
            &free,
            Severity::Warning,
            "image.node-2026-11.pcrs.sha256"
        ));
        let zero = FILE.replacen(&"4".repeat(64), &"0".repeat(64), 1);
        assert!(has(
            &zero,
            Severity::Warning,
            "image.node-2026-11.pcrs.sha256.4"
        ));
    }

    #[test]
    fn finds_weak_rules() {
        let second = FILE.replacen("pcrs_pre_cap = [15]", "pcrs_pre_cap = []", 1);
        assert!(has(
            &second,
            Severity::Warning,
            "volume-policy.state.pcrs_pre_cap"
        ));
        let warn = FILE.replacen("rollback = \"refuse\"", "rollback = \"warn\"", 1);
        assert!(has(
            &warn,
            Severity::Warning,
            "volume-policy.state.rollback"
        ));
        let tee = FILE.replacen("\"hypervisor\"", "\"tee\"", 1);
        assert!(has(
            &tee,
            Severity::Error,
            "volume-policy.state.trust_class"
        ));
    }

    #[test]
    fn finds_expired_and_expiring_images() {
        let key = "image.node-2026-11.valid_until";
        let ended = FILE.replacen("2027-11-01", "2026-11-01", 1);
        assert!(has(&ended, Severity::Warning, key));
        let soon = FILE.replacen("2027-11-01", "2026-12-01", 1);
        assert!(has(&soon, Severity::Note, key));
    }

    #[test]
    fn finds_images_with_the_same_values() {
        let (_, image) = FILE.split_once("[[image]]").unwrap();
        let (image, _) = image.split_once("[volume-policy").unwrap();
        let twin = image.replacen("node-2026-11", "other", 1);
        let text = format!("{FILE}\n[[image]]{twin}");
        assert!(has(&text, Severity::Note, "image.other.pcrs.sha256"));
    }
}
