//! The ring as `--json` and people see it.

use crate::outcome::{Exit, Failure};
use crate::output::{Output, dash, table};
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    providers: Vec<ProviderView>,
    pub(super) rewrap: ProgressView,
    /// Fingerprint of the recovery recipient; empty: none is configured.
    recovery_recipient: String,
    /// DEKs without a copy for it.
    unsealed: u64,
    cache: CacheView,
}

#[derive(Debug, Serialize)]
struct ProviderView {
    name: String,
    kind: String,
    state: String,
    since: String,
    configured: bool,
    also_wraps: bool,
    readiness: String,
    failure: String,
    deks: u64,
    usage: Vec<UsageView>,
    aad: bool,
    custody: String,
    rotation: bool,
    attested_release: bool,
}

#[derive(Debug, Serialize)]
struct UsageView {
    version: String,
    deks: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ProgressView {
    pub(super) pending: bool,
    pub(super) running: bool,
    began: String,
    ended: String,
    pub(super) total: u64,
    pub(super) done: u64,
    changed: u64,
    pub(super) failed: u64,
    pub(super) problem: String,
}

#[derive(Debug, Serialize)]
struct CacheView {
    hits: u64,
    misses: u64,
    entries: u64,
}

impl From<wire::KekProvider> for ProviderView {
    fn from(given: wire::KekProvider) -> Self {
        Self {
            name: printable(&given.name),
            kind: printable(&given.kind),
            state: printable(&given.state),
            since: printable(&given.since),
            configured: given.configured,
            also_wraps: given.also_wraps,
            readiness: printable(&given.readiness),
            failure: printable(&given.failure),
            deks: given.usage.iter().map(|usage| usage.deks).sum(),
            usage: given
                .usage
                .into_iter()
                .map(|usage| UsageView {
                    version: printable(&usage.version),
                    deks: usage.deks,
                })
                .collect(),
            aad: given.aad,
            custody: printable(&given.custody),
            rotation: given.rotation,
            attested_release: given.attested_release,
        }
    }
}

impl From<wire::KekStatusAnswer> for StatusView {
    fn from(given: wire::KekStatusAnswer) -> Self {
        let rewrap = given.rewrap.unwrap_or_default();
        Self {
            providers: given
                .providers
                .into_iter()
                .map(ProviderView::from)
                .collect(),
            rewrap: ProgressView {
                pending: rewrap.pending,
                running: rewrap.running,
                began: printable(&rewrap.began),
                ended: printable(&rewrap.ended),
                total: rewrap.total,
                done: rewrap.done,
                changed: rewrap.changed,
                failed: rewrap.failed,
                problem: printable(&rewrap.problem),
            },
            recovery_recipient: printable(&given.recipient),
            unsealed: given.unsealed,
            cache: CacheView {
                hits: given.cache_hits,
                misses: given.cache_misses,
                entries: given.cache_entries,
            },
        }
    }
}

impl StatusView {
    /// Prints it.
    pub(super) fn show(&self, output: Output) -> Result<Exit, Failure> {
        output.show(self, || self.text())?;
        Ok(Exit::Done)
    }

    fn text(&self) -> String {
        let rows: Vec<_> = self.providers.iter().map(ProviderView::row).collect();
        let mut text = table(["NAME", "KIND", "STATE", "DEKS", "READY"], &rows);
        for provider in &self.providers {
            for usage in provider.usage.iter().filter(|u| !u.version.is_empty()) {
                let (name, version, deks) = (&provider.name, &usage.version, usage.deks);
                text.push_str(&format!("{name}: {deks} DEKs by version {version}\n"));
            }
            if !provider.failure.is_empty() {
                text.push_str(&format!("{}: {}\n", provider.name, provider.failure));
            }
        }
        if self.recovery_recipient.is_empty() {
            text.push_str("recovery recipient: none; a lost KMS loses every volume\n");
        } else {
            let (recipient, unsealed) = (&self.recovery_recipient, self.unsealed);
            text.push_str(&format!("recovery recipient: {recipient}"));
            text.push_str(&match unsealed {
                0 => "\n".to_owned(),
                _ => format!("; {unsealed} DEKs have no copy for it, see `dawnkey kek rewrap`\n"),
            });
        }
        text.push_str(&self.rewrap.text());
        text
    }
}

impl ProviderView {
    fn row(&self) -> [String; 5] {
        let state = match self.also_wraps {
            true => format!("{}, wraps too", self.state),
            false => self.state.clone(),
        };
        let ready = match self.configured {
            true => dash(&self.readiness),
            false => "not configured".to_owned(),
        };
        [
            self.name.clone(),
            self.kind.clone(),
            state,
            self.deks.to_string(),
            ready,
        ]
    }
}

impl ProgressView {
    /// One line, or none where no rewrap is to be spoken of.
    pub(super) fn text(&self) -> String {
        let (done, total, failed) = (self.done, self.total, self.failed);
        let mut text = match (self.running, self.pending) {
            (true, _) => format!("rewrap: {done} of {total} records, {failed} failed\n"),
            (false, true) => "rewrap: not finished; `dawnkey kek rewrap` goes on\n".to_owned(),
            (false, false) if self.ended.is_empty() => String::new(),
            (false, false) => {
                let changed = self.changed;
                format!("rewrap: finished, {changed} of {total} records changed\n")
            }
        };
        if !self.problem.is_empty() {
            text.push_str(&format!("rewrap: {}\n", self.problem));
        }
        text
    }
}
