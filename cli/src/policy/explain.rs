//! `dawnkey policy explain`: what a policy says to given claims, and which key of the file decided.

use super::lint::load;
use super::verdict::{Report, known};
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::Args;
use dawnkey_attest::claims::Claims;
use dawnkey_keyservice::policy::Freshness;
use jiff::Timestamp;
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
    /// Judge claims of recorded evidence as if they were fresh
    #[arg(long)]
    recorded: bool,
    /// Judge as of this time, RFC 3339, instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

impl ExplainArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let policy = load(&self.file)?;
        known(&policy, &self.volume_policy, &self.file)?;
        let claims = claims(&self.claims)?;
        let now = self.at.unwrap_or_else(Timestamp::now);
        let freshness = match self.recorded {
            true => Freshness::Assumed,
            false => Freshness::Demanded,
        };
        let decision = policy.judge_with_identity(&self.volume_policy, &claims, freshness, now);
        let report = Report::new(&self.volume_policy, claims.binding, decision);
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
