//! `dawnkey evidence verify`: whether evidence is genuine, and what it then proves.

use super::input::InputArgs;
use super::page::Page;
use super::sections;
use super::trust::{BinderArgs, Helpers, TrustArgs};
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::Args;
use dawnkey_attest::claims::{Binding, Claims};
use dawnkey_attest::evidence::{Binder, Evidence};
use dawnkey_attest::verify::{Collateral, Roots, UnixTime, verify};
use dawnkey_keyservice::policy::instance_of;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// Verify recorded evidence with the key service's own code and show what it proves
///
/// Ends with code 1 if the evidence is refused. That it is genuine does not say that any policy accepts it: see
/// `dawnkey policy test`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey evidence verify node.evidence --unbound
  dawnkey evidence verify report.bin --kind snp --vek vcek.der --without-crl --report-data 0011…
  dawnkey evidence verify quote.bin --kind tdx --collateral collateral.json --unbound \\
      --at 2026-11-22T12:00:00Z --json")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    helpers: Helpers,
    #[command(flatten)]
    binder: BinderArgs,
    /// Verify as of this time, RFC 3339, instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// What became of evidence, as `--json` shows it.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub(crate) enum Checked {
    /// It is genuine.
    Accepted {
        kind: &'static str,
        at: Timestamp,
        /// The machine, where evidence of a TEE names one; what `instances` of a policy lists.
        instance: Option<String>,
        claims: Box<Claims>,
    },
    /// It is not, or that cannot be told.
    Refused {
        kind: &'static str,
        at: Timestamp,
        /// Short stable name of the cause.
        reason: &'static str,
        /// Whether signatures, chains and bindings hold all the same.
        crypto: &'static str,
        detail: String,
    },
}

impl VerifyArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let evidence = self.input.read()?;
        let binder = self.binder.explicit(&evidence)?;
        let roots = self.trust.roots()?;
        let now = self.at.unwrap_or_else(Timestamp::now);
        let collateral = self.helpers.collateral(&evidence, &roots, now)?;
        let checked = check(&evidence, &binder, &roots, &collateral, now);
        output.show(&checked, || checked.text(now))?;
        Ok(match checked {
            Checked::Accepted { .. } => Exit::Done,
            Checked::Refused { .. } => Exit::Negative,
        })
    }
}

/// Verifies evidence.
pub(crate) fn check(
    evidence: &Evidence,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: Timestamp,
) -> Checked {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let kind = evidence.kind();
    match verify(evidence, binder, roots, collateral, time) {
        Ok(verified) => Checked::Accepted {
            kind,
            at: now,
            instance: instance_of(verified.claims()).map(|id| id.to_string()),
            claims: Box::new(verified.claims().clone()),
        },
        Err(error) => Checked::Refused {
            kind,
            at: now,
            reason: error.reason_class(),
            crypto: error.crypto().name(),
            detail: error.to_string(),
        },
    }
}

impl Checked {
    /// The page for people.
    pub(crate) fn text(&self, now: Timestamp) -> String {
        match self {
            Self::Refused {
                kind,
                at,
                reason,
                crypto,
                detail,
            } => {
                let heading = [
                    format!("REFUSED as of {at}: {kind} evidence, {reason}"),
                    format!("  why: {detail}"),
                    format!("  signatures, chains and bindings: {crypto}"),
                ];
                Page::new(&heading).into_text()
            }
            Self::Accepted {
                kind,
                at,
                instance,
                claims,
            } => {
                let bound = match claims.binding {
                    Binding::Exchange => "made for this exchange",
                    Binding::Value => "carries the value you gave",
                    Binding::Unknown => "NOT COMPARED: it may be old, or of another session",
                };
                let class = claims.trust_class.map_or("none", |class| class.name());
                let mut page = Page::new(&[
                    format!("VERIFIED as of {at}: {kind} evidence of trust class {class}"),
                    format!("  binding: {bound}"),
                ]);
                if let Some(instance) = instance {
                    page.line(&format!("  instance: {instance}"));
                }
                proven(&mut page, claims, now);
                page.into_text()
            }
        }
    }
}

fn proven(page: &mut Page, claims: &Claims, now: Timestamp) {
    let source = |section: &str| claims.sources.get(section).map(String::as_str);
    if let Some(snp) = &claims.snp {
        let title = format!("SNP report, {}", snp.product);
        page.section(&title, source("snp.report"), sections::report(&snp.report));
        page.section(
            "Endorsement certificate",
            source("snp.vek"),
            sections::vek(&snp.vek, now),
        );
    }
    if let Some(tdx) = &claims.tdx {
        let rows = sections::td(&tdx.td, tdx.td15.as_ref());
        page.section("TD", source("tdx.td"), rows);
        page.section(
            "Platform",
            source("tdx.platform"),
            sections::platform(&tdx.platform, now),
        );
        page.section("TCB", source("tdx.tcb"), sections::tcb(&tdx.tcb));
        page.section(
            "Collateral",
            None,
            sections::collateral(&tdx.collateral, now),
        );
    }
    if let Some(azure) = &claims.azure {
        page.section("Azure paravisor", source("azure"), sections::hcl(azure));
    }
    if let Some(tpm) = &claims.tpm {
        page.section("TPM", source("tpm"), sections::tpm(tpm, now));
    }
    page.table(
        "PCRs (SHA-256)",
        source("pcrs"),
        sections::pcrs(&claims.pcrs),
    );
    page.table("Events", source("events"), sections::events(&claims.events));
}
