//! `dawnkey evidence show`: what evidence says of itself, without verifying anything.

use super::input::InputArgs;
use super::page::Page;
use super::read::{Shown, read};
use super::sections;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::Args;
use jiff::Timestamp;

/// Show what recorded evidence says, without verifying it
///
/// Anybody can write anything into evidence: only `dawnkey evidence verify` tells what is true.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey evidence show node.evidence
  dawnkey evidence show report.bin --kind snp --vek vcek.der
  dawnkey evidence show quote.bin --kind tdx --json | jq .td.mr_td")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    input: InputArgs,
}

impl ShowArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let evidence = self.input.read()?;
        let shown = read(&evidence).map_err(|problem| {
            let what = format!("show {} evidence: {problem}", evidence.kind());
            Failure::local(
                what,
                self.input.place(),
                "evidence of the kind that was named",
            )
        })?;
        output.show(&shown, || page(&shown, Timestamp::now()))?;
        Ok(Exit::Done)
    }
}

fn page(shown: &Shown, now: Timestamp) -> String {
    let mut page = Page::new(&[
        format!("UNVERIFIED {} evidence", shown.kind),
        "  nothing below was checked: anybody could have written it".to_owned(),
    ]);
    let source = Some("its own words");
    if let Some(report) = &shown.report {
        page.section("SNP report", source, sections::report(report));
    }
    for vek in &shown.vek {
        page.section("Endorsement certificate", source, sections::vek(vek, now));
    }
    if let Some(td) = &shown.td {
        page.section("TD", source, sections::td(td, shown.td15.as_ref()));
    }
    if let Some(platform) = &shown.platform {
        page.section("Platform", source, sections::platform(platform, now));
    }
    if let Some(azure) = &shown.azure {
        page.section("Azure paravisor", source, sections::hcl(azure));
    }
    if let Some(tpm) = &shown.tpm {
        page.section("TPM", source, sections::tpm(tpm, now));
    }
    page.table("PCRs (SHA-256)", source, sections::pcrs(&shown.pcrs));
    page.section("Besides", None, vec![("parts", shown.parts.join(", "))]);
    page.into_text()
}
