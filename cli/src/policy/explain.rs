//! `dawnkey policy explain`: what a policy says to given claims, and which key of the file decided.

use super::lint::load;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, table};
use clap::Args;
use dawnkey_attest::claims::Claims;
use dawnkey_keyservice::policy::{Decision, TraceLine, Verdict};
use dawnkey_proto::message::{printable, reason_code};
use jiff::Timestamp;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Judge claims by a volume policy and show every step, without a service
///
/// Uses the code with which the service decides. Ends with code 1 if the policy denies. Leases, generations and the
/// enrolment of keys are the service's to know and play no part here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey policy explain policy.toml --volume-policy state --claims claims.json
  dawnkey policy explain policy.toml --volume-policy state --claims claims.json \\
      --at 2027-12-01T00:00:00Z")]
pub(crate) struct ExplainArgs {
    /// The policy file
    file: PathBuf,
    /// Name of the `[volume-policy]` to judge by
    #[arg(long, value_name = "NAME")]
    volume_policy: String,
    /// The claims of verified evidence, in JSON
    #[arg(long, value_name = "JSON")]
    claims: PathBuf,
    /// Judge as of this time, RFC 3339, instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Report {
    volume_policy: String,
    approved: bool,
    /// The key of the policy file that decided.
    rule: String,
    image: Option<String>,
    reason: Option<String>,
    detail: Option<String>,
    remedy: Option<String>,
    trace: Vec<TraceLine>,
}

impl ExplainArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let policy = load(&self.file)?;
        if !policy.volume_policies.contains_key(&self.volume_policy) {
            let known: Vec<&str> = policy.volume_policies.keys().map(String::as_str).collect();
            return Err(Failure::usage(
                format!(
                    "explain: no [volume-policy.{}] in the policy",
                    self.volume_policy
                ),
                self.file.display(),
                format!("one of: {}", known.join(", ")),
            ));
        }
        let claims = claims(&self.claims)?;
        let now = self.at.unwrap_or_else(Timestamp::now);
        let decision = policy.judge(&self.volume_policy, &claims, now);
        let report = Report::new(&self.volume_policy, decision);
        output.show(&report, || report.text())?;
        Ok(if report.approved {
            Exit::Done
        } else {
            Exit::Negative
        })
    }
}

fn claims(path: &Path) -> Result<Claims, Failure> {
    let bytes = files::read(path, "the claims", files::MAX_TEXT)?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Failure::local(
            format!("read the claims: {e}"),
            path.display(),
            "the claims of verified evidence in JSON, as docs/cli.md shows them",
        )
    })
}

impl Report {
    fn new(volume_policy: &str, decision: Decision) -> Self {
        let rule = decision.rule().to_owned();
        let mut report = Self {
            volume_policy: volume_policy.to_owned(),
            approved: false,
            rule,
            image: None,
            reason: None,
            detail: None,
            remedy: None,
            trace: decision.trace,
        };
        match decision.verdict {
            Verdict::Approve { image } => {
                report.approved = true;
                report.image = Some(image);
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

    fn text(&self) -> String {
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
            (Some(image), _) => format!("approved: image {image}"),
            (None, reason) => format!(
                "denied: {}: {}\nto pass: {}",
                reason.as_deref().unwrap_or_default(),
                printable(self.detail.as_deref().unwrap_or_default()),
                self.remedy.as_deref().unwrap_or_default()
            ),
        };
        format!("{steps}\n{verdict}\ndecided by: {}\n", self.rule)
    }
}
