//! What a provider can, stated by itself and proved by its probe.

use serde::Serialize;

/// Where a provider's KEK is when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Custody {
    /// It never leaves the KMS: wrapping and unwrapping happen there.
    Kms,
    /// It comes into the memory of this service ("KEK in our memory").
    ServiceMemory,
}

/// What a provider can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Associated data is authenticated by whatever holds the KEK. Without this, use needs the operator's explicit
    /// `allow_without_aad = true`.
    pub aad: bool,
    /// Where the KEK is when it is used.
    pub custody: Custody,
    /// The KEK can get a new version while old wrapped DEKs still unwrap.
    pub rotation: bool,
    /// The KMS can demand attestation of the service itself before it unwraps.
    pub attested_release: bool,
}
