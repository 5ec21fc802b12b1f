//! A decision of a policy, as `policy explain` and `policy test` print it.

use crate::outcome::Failure;
use crate::output::table;
use dawnkey_attest::claims::Binding;
use dawnkey_keyservice::policy::{Decision, Policy, TraceLine, Verdict};
use dawnkey_proto::message::{printable, reason_code};
use serde::Serialize;
use std::path::Path;

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    volume_policy: String,
    /// What the evidence was compared with when it was verified.
    binding: Binding,
    pub(super) approved: bool,
    /// The key of the policy file that decided.
    rule: String,
    image: Option<String>,
    platform: Option<String>,
    reason: Option<String>,
    detail: Option<String>,
    remedy: Option<String>,
    trace: Vec<TraceLine>,
}

/// Refuses a volume policy that is not in the file.
pub(super) fn known(policy: &Policy, name: &str, file: &Path) -> Result<(), Failure> {
    if policy.volume_policies.contains_key(name) {
        return Ok(());
    }
    let known: Vec<&str> = policy.volume_policies.keys().map(String::as_str).collect();
    Err(Failure::usage(
        format!("judge: no [volume-policy.{name}] in the policy"),
        file.display(),
        format!("one of: {}", known.join(", ")),
    ))
}

impl Report {
    pub(super) fn new(volume_policy: &str, binding: Binding, decision: Decision) -> Self {
        let rule = decision.rule().to_owned();
        let mut report = Self {
            volume_policy: volume_policy.to_owned(),
            binding,
            approved: false,
            rule,
            image: None,
            platform: None,
            reason: None,
            detail: None,
            remedy: None,
            trace: decision.trace,
        };
        match decision.verdict {
            Verdict::Approve { image, platform } => {
                report.approved = true;
                report.image = Some(image);
                report.platform = platform;
            }
            Verdict::Deny {
                reason,
                detail,
                remedy,
            } => {
                report.reason = Some(reason_code(reason));
                report.detail = Some(detail);
                report.remedy = Some(remedy);
            }
        }
        report
    }

    pub(super) fn text(&self) -> String {
        let rows: Vec<[String; 3]> = self
            .trace
            .iter()
            .map(|line| {
                let met = if line.met { "met" } else { "NOT met" };
                [met.to_owned(), line.key.clone(), printable(&line.finding)]
            })
            .collect();
        let steps = table(["RESULT", "KEY", "FINDING"], &rows);
        let verdict = match (&self.image, &self.reason) {
            (Some(image), _) => {
                let on = self
                    .platform
                    .as_ref()
                    .map(|name| format!(" on platform {name}"));
                format!("approved: image {image}{}", on.unwrap_or_default())
            }
            (None, reason) => format!(
                "denied: {}: {}\nto pass: {}",
                reason.as_deref().unwrap_or_default(),
                printable(self.detail.as_deref().unwrap_or_default()),
                self.remedy.as_deref().unwrap_or_default()
            ),
        };
        let unchecked = match self.binding {
            Binding::Exchange => "",
            Binding::Value => {
                "not checked: that the evidence is fresh; it was compared with the value you gave\n"
            }
            Binding::Unknown => {
                "not checked: that the evidence is fresh; it was compared with nothing\n"
            }
        };
        format!("{steps}\n{verdict}\ndecided by: {}\n{unchecked}", self.rule)
    }
}
