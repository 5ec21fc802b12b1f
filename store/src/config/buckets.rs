//! `kind = "s3"`, `"gcs"` and `"azure-blob"`.

use dawnkey_secret::credential::CredentialSource;
use serde::Deserialize;
use std::path::PathBuf;

/// `kind = "s3"`: S3, or a server that speaks its protocol with conditional writes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Its region; else `$AWS_REGION`, or what the SDKs' default is.
    pub region: Option<String>,
    /// Where in the bucket the records are.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Another server than Amazon's, `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// CA certificates of that server, PEM, beside the system's.
    pub ca: Option<PathBuf>,
    /// A file with `access_key_id` and `secret_access_key`; without it the platform's identity.
    pub credentials: Option<CredentialSource>,
    /// Longest time for one call.
    #[serde(default = "deadline")]
    pub deadline_seconds: u32,
}

/// `kind = "gcs"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket.
    pub bucket: String,
    /// Where in the bucket the records are.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Another server than Google's.
    pub endpoint: Option<String>,
    /// CA certificates of that server, PEM, beside the system's.
    pub ca: Option<PathBuf>,
    /// A service account's JSON; without it the platform's identity.
    pub credentials: Option<CredentialSource>,
    /// No identity at all: an emulator on this host.
    #[serde(default)]
    pub anonymous: bool,
    /// Longest time for one call.
    #[serde(default = "deadline")]
    pub deadline_seconds: u32,
}

/// `kind = "azure-blob"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureConfig {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// Where in the container the records are.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Another server than Azure's, with the account in its path where it wants that.
    pub endpoint: Option<String>,
    /// CA certificates of that server, PEM, beside the system's.
    pub ca: Option<PathBuf>,
    /// A file with `account_key`, or `tenant_id`, `client_id` and `client_secret`; without it the platform's identity.
    pub credentials: Option<CredentialSource>,
    /// Longest time for one call.
    #[serde(default = "deadline")]
    pub deadline_seconds: u32,
}

fn prefix() -> String {
    "dawnkey".into()
}

pub(super) const fn deadline() -> u32 {
    10
}

/// What the three have in common.
#[cfg_attr(not(feature = "object"), allow(dead_code))]
pub(crate) struct Bucket {
    pub name: String,
    pub prefix: String,
    pub endpoint: Option<String>,
    pub ca: Option<PathBuf>,
    pub seconds: u32,
}

macro_rules! bucket {
    ($config:ty, $name:ident) => {
        impl $config {
            #[allow(dead_code)] // in builds without this store
            pub(crate) fn bucket(&self) -> Bucket {
                Bucket {
                    name: self.$name.clone(),
                    prefix: self.prefix.clone(),
                    endpoint: self.endpoint.clone(),
                    ca: self.ca.clone(),
                    seconds: self.deadline_seconds,
                }
            }
        }
    };
}
bucket!(S3Config, bucket);
bucket!(GcsConfig, bucket);
bucket!(AzureConfig, container);

#[cfg(feature = "object")]
impl Bucket {
    pub(crate) fn deadline(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.seconds.max(1).into())
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.name, self.prefix)
    }
}
