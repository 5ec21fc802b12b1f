//! The port to whatever holds a key-encryption key.

use crate::{Aad, Capabilities, KekError, MasterSlot};
use dawnkey_secret::{DataKey, Dek};
use serde::Serialize;
use std::future::Future;
use std::pin::Pin;

/// What a port's call returns: a future that may cross threads.
pub type Deferred<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind of provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A master secret in the service's memory.
    Cluster,
    /// AWS KMS.
    AwsKms,
    /// Azure Key Vault or Managed HSM.
    AzureKeyVault,
    /// Google Cloud KMS.
    GcpKms,
    /// A KMIP server of version 1.4 or later.
    Kmip,
    /// The transit engine of Vault or OpenBao.
    Transit,
    /// OpenStack Barbican.
    Barbican,
    /// A PKCS#11 token.
    Pkcs11,
    /// The TPM of the service's host.
    Tpm,
}

impl Kind {
    /// Every kind, built in or not.
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::AwsKms,
        Self::AzureKeyVault,
        Self::GcpKms,
        Self::Kmip,
        Self::Transit,
        Self::Barbican,
        Self::Pkcs11,
        Self::Tpm,
    ];

    /// The kind that the configuration calls so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As the configuration names it, `aws-kms`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::AwsKms => "aws-kms",
            Self::AzureKeyVault => "azure-key-vault",
            Self::GcpKms => "gcp-kms",
            Self::Kmip => "kmip",
            Self::Transit => "transit",
            Self::Barbican => "barbican",
            Self::Pkcs11 => "pkcs11",
            Self::Tpm => "tpm",
        }
    }
}

/// A DEK as its provider wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// What the provider needs to unwrap it again, in the provider's own format; bound to the [`Aad`] it was made for.
    pub blob: Vec<u8>,
    /// Version of the KEK that wrapped it, where the KMS names one: a wrapped DEK of an older version than
    /// [`Provider::current_version`] is to be wrapped again after a rotation.
    pub version: Option<String>,
}

/// One thing that a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, `key cannot be read`.
    pub subject: String,
    /// Whether it is as it must be.
    pub good: bool,
    /// What was seen, and what to change when it is not good.
    pub detail: String,
}

/// What a provider says of its key and of what it may do, from the KMS itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Probe {
    /// What was found; permissions by their exact names.
    pub findings: Vec<Finding>,
}

/// Wraps and unwraps DEKs with a KEK. Every call is safe to repeat, may run beside others, and may be dropped at any
/// await (deadlines are the caller's; a provider that blocks does so on a thread of its own).
pub trait Provider: Send + Sync {
    /// Name in the configuration and in records, `prod`.
    fn name(&self) -> &str;

    /// What it is.
    fn kind(&self) -> Kind;

    /// What it can.
    fn capabilities(&self) -> Capabilities;

    /// The DEK of a purpose, where the KEK determines it: it then needs no blob, and [`Provider::unwrap`] of an empty blob
    /// gives the same. `None` where DEKs are random.
    fn derive(&self, _aad: &Aad) -> Option<Result<Dek, KekError>> {
        None
    }

    /// The key of a name and length, where the KEK determines it: HKDF with `key-` and the name, as Constellation derives
    /// its data keys. `None` where keys are random.
    fn derive_named(&self, _name: &str, _length: usize) -> Option<Result<DataKey, KekError>> {
        None
    }

    /// Where its master secret is, or will be once it is given; `None` where there is no such thing.
    fn master(&self) -> Option<&MasterSlot> {
        None
    }

    /// Wraps a DEK for a purpose, under the newest version of the KEK.
    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>>;

    /// Gives back the DEK of a blob that [`Provider::wrap`] made for the same purpose under the configured KEK; any other
    /// blob is refused. `Cause::NotAuthentic` when KMS or tag says so.
    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>>;

    /// The newest version of the KEK, where the KMS names versions.
    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>>;

    /// Looks at the key at the KMS: its state and kind, what we may do with it, and that it cannot be read. Round
    /// trips are proved by the caller with [`Provider::wrap`] and [`Provider::unwrap`].
    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>>;

    /// The same KMS with a key id that does not exist there, to prove that unwrapping with it fails; `None` where there
    /// is no such notion.
    fn with_wrong_key(&self) -> Option<Box<dyn Provider>>;
}
