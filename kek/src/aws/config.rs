//! The section of AWS KMS.

use crate::CredentialSource;
use crate::endpoint::Endpoint;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the KEK is, and with whose credentials it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The symmetric key: `arn:aws:kms:REGION:ACCOUNT:key/ID`. Aliases are refused: whoever may repoint one would choose the
    /// key, and no answer could be checked against it.
    pub key: KeyArn,
    /// Another place than the region's public endpoint: a VPC endpoint, a test server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// PEM file of the only certificate authorities that may vouch for the endpoint; by default the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A profile of the host's shared AWS configuration, in place of the platform's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Static keys: a TOML file with `access_key_id`, `secret_access_key` and, where needed, `session_token`. Without it:
    /// the platform's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
}

/// The ARN of a KMS key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyArn(String);

/// A text that is no ARN of a KMS key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is named by its ARN, `arn:aws:kms:REGION:ACCOUNT:key/ID`, not by an alias or a bare id; \
     `aws kms describe-key --key-id … --query KeyMetadata.Arn` tells it"
)]
pub struct NotAnArn;

impl KeyArn {
    /// The whole.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its region.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }

    /// The ARN of a key that nobody has, beside this one.
    #[must_use]
    pub fn nonexistent(&self) -> Self {
        let (place, _) = self.0.split_once(":key/").unwrap_or_default();
        Self(format!("{place}:key/00000000-0000-4000-8000-000000000000"))
    }
}

impl TryFrom<String> for KeyArn {
    type Error = NotAnArn;

    fn try_from(text: String) -> Result<Self, NotAnArn> {
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "kms", region, account, resource] = parts.as_slice() else {
            return Err(NotAnArn);
        };
        let id = resource.strip_prefix("key/").ok_or(NotAnArn)?;
        let number = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let good = partition.starts_with("aws")
            && number
            && [*partition, region, id].into_iter().all(word);
        if good { Ok(Self(text)) } else { Err(NotAnArn) }
    }
}

impl From<KeyArn> for String {
    fn from(arn: KeyArn) -> Self {
        arn.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn takes_arns_of_every_partition_and_of_multi_region_keys() {
        for (arn, region) in [
            (
                "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
                "eu-central-1",
            ),
            (
                "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1234abcd",
                "us-gov-west-1",
            ),
            (
                "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
                "cn-north-1",
            ),
        ] {
            let arn = KeyArn::try_from(arn.to_owned()).unwrap();
            assert_eq!(arn.region(), region);
            assert!(KeyArn::try_from(arn.nonexistent().0).is_ok());
        }
    }

    #[test]
    fn refuses_aliases_bare_ids_and_keys_of_other_services() {
        for text in [
            "alias/prod",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-central-1:111122223333:alias/prod",
            "arn:aws:s3:eu-central-1:111122223333:key/1234abcd",
            "arn:aws:kms::111122223333:key/1234abcd",
            "arn:aws:kms:eu-central-1:1111:key/1234abcd",
            "arn:aws:kms:eu-central-1:111122223333:key/",
            "arn:aws:kms:eu-central-1:111122223333:key/a/b",
            "",
        ] {
            assert_eq!(KeyArn::try_from(text.to_owned()), Err(NotAnArn), "{text}");
        }
    }

    /// What `dawnkey import-uri` prints, without what all kinds have in common.
    #[test]
    fn reads_what_is_made_of_a_constellation_uri() {
        let section = include_str!("../../../cli/tests/imported/aws.toml");
        let (_, fields) = section.split_once("kind = ").unwrap();
        let (_, own) = fields.split_once('\n').unwrap();
        let config: Config = toml::from_str(own).unwrap();
        assert!(config.credentials.is_some());
    }
}
