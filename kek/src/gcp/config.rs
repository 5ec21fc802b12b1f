//! The section of Google Cloud KMS.

use crate::{CredentialSource, Endpoint};
use serde::{Deserialize, Serialize};

/// Where the KEK is, and as whom it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The key: `projects/P/locations/L/keyRings/R/cryptoKeys/K`, without a version.
    pub key: KeyName,
    /// Another place than `https://cloudkms.googleapis.com`: a regional or private endpoint. A test server in clear text
    /// (`http://127.0.0.1:…`) gets no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// JSON file of a service account's key or of a workload identity federation (`external_account`). Without it: the
    /// metadata server of the host or pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
}

/// Resource name of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// A text that is no resource name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is named `projects/P/locations/L/keyRings/R/cryptoKeys/K`, without a version")]
pub struct NotAKeyName;

impl KeyName {
    /// The whole.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key beside this one.
    #[must_use]
    pub fn beside(&self, id: &str) -> Self {
        let (ring, _) = self.0.rsplit_once('/').unwrap_or_default();
        Self(format!("{ring}/{id}"))
    }

    /// The version in the resource name of a version of this key.
    #[must_use]
    pub fn version_in<'a>(&self, name: &'a str) -> Option<&'a str> {
        let version = name
            .strip_prefix(&self.0)?
            .strip_prefix("/cryptoKeyVersions/")?;
        let number =
            (1..=19).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit());
        number.then_some(version)
    }
}

impl TryFrom<String> for KeyName {
    type Error = NotAKeyName;

    fn try_from(text: String) -> Result<Self, NotAKeyName> {
        let word = |part: &str| {
            let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
            !part.is_empty() && part.bytes().all(letter) && part != ".."
        };
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [
                "projects",
                p,
                "locations",
                l,
                "keyRings",
                r,
                "cryptoKeys",
                k,
            ] if [p, l, r, k].into_iter().all(|part| word(part)) => Ok(Self(text)),
            _ => Err(NotAKeyName),
        }
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<KeyName, NotAKeyName> {
        text.to_owned().try_into()
    }

    #[test]
    fn takes_keys_and_refuses_versions_and_fragments() {
        let key = "projects/p-1/locations/global/keyRings/r/cryptoKeys/k";
        assert!(read(key).is_ok());
        assert!(read("projects/example.com:p/locations/eu/keyRings/r/cryptoKeys/k").is_ok());
        for text in [
            format!("{key}/cryptoKeyVersions/1"),
            format!("{key}/"),
            key.replace("global", ""),
            key.replace("global", ".."),
            key.replace("p-1", "p?1"),
            "k".into(),
        ] {
            assert_eq!(read(&text), Err(NotAKeyName), "{text}");
        }
    }

    #[test]
    fn reads_the_version_of_this_key_only() {
        let key = read("projects/p/locations/l/keyRings/r/cryptoKeys/k").unwrap();
        let version = |name: &str| key.version_in(name).map(str::to_owned);
        let base = key.as_str();
        assert_eq!(
            version(&format!("{base}/cryptoKeyVersions/12")).as_deref(),
            Some("12")
        );
        assert_eq!(version(&format!("{base}2/cryptoKeyVersions/12")), None);
        assert_eq!(version(&format!("{base}/cryptoKeyVersions/")), None);
        assert_eq!(version(&format!("{base}/cryptoKeyVersions/1/2")), None);
        assert_eq!(version(base), None);
    }

    /// What `dawnkey import-uri` prints, without what all kinds have in common.
    #[test]
    fn reads_what_is_made_of_a_constellation_uri() {
        let section = include_str!("../../../cli/tests/imported/gcp.toml");
        let (_, fields) = section.split_once("kind = ").unwrap();
        let (_, own) = fields.split_once('\n').unwrap();
        let config: Config = toml::from_str(own).unwrap();
        assert!(config.credentials.is_some());
    }
}
