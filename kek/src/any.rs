//! The section of any provider, and opening it: the one place that knows every kind.

use crate::{KekError, Kind, MasterSource, Provider};
use dawnkey_secret::MasterSecret;
#[allow(unused_imports)] // without any provider
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "aws")]
use crate::aws;
#[cfg(feature = "azure")]
use crate::azure;
#[cfg(feature = "barbican")]
use crate::barbican;
#[cfg(feature = "cluster")]
use crate::cluster;
#[cfg(feature = "gcp")]
use crate::gcp;
#[cfg(feature = "kmip")]
use crate::kmip;
#[cfg(feature = "pkcs11")]
use crate::pkcs11;
#[cfg(feature = "tpm")]
use crate::tpm;
#[cfg(feature = "transit")]
use crate::transit;

/// The section of one provider, without what all have in common (name, kind, deadline, allowances).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderConfig {
    /// A master secret in the service's memory.
    #[cfg(feature = "cluster")]
    Cluster(cluster::Config),
    /// A KMIP server.
    #[cfg(feature = "kmip")]
    Kmip(kmip::Config),
    /// A PKCS#11 token.
    #[cfg(feature = "pkcs11")]
    Pkcs11(pkcs11::Config),
    /// The TPM of the service's host.
    #[cfg(feature = "tpm")]
    Tpm(tpm::Config),
    /// AWS KMS.
    #[cfg(feature = "aws")]
    Aws(aws::Config),
    /// Azure Key Vault or Managed HSM.
    #[cfg(feature = "azure")]
    Azure(azure::Config),
    /// Google Cloud KMS.
    #[cfg(feature = "gcp")]
    Gcp(gcp::Config),
    /// The transit engine of Vault or OpenBao.
    #[cfg(feature = "transit")]
    Transit(transit::Config),
    /// OpenStack Barbican.
    #[cfg(feature = "barbican")]
    Barbican(barbican::Config),
}

impl ProviderConfig {
    /// Reads the section of a provider of this kind, strictly.
    ///
    /// # Errors
    /// A field that is missing, unknown or cannot have its value; a kind that this build does not have.
    pub fn read<'de, D: Deserializer<'de>>(kind: Kind, from: D) -> Result<Self, D::Error> {
        match kind {
            #[cfg(feature = "cluster")]
            Kind::Cluster => {
                let config = cluster::Config::deserialize(from)?;
                match config.problem() {
                    Some(problem) => Err(D::Error::custom(problem)),
                    None => Ok(Self::Cluster(config)),
                }
            }
            #[cfg(feature = "kmip")]
            Kind::Kmip => kmip::Config::deserialize(from).map(Self::Kmip),
            #[cfg(feature = "pkcs11")]
            Kind::Pkcs11 => pkcs11::Config::deserialize(from).map(Self::Pkcs11),
            #[cfg(feature = "tpm")]
            Kind::Tpm => tpm::Config::deserialize(from).map(Self::Tpm),
            #[cfg(feature = "aws")]
            Kind::AwsKms => aws::Config::deserialize(from).map(Self::Aws),
            #[cfg(feature = "azure")]
            Kind::AzureKeyVault => azure::Config::deserialize(from).map(Self::Azure),
            #[cfg(feature = "gcp")]
            Kind::GcpKms => gcp::Config::deserialize(from).map(Self::Gcp),
            #[cfg(feature = "transit")]
            Kind::Transit => transit::Config::deserialize(from).map(Self::Transit),
            #[cfg(feature = "barbican")]
            Kind::Barbican => barbican::Config::deserialize(from).map(Self::Barbican),
            #[allow(unreachable_patterns)] // with every feature
            unbuilt => {
                drop(from);
                let name = unbuilt.name();
                Err(D::Error::custom(format!("this build has no `{name}`")))
            }
        }
    }

    /// Where the master secret comes from that [`Self::open`] needs, if it needs one.
    #[must_use]
    pub fn master_source(&self) -> Option<&MasterSource> {
        match *self {
            #[cfg(feature = "cluster")]
            Self::Cluster(ref config) => Some(&config.master_secret),
            #[allow(unreachable_patterns)] // with no other provider built in
            _ => None,
        }
    }

    /// The file with the wrapped master secret that [`Self::open`] needs, and the name of the provider that opens it.
    #[must_use]
    pub fn wrapped_master(&self) -> Option<(&Path, &str)> {
        match *self {
            #[cfg(feature = "cluster")]
            Self::Cluster(ref config) => config.wrapped_master(),
            #[allow(unreachable_patterns)] // with no other provider built in
            _ => None,
        }
    }

    /// Opens the provider under the name that records keep. `master` is the secret of [`Kind::Cluster`]; the other
    /// kinds have no use for it.
    ///
    /// # Errors
    /// What the provider says of its configuration, its credentials or the way to its KMS.
    #[cfg_attr(not(feature = "cluster"), allow(unused_variables))]
    #[allow(unreachable_code)] // without any provider
    pub async fn open(
        &self,
        name: &str,
        master: Option<MasterSecret>,
    ) -> Result<Arc<dyn Provider>, KekError> {
        let opened: Arc<dyn Provider> = match *self {
            #[cfg(feature = "cluster")]
            Self::Cluster(ref config) => Arc::new(cluster::open(name, config, master)?),
            #[cfg(feature = "kmip")]
            Self::Kmip(ref config) => Arc::new(kmip::Kmip::open(name, config).await?),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(ref config) => Arc::new(pkcs11::Pkcs11::open(name, config).await?),
            #[cfg(feature = "tpm")]
            Self::Tpm(ref config) => Arc::new(tpm::Tpm::open(name, config).await?),
            #[cfg(feature = "aws")]
            Self::Aws(ref config) => Arc::new(aws::open(name, config).await?),
            #[cfg(feature = "azure")]
            Self::Azure(ref config) => Arc::new(azure::open(name, config).await?),
            #[cfg(feature = "gcp")]
            Self::Gcp(ref config) => Arc::new(gcp::open(name, config).await?),
            #[cfg(feature = "transit")]
            Self::Transit(ref config) => Arc::new(transit::open(name, config).await?),
            #[cfg(feature = "barbican")]
            Self::Barbican(ref config) => Arc::new(barbican::open(name, config).await?),
        };
        Ok(opened)
    }
}
