//! `[recovery]`: where an operator can reach the node when no service answers, and whose grants it takes.

use super::{ConfigError, reader::Section};
use dawnkey_proto::recovery::PublicKey;
use std::net::SocketAddr;
use std::time::Duration;

/// Most recovery keys of a node.
const MAX_KEYS: usize = 16;

/// What the node does when no service answers. Without the section it does nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// Public halves of the keys whose grants count.
    pub keys: Vec<PublicKey>,
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// Whether the request is shown on the console and grants are taken from it.
    pub console: bool,
    /// How long the service is tried before; `None`: the service's whole budget.
    pub after: Option<Duration>,
    /// When to give up, counted from then on; `None`: never.
    pub give_up: Option<Duration>,
}

/// Reads the section.
pub(super) fn recovery(
    section: Option<Section<'_>>,
) -> Result<Option<RecoveryConfig>, ConfigError> {
    const KEYS: &str = "1 to 16 public keys, each `dawnkey-grant-1:` and 64 hex digits, as `dawnkey recovery-key new` writes them";
    const SECONDS: &str = "a whole number of seconds from 1 to 86400";
    let Some(mut section) = section else {
        return Ok(None);
    };
    let texts = section.optional_texts("keys", KEYS)?.unwrap_or_default();
    if texts.is_empty() || texts.len() > MAX_KEYS {
        let found = format!("{} keys", texts.len());
        return Err(section.invalid("keys", &found, KEYS));
    }
    let keys = texts.iter().map(|text| {
        let key = PublicKey::parse(text);
        key.map_err(|_| section.invalid("keys", text, KEYS))
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let right = "an address and port to listen on, \"0.0.0.0:7444\" or \"[::]:7444\"";
    let listen = section.optional("listen", right, |text| text.parse().ok())?;
    let after = section.seconds_if_given("after_seconds", SECONDS)?;
    let give_up = section.seconds_if_given("give_up_seconds", SECONDS)?;
    let console = section.flag("console", false)?;
    if listen.is_none() && !console {
        let right = "an address and port, unless `console` is true";
        return Err(section.invalid("listen", "missing", right));
    }
    section.end()?;
    Ok(Some(RecoveryConfig {
        keys,
        listen,
        console,
        after,
        give_up,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Config, Outside};
    use super::*;
    use std::path::Path;

    const KEYS: &str = "keys = [\"dawnkey-grant-1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"]\n";
    const LISTEN: &str = "listen = \"[::]:7444\"\n";

    fn with(section: &str) -> Result<Option<RecoveryConfig>, ConfigError> {
        let digest = "00".repeat(32);
        let text = format!(
            "node_name = \"n\"\n[service]\nendpoints = [\"10.0.2.100:8443\"]\nname = \"keys.example\"\nspki_sha256 = \"{digest}\"\n\
             [attestation]\nkind = \"snp\"\n[secret]\nid = \"5b1d1f0e-33b6-4d6e-8f2a-000000000001\"\n{section}"
        );
        let outside = Outside::default();
        Config::parse(&text, Path::new("agent.toml"), &outside).map(|config| config.recovery)
    }

    #[test]
    fn without_a_section_there_is_no_recovery() {
        assert_eq!(with("").unwrap(), None);
    }

    #[test]
    fn takes_keys_an_address_and_times_and_defaults_none_of_the_first_two() {
        let given = format!("[recovery]\n{KEYS}{LISTEN}after_seconds = 20");
        let recovery = with(&given).unwrap().unwrap();
        assert_eq!(recovery.listen, Some("[::]:7444".parse().unwrap()));
        assert!(KEYS.contains(&recovery.keys.first().unwrap().text()));
        assert_eq!(recovery.after, Some(Duration::from_secs(20)));
        assert_eq!((recovery.give_up, recovery.console), (None, false));
        let typed = format!("[recovery]\n{KEYS}console = true");
        let typed = with(&typed).unwrap().unwrap();
        assert_eq!((typed.listen, typed.console), (None, true));
        for bad in [
            KEYS.to_owned(),
            format!("keys = []\n{LISTEN}"),
            format!("keys = [\"0011\"]\n{LISTEN}"),
            format!("{KEYS}listen = \"node-1:7444\""),
            format!("{KEYS}{LISTEN}give_up_seconds = 0"),
        ] {
            let refused = with(&format!("[recovery]\n{bad}")).unwrap_err();
            assert!(matches!(refused, ConfigError::Invalid { .. }), "{refused}");
        }
        let refused = with(&format!("[recovery]\n{LISTEN}")).unwrap_err();
        assert!(matches!(refused, ConfigError::Invalid { .. }));
        let refused = with(&format!("[recovery]\n{KEYS}{LISTEN}key = 1")).unwrap_err();
        assert!(matches!(refused, ConfigError::UnknownField { .. }));
    }
}
