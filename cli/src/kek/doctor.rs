//! `dawnkey doctor`: every KEK provider proved live by the service.

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use serde::Serialize;

/// Prove every KEK provider live
///
/// The running service wraps and unwraps a key that it throws away, and tries what must fail: the wrong volume, the wrong
/// epoch, a changed blob, a wrong key id, reading the key. Permissions that are missing are named as the KMS names them.
/// Ends with 1 when something is not as it must be. `dawnkey-keyservice --config FILE --doctor` does the same without a
/// running service.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey doctor
  dawnkey doctor aws-2027 --json | jq '.[].findings[] | select(.good | not)'")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Only this provider
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
}

#[derive(Debug, Serialize)]
struct ExaminationView {
    provider: String,
    kind: String,
    good: bool,
    findings: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
struct FindingView {
    subject: String,
    good: bool,
    detail: String,
}

impl From<wire::KekExamination> for ExaminationView {
    fn from(given: wire::KekExamination) -> Self {
        Self {
            provider: printable(&given.name),
            kind: printable(&given.kind),
            good: given.findings.iter().all(|finding| finding.good),
            findings: given
                .findings
                .into_iter()
                .map(|finding| FindingView {
                    subject: printable(&finding.subject),
                    good: finding.good,
                    detail: printable(&finding.detail),
                })
                .collect(),
        }
    }
}

impl DoctorArgs {
    /// Asks and prints.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let subject = match self.name.as_str() {
            "" => "every provider",
            name => name,
        };
        let mut admin = Admin::connect(self.profile.load()?)?;
        let answer = admin.call_kek("examine", subject, async |client| {
            let name = self.name.clone();
            client.doctor(wire::KekDoctorRequest { name }).await
        })?;
        let all: Vec<ExaminationView> = answer.providers.into_iter().map(Into::into).collect();
        output.show(&all, || all.iter().map(text).collect())?;
        Ok(match all.iter().all(|one| one.good) {
            true => Exit::Done,
            false => Exit::Negative,
        })
    }
}

fn text(one: &ExaminationView) -> String {
    let mut text = format!("{} ({})\n", one.provider, one.kind);
    for finding in &one.findings {
        let mark = if finding.good { "ok  " } else { "FAIL" };
        let (subject, detail) = (&finding.subject, &finding.detail);
        text.push_str(&format!("  {mark} {subject}: {detail}\n"));
    }
    text
}
