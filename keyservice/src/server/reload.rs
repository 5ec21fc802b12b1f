//! Reading files again while the service is at work: the policy, and what makes up its TLS identity.
//!
//! Each takes effect as a whole or not at all. What the configuration file says beyond that is in force after a restart;
//! a part that has changed is named in the log. Credentials for a KMS or a store are read from their files at each login.

use super::service::{Running, StartError};
use super::tls;
use crate::audit::Entry;
use crate::config::Config;
use crate::policy::Policy;
use crate::report::{self, Event};
use std::path::Path;

impl Running {
    /// Reads everything again that can be, and says in the log what was wrong and what needs a restart. `path` is the
    /// configuration file.
    pub async fn reload(&self, path: &Path) {
        let metrics = &self.desk.metrics;
        match Config::load(path) {
            Ok(config) => {
                for section in self.changed(&config) {
                    report::emit(&Event::NeedsRestart { section });
                }
            }
            Err(error) => {
                let what = "configuration";
                report::emit(&Event::Kept {
                    what,
                    error: &error,
                });
                metrics.reloaded(what, "kept");
            }
        }
        let policy = self.reload_policy().await;
        let tls = self.reload_tls().await;
        for (what, outcome) in [("policy", policy), ("tls", tls)] {
            let outcome = if outcome.is_ok() { "ok" } else { "kept" };
            metrics.reloaded(what, outcome);
        }
    }

    /// Sections of the configuration that differ from those in force.
    fn changed(&self, new: &Config) -> Vec<&'static str> {
        let old = &self.config;
        let sections = [
            ("service_id", old.service_id != new.service_id),
            ("listen", old.listen != new.listen),
            ("tls", old.tls != new.tls),
            ("store", old.store != new.store),
            ("kek", old.kek != new.kek),
            ("policy", old.policy != new.policy),
            ("audit", old.audit != new.audit),
            ("limits", old.limits != new.limits),
            ("endorsements", old.endorsements != new.endorsements),
            ("kubernetes_kms", old.kubernetes_kms != new.kubernetes_kms),
            ("data_keys", old.data_keys != new.data_keys),
        ];
        let differ = sections.iter().filter(|(_, differs)| *differs);
        differ.map(|(section, _)| *section).collect()
    }

    /// Reads the policy file again. When it is not usable, the one in force stays.
    pub async fn reload_policy(&self) -> Result<(), StartError> {
        let path = &self.config.policy;
        let policy = match Policy::load(path) {
            Ok(policy) => policy,
            Err(error) => {
                report::emit(&Event::PolicyKept { error: &error });
                return Err(error.into());
            }
        };
        let entry = Entry::new("policy").with("policy", policy.digest.clone());
        self.desk.audit.append(entry).await?;
        report::emit(&Event::PolicyLoaded {
            path,
            digest: &policy.digest,
        });
        self.desk.set_policy(policy);
        Ok(())
    }

    /// Reads certificate, key and admin CA again, for new connections. When they are not usable, those in force stay.
    pub async fn reload_tls(&self) -> Result<(), StartError> {
        let files = &self.config.tls;
        let loaded = match tls::load(files, self.config.data_keys.as_ref()) {
            Ok(loaded) => loaded,
            Err(error) => {
                report::emit(&Event::Kept {
                    what: "tls",
                    error: &error,
                });
                return Err(error.into());
            }
        };
        let key = hex::encode(loaded.own_spki.0);
        let entry = Entry::new("tls").with("service_key", key);
        self.desk.audit.append(entry).await?;
        self.tls.set(loaded);
        report::emit(&Event::TlsLoaded {
            path: &files.certificate,
        });
        Ok(())
    }
}
