//! One module per server: how it is had, started, and made to fail.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(any(feature = "azure", feature = "gcp"))]
pub mod contract;
#[cfg(feature = "kmip")]
pub mod pykmip;
#[cfg(feature = "pkcs11")]
pub mod softhsm;
