//! `--check --live`: the store and every provider are asked, without serving and without changing a record or key.

use super::Found;
use crate::config::{Config, ProviderSection};
use crate::kek::Seat;
use crate::master::{self, MasterError};
use dawnkey_kek::{MasterSource, Provider};
use dawnkey_secret::MasterSecret;
use dawnkey_store::Inspected;
use std::path::Path;
use std::sync::Arc;

/// Opens the store as it is, and each provider for its probe. What cannot be looked at without a secret that was not
/// given, or beside a running service, is a note.
pub async fn live(config: &Config, fd: Option<u32>, credentials: Option<&Path>, found: &mut Found) {
    store(config, found).await;
    let mut opened: Vec<(&ProviderSection, Arc<dyn Provider>)> = Vec::new();
    for section in &config.kek.providers {
        if section.config.wrapped_master().is_some() {
            continue;
        }
        if let Some(master) = master_of(section, fd, credentials, found) {
            opened.extend(provider(section, master, found).await);
        }
    }
    for section in &config.kek.providers {
        if section.config.wrapped_master().is_some() {
            match crate::server::unwrap_master(section, &opened).await {
                Ok(master) => drop(provider(section, master, found).await),
                Err(error) => found.problem(error),
            }
        }
    }
}

async fn store(config: &Config, found: &mut Found) {
    match config.store.inspect().await {
        Ok(Inspected::Usable) => {}
        Ok(Inspected::New) => found.note(format!(
            "store: there is none yet; the first start makes it ({})",
            config.store.kind()
        )),
        Ok(Inspected::InUse) => {
            found.note("store: a running service has it open, so it was not looked at");
        }
        Err(error) => found.problem(error),
    }
}

/// The provider's master secret if it needs one; `None` when it cannot be opened without.
fn master_of(
    section: &ProviderSection,
    fd: Option<u32>,
    credentials: Option<&Path>,
    found: &mut Found,
) -> Option<Option<MasterSecret>> {
    let name = &section.name;
    match section.config.master_source() {
        Some(MasterSource::Operator) => {
            found.note(format!("provider `{name}`: an operator gives its master secret to the running service, so it was not asked"));
            return None;
        }
        Some(MasterSource::Fd) if fd.is_none() => {
            found.note(format!(
                "provider `{name}`: not asked without --master-secret-fd N"
            ));
            return None;
        }
        _ => {}
    }
    match master::of(section, fd, credentials) {
        Ok(master) => Some(master),
        Err(MasterError::NoCredentials(credential)) => {
            found.note(format!("provider `{name}`: not asked without the credential `{credential}` of the unit; run the check in it"));
            None
        }
        Err(error) => {
            found.problem(format!("provider `{name}`: {error}"));
            None
        }
    }
}

/// Opens one provider and takes its probe.
async fn provider<'a>(
    section: &'a ProviderSection,
    master: Option<MasterSecret>,
    found: &mut Found,
) -> Option<(&'a ProviderSection, Arc<dyn Provider>)> {
    let opened = section.config.open(&section.name, master).await;
    let provider = found.or_problem(opened)?;
    let seat = Seat::new(
        Arc::clone(&provider),
        section.deadline,
        section.allow_without_aad,
    );
    found.or_problem(seat)?;
    match tokio::time::timeout(section.deadline, provider.probe()).await {
        Ok(Ok(probe)) => {
            for finding in probe.findings.iter().filter(|finding| !finding.good) {
                let (name, subject) = (&section.name, &finding.subject);
                found.problem(format!("provider `{name}`: {subject}: {}", finding.detail));
            }
        }
        Ok(Err(error)) => found.problem(error),
        Err(_) => found.problem(format!(
            "provider `{}`: no answer within deadline_seconds = {}",
            section.name,
            section.deadline.as_secs()
        )),
    }
    Some((section, provider))
}
