//! `dawnkey policy lint`: whether a policy file is valid, and what in it an operator should look at.

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, note};
use clap::Args;
use dawnkey_keyservice::policy::{Finding, Policy, PolicyError, Severity, lint};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Check a policy file: what is wrong with it, and what is allowed but unwise
///
/// Ends with code 1 if the file is not valid or has errors or warnings. Notes alone are no reason to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey policy lint policy.toml
  dawnkey policy lint policy.toml --json | jq -e '.findings | length == 0'")]
pub(crate) struct LintArgs {
    /// The policy file
    file: PathBuf,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Report {
    policy: String,
    valid: bool,
    /// What makes it invalid.
    error: Option<String>,
    sha256: Option<String>,
    findings: Vec<Finding>,
}

impl LintArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let text = files::read_text(&self.file, "the policy")?;
        let report = match Policy::parse(&self.file, &text) {
            Ok(policy) => Report {
                policy: self.file.display().to_string(),
                valid: true,
                error: None,
                findings: lint(&policy),
                sha256: Some(policy.digest),
            },
            Err(e) => Report {
                policy: self.file.display().to_string(),
                valid: false,
                error: Some(e.to_string()),
                findings: Vec::new(),
                sha256: None,
            },
        };
        output.show(&report, || report.text())?;
        let clean = report.valid && report.findings.iter().all(|f| f.severity == Severity::Note);
        Ok(if clean { Exit::Done } else { Exit::Negative })
    }
}

impl Report {
    fn text(&self) -> String {
        if let Some(error) = &self.error {
            return format!("invalid: {error}\n");
        }
        let mut text = String::new();
        for finding in &self.findings {
            let name = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            text.push_str(&format!(
                "{name:<7}  {}: {}; {}\n",
                finding.key, finding.problem, finding.remedy
            ));
        }
        let digest = self.sha256.as_deref().unwrap_or_default();
        let count = |severity| {
            self.findings
                .iter()
                .filter(|f| f.severity == severity)
                .count()
        };
        text.push_str(&format!(
            "{}: valid; errors {}, warnings {}, notes {}; sha256 {digest}\n",
            self.policy,
            count(Severity::Error),
            count(Severity::Warning),
            count(Severity::Note),
        ));
        text
    }
}

/// Loads a policy that a command needs for something else; that it cannot be loaded is a failure then.
pub(super) fn load(path: &Path) -> Result<Policy, Failure> {
    let text = files::read_text(path, "the policy")?;
    Policy::parse(path, &text).map_err(|e| invalid(path, &e))
}

fn invalid(path: &Path, error: &PolicyError) -> Failure {
    Failure::local(
        error,
        path.display(),
        "a policy that `dawnkey policy lint` accepts",
    )
}

/// Says after an edit what `lint` finds invalid. The edit itself stands.
pub(super) fn note_if_invalid(path: &Path, text: &str) {
    if let Err(e) = Policy::parse(path, text) {
        note(&format!("note: the policy is not valid yet: {e}"));
    }
}
