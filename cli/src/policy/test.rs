//! `dawnkey policy test`: what a policy says to recorded evidence, from its verification to the rule that decided.

use super::lint::load;
use super::verdict::{Report, known};
use crate::evidence::input::InputArgs;
use crate::evidence::{BinderArgs, Checked, Helpers, check};
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::Args;
use dawnkey_keyservice::policy::Freshness;
use jiff::Timestamp;
use std::path::PathBuf;

/// Verify recorded evidence with a policy's roots and judge it by one of its volume policies
///
/// Ends with code 1 if the evidence is refused or the policy denies. A key service accepts evidence of its own exchange only;
/// `--recorded` judges as if it were that. Leases, generations and enrolment are the service's to know and play no part here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey policy test policy.toml node.evidence --volume-policy state --recorded
  dawnkey policy test policy.toml report.bin --kind snp --vek vcek.der --crl milan.crl \\
      --volume-policy state --recorded --at 2026-11-22T12:00:00Z")]
pub(crate) struct TestArgs {
    /// The policy file
    policy: PathBuf,
    #[command(flatten)]
    input: InputArgs,
    /// Name of the `[volume-policy]` to judge by
    #[arg(long, value_name = "NAME")]
    volume_policy: String,
    /// Judge the recorded evidence as if it were fresh
    #[arg(long)]
    recorded: bool,
    #[command(flatten)]
    helpers: Helpers,
    #[command(flatten)]
    binder: BinderArgs,
    /// Verify and judge as of this time, RFC 3339, instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

impl TestArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let policy = load(&self.policy)?;
        known(&policy, &self.volume_policy, &self.policy)?;
        let evidence = self.input.read()?;
        let now = self.at.unwrap_or_else(Timestamp::now);
        let collateral = self.helpers.collateral(&evidence, &policy.roots, now)?;
        let binder = self.binder.binder()?;
        let checked = check(&evidence, &binder, &policy.roots, &collateral, now);
        let Checked::Accepted { claims, .. } = &checked else {
            output.show(&checked, || checked.text(now))?;
            return Ok(Exit::Negative);
        };
        let freshness = match self.recorded {
            true => Freshness::Assumed,
            false => Freshness::Demanded,
        };
        let decision = policy.judge_with_identity(&self.volume_policy, claims, freshness, now);
        let report = Report::new(&self.volume_policy, claims.binding, decision);
        output.show(&report, || report.text())?;
        Ok(match report.approved {
            true => Exit::Done,
            false => Exit::Negative,
        })
    }
}
