//! `--check`: everything that can be found out about a configuration without a start, and all of it at once.
//!
//! Nothing is opened for writing, made or changed, and no secret is needed. [`live`] goes on from there: it asks the
//! store and every provider.

mod credentials;
mod files;
pub mod live;

use crate::config::Config;
use crate::policy::Policy;
use crate::server;
use dawnkey_kek::WrappedSecret;
use dawnkey_kek::recovery::Recipient;
use dawnkey_store::StoreConfig;
use std::fmt::Display;
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What keeps the service from starting or from working: one line each, with what, where and what would be right.
    pub problems: Vec<String>,
    /// What it can live with, or what could not be looked at: one line each.
    pub notes: Vec<String>,
    /// The policy, where it is usable.
    pub policy: Option<Policy>,
}

impl Found {
    fn problem(&mut self, text: impl Display) {
        self.problems.push(line(&text));
    }

    fn note(&mut self, text: impl Display) {
        self.notes.push(line(&text));
    }

    fn or_problem<T, E: Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(error)).ok()
    }
}

/// One line of whatever a library says in several.
fn line(text: &impl Display) -> String {
    let text = text.to_string();
    let parts = text.lines().map(str::trim).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("; ")
}

/// Looks at everything that `config`, read from the file `path`, names.
#[must_use]
pub fn check(path: &Path, config: &Config) -> Found {
    let mut found = Found::default();
    let policy = Policy::load(&config.policy);
    found.policy = found.or_problem(policy);
    tls(config, &mut found);
    if let StoreConfig::Redb(redb) = &config.store {
        files::written("the store ([store] path)", &redb.path, &mut found);
    }
    files::written(
        "the audit log ([audit] file)",
        &config.audit.file,
        &mut found,
    );
    if let Some(file) = &config.listen.addresses_file {
        files::directory_of("listen.addresses_file", file, &mut found);
    }
    if let Some(plugin) = &config.kubernetes_kms {
        files::directory_of("kubernetes_kms.socket", &plugin.socket, &mut found);
    }
    if let Some(settings) = &config.endorsements {
        let usable = dawnkey_endorse::service::check_settings(settings);
        found.or_problem(usable);
    }
    keks(config, &mut found);
    credentials::check(path, &mut found);
    found
}

fn tls(config: &Config, found: &mut Found) {
    for error in server::tls_problems(&config.tls, config.data_keys.as_ref()) {
        found.problem(error);
    }
    let place = config.tls.certificate.display();
    match server::validity(&config.tls.certificate, jiff::Timestamp::now()) {
        Some(server::Validity::Soon(days)) => found.note(format!(
            "certificate {place}: ends in {days} days; a new one takes effect with SIGHUP"
        )),
        // Agents have no clock that they trust; operators and callers in a cluster have.
        Some(server::Validity::Not(problem)) => found.note(format!(
            "certificate {place}: {problem}; nodes take it all the same, operators' tools and callers in a cluster do not"
        )),
        Some(server::Validity::Good) | None => {}
    }
}

/// Files of public content that providers name.
fn keks(config: &Config, found: &mut Found) {
    let kek = &config.kek;
    if let Some(path) = &kek.recovery_recipient {
        let read = server::public(path).map_err(|e| e.to_string());
        let parsed = read.and_then(|text| Recipient::parse(&text).map_err(|e| e.to_string()));
        if let Err(problem) = parsed {
            found.problem(format!(
                "{} (kek.recovery_recipient): {problem}",
                path.display()
            ));
        }
    }
    for section in &kek.providers {
        let Some((path, _)) = section.config.wrapped_master() else {
            continue;
        };
        let read = server::public(path).map_err(|e| e.to_string());
        if let Err(problem) = read.and_then(|text| WrappedSecret::parse(&text)) {
            found.problem(format!(
                "{} (wrapped master secret of `{}`): {problem}; dawnkey-keyservice --wrap-master-secret makes one",
                path.display(),
                section.name
            ));
        }
    }
}

#[cfg(test)]
mod tests;
