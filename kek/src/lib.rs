//! Key-encryption keys: one port, [`Provider`], to every KMS that can keep them.
//!
//! A provider wraps and unwraps 32-byte DEKs. What a wrapped DEK is for, volume and epoch, goes to the KMS as
//! associated data ([`Aad`]), so that one wrapped DEK cannot take another's place. A provider says what it can
//! ([`Capabilities`]); whoever uses it decides whether that is enough. This crate knows no volume record, no policy and
//! no store: which provider is active, and what is wrapped by whom, is the key service's business.

mod aad;
mod any;
mod capabilities;
#[cfg(any(feature = "azure", feature = "pkcs11"))]
mod envelope;
mod error;
mod master_slot;
mod master_source;
mod provider;
pub mod recovery;

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod endpoint;

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
#[cfg(feature = "cluster")]
pub mod cluster;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(feature = "gcp")]
pub mod gcp;
#[cfg(feature = "kmip")]
pub mod kmip;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
#[cfg(feature = "tpm")]
pub mod tpm;
mod wrapped_secret;

#[cfg(feature = "rest")]
mod rest;

#[cfg(feature = "barbican")]
pub mod barbican;
#[cfg(feature = "transit")]
pub mod transit;

pub use aad::Aad;
pub use any::ProviderConfig;
pub use capabilities::{Capabilities, Custody};
pub use dawnkey_secret::credential::{CredentialError, CredentialSource};
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Cause, KekError, Operation, Retry};
pub use master_slot::{MasterCheck, MasterSlot};
pub use master_source::{MasterSource, NotASource};
pub use provider::{Deferred, Finding, Kind, Probe, Provider, Wrapped};
pub use wrapped_secret::WrappedSecret;
