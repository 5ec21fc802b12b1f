//! Suites against real servers, one module each, behind the cargo feature of their provider or store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "azure-blob")]
mod azurite;
#[cfg(feature = "barbican")]
mod barbican;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "kmip")]
mod kmip;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "replicas")]
mod replicas;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "tpm")]
mod tpm;
#[cfg(feature = "transit")]
mod transit;
