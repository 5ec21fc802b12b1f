//! `[kek]`: which providers of key-encryption keys there are.

use crate::kek::CacheLimits;
use dawnkey_kek::{Kind, MasterSource, ProviderConfig};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// The providers of key-encryption keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekConfig {
    /// Name of the provider that makes new DEKs while the store says nothing of it yet.
    pub active: String,
    /// Providers that wrap every DEK beside the active one.
    pub also_wrap: Vec<String>,
    /// File with the public key of the offline recovery recipient.
    pub recovery_recipient: Option<PathBuf>,
    /// Bounds of the cache of unwrapped DEKs.
    pub cache: CacheLimits,
    /// Every provider, by distinct names; at least one.
    pub providers: Vec<ProviderSection>,
}

/// One `[[kek.provider]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSection {
    /// Name in records, reports and commands: 1 to 32 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// How long one call may take.
    pub deadline: Duration,
    /// The operator accepts that the KMS binds a wrapped DEK to no volume.
    pub allow_without_aad: bool,
    /// What only this kind has.
    pub config: ProviderConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    active: Option<String>,
    #[serde(default)]
    also_wrap: Vec<String>,
    recovery_recipient: Option<PathBuf>,
    cache_seconds: Option<u32>,
    cache_entries: Option<usize>,
    #[serde(default)]
    provider: Vec<Table>,
}

/// The key and what is wrong with it.
type Problem = (&'static str, String);

const PROVIDER: &str = "kek.provider";
const ACTIVE: &str = "kek.active";
const DEADLINE_SECONDS: u32 = 5;
const MAX_DEADLINE_SECONDS: u32 = 60;
const MAX_PROVIDERS: usize = 16;
const MAX_CACHE: Duration = Duration::from_secs(3600);
const MAX_CACHE_ENTRIES: usize = 1 << 20;

impl Section {
    pub(super) fn settings(self, base: &Path) -> Result<KekConfig, Problem> {
        let problem = |text: String| Err((PROVIDER, text));
        if self.provider.len() > MAX_PROVIDERS {
            return problem(format!("at most {MAX_PROVIDERS} can be configured"));
        }
        let mut providers: Vec<ProviderSection> = Vec::new();
        for table in self.provider {
            let section = provider(table)?;
            if providers.iter().any(|other| other.name == section.name) {
                return problem(format!("two are called `{}`", section.name));
            }
            providers.push(section);
        }
        for section in &providers {
            opens(section, &providers)?;
        }
        let active = match (self.active, providers.as_slice()) {
            (_, []) => return problem("at least one [[kek.provider]] is needed".into()),
            (None, [only]) => only.name.clone(),
            (Some(name), all) if all.iter().any(|p| p.name == name) => name,
            (Some(name), _) => {
                return Err((ACTIVE, format!("no [[kek.provider]] is called `{name}`")));
            }
            (None, _) => {
                let text = "with several [[kek.provider]], must name the one that makes new DEKs";
                return Err((ACTIVE, text.into()));
            }
        };
        for name in &self.also_wrap {
            if !providers.iter().any(|p| p.name == *name) {
                let text = format!("no [[kek.provider]] is called `{name}`");
                return Err(("kek.also_wrap", text));
            }
        }
        Ok(KekConfig {
            active,
            also_wrap: self.also_wrap,
            recovery_recipient: self.recovery_recipient.map(|file| base.join(file)),
            cache: cache(self.cache_seconds, self.cache_entries)?,
            providers,
        })
    }
}

/// What opens a wrapped master secret is another provider, whose own is not wrapped.
fn opens(section: &ProviderSection, all: &[ProviderSection]) -> Result<(), Problem> {
    let Some((_, name)) = section.config.wrapped_master() else {
        return Ok(());
    };
    let named = all.iter().find(|other| other.name == name);
    match named {
        Some(other) if other.config.master_source() == Some(&MasterSource::Operator) => {
            let text = format!(
                "`{}`: unwrap_with = `{name}`: that one waits for an operator itself; give this provider its secret with master_secret = \"operator\"",
                section.name
            );
            Err((PROVIDER, text))
        }
        Some(other) if other.config.wrapped_master().is_none() => Ok(()),
        Some(_) => {
            let text = format!(
                "`{}`: unwrap_with = `{name}`: the master secret of that one is wrapped too",
                section.name
            );
            Err((PROVIDER, text))
        }
        None => {
            let text = format!(
                "`{}`: unwrap_with: no [[kek.provider]] is called `{name}`",
                section.name
            );
            Err((PROVIDER, text))
        }
    }
}

fn cache(seconds: Option<u32>, entries: Option<usize>) -> Result<CacheLimits, Problem> {
    let given = CacheLimits::default();
    let life = seconds.map_or(given.life, |s| Duration::from_secs(s.into()));
    if life > MAX_CACHE {
        let text = format!("must be at most {}; 0 keeps nothing", MAX_CACHE.as_secs());
        return Err(("kek.cache_seconds", text));
    }
    let entries = entries.unwrap_or(given.entries);
    if !(1..=MAX_CACHE_ENTRIES).contains(&entries) {
        let text = format!("must be 1 to {MAX_CACHE_ENTRIES}; cache_seconds = 0 keeps nothing");
        return Err(("kek.cache_entries", text));
    }
    Ok(CacheLimits { life, entries })
}

fn provider(mut table: Table) -> Result<ProviderSection, Problem> {
    let name: String = required(&mut table, "name", "a provider")?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=32).contains(&name.len()) || !name.chars().all(plain) {
        let text = format!("name `{name}`: must be 1 to 32 of a-z, 0-9 and -");
        return Err((PROVIDER, text));
    }
    let problem = |text: String| (PROVIDER, format!("`{name}`: {text}"));
    let kind: String = required(&mut table, "kind", &name)?;
    let kind = Kind::from_name(&kind).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::name).join(", ");
        problem(format!("kind `{kind}`: must be one of {known}"))
    })?;
    let seconds = optional(&mut table, "deadline_seconds", &name)?.unwrap_or(DEADLINE_SECONDS);
    if !(1..=MAX_DEADLINE_SECONDS).contains(&seconds) {
        let text = format!("deadline_seconds: must be 1 to {MAX_DEADLINE_SECONDS}");
        return Err(problem(text));
    }
    let allow_without_aad = optional(&mut table, "allow_without_aad", &name)?.unwrap_or(false);
    let config = ProviderConfig::read(kind, Value::Table(table))
        .map_err(|e| problem(e.to_string().trim_end().to_owned()))?;
    Ok(ProviderSection {
        name,
        deadline: Duration::from_secs(seconds.into()),
        allow_without_aad,
        config,
    })
}

fn required<T: serde::de::DeserializeOwned>(
    table: &mut Table,
    key: &str,
    whose: &str,
) -> Result<T, Problem> {
    optional(table, key, whose)?.ok_or_else(|| (PROVIDER, format!("`{whose}`: lacks `{key}`")))
}

fn optional<T: serde::de::DeserializeOwned>(
    table: &mut Table,
    key: &str,
    whose: &str,
) -> Result<Option<T>, Problem> {
    let read = table.remove(key).map(Value::try_into).transpose();
    read.map_err(|e| {
        let text = e.to_string();
        (PROVIDER, format!("`{whose}`: {key}: {}", text.trim_end()))
    })
}

#[cfg(test)]
impl KekConfig {
    /// What the inside of `[kek]` says.
    pub(crate) fn for_test(text: &str) -> Self {
        let section: Result<Section, _> = toml::from_str(text);
        #[allow(clippy::unwrap_used)]
        section.unwrap().settings(Path::new("/")).unwrap()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cluster(name: &str) -> String {
        let salt = "00".repeat(32);
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"cluster\"\nsalt = \"{salt}\"\nmaster_secret = \"fd\"\n"
        )
    }

    fn read(text: &str) -> Result<KekConfig, Problem> {
        toml::from_str::<Section>(text)
            .unwrap()
            .settings(Path::new("/etc"))
    }

    #[test]
    fn the_only_provider_is_active_and_has_a_deadline() {
        let config = read(&cluster("prod-1")).unwrap();
        assert_eq!(config.active, "prod-1");
        let only = config.providers.first().unwrap();
        assert_eq!(only.deadline, Duration::from_secs(5));
        assert!(!only.allow_without_aad);
    }

    #[test]
    fn of_several_providers_one_must_be_named_active() {
        let two = cluster("a") + &cluster("b");
        assert_eq!(read(&two).unwrap_err().0, ACTIVE);
        assert_eq!(read(&format!("active = \"b\"\n{two}")).unwrap().active, "b");
        let refused = read(&format!("active = \"c\"\n{two}")).unwrap_err();
        assert_eq!(refused.0, ACTIVE);
    }

    #[test]
    fn refuses_what_no_provider_can_be_and_says_which() {
        let good = cluster("prod");
        for (bad, expected) in [
            (String::new(), "at least one"),
            (cluster("a") + &cluster("a"), "two are called `a`"),
            (cluster("Prod"), "name `Prod`"),
            (cluster(""), "name ``"),
            (
                good.replace("\"cluster\"", "\"kms\""),
                "one of cluster, aws-kms",
            ),
            (good.replace("kind", "sort"), "`prod`: lacks `kind`"),
            (good.replace("salt = \"00", "salt = \""), "64 hex digits"),
            (good.replace("\"fd\"", "\"hunter2\""), "--master-secret-fd"),
            (
                good.replace("\"fd\"", "\"credential:../x\""),
                "--master-secret-fd",
            ),
            (good.clone() + "deadline_seconds = 0", "1 to 60"),
            (
                good.clone() + "deadline_seconds = \"5\"",
                "deadline_seconds",
            ),
            (good.clone() + "surprise = 1", "surprise"),
        ] {
            let (key, problem) = read(&bad).unwrap_err();
            assert_eq!(key, PROVIDER);
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn reads_the_cache_the_recipient_and_who_wraps_beside_the_active_one() {
        let two = cluster("a") + &cluster("b");
        let all = "active = \"a\"\nalso_wrap = [\"b\"]\nrecovery_recipient = \"r.pub\"\ncache_seconds = 0\n";
        let config = read(&format!("{all}{two}")).unwrap();
        assert_eq!(config.also_wrap, ["b"]);
        assert_eq!(config.recovery_recipient.unwrap(), Path::new("/etc/r.pub"));
        assert!(config.cache.life.is_zero());
        for (bad, key) in [
            ("also_wrap = [\"c\"]", "kek.also_wrap"),
            ("cache_seconds = 3601", "kek.cache_seconds"),
            ("cache_entries = 0", "kek.cache_entries"),
        ] {
            let refused = read(&format!("active = \"a\"\n{bad}\n{two}")).unwrap_err();
            assert_eq!(refused.0, key);
        }
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn refuses_a_kind_that_this_build_does_not_have() {
        let (_, problem) = read(&cluster("p").replace("\"cluster\"", "\"aws-kms\"")).unwrap_err();
        assert_eq!(problem, "`p`: this build has no `aws-kms`");
    }
}
