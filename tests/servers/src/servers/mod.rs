//! One module per server: how it is had, started, and made to fail.

#[cfg(feature = "kmip")]
pub mod pykmip;
#[cfg(feature = "pkcs11")]
pub mod softhsm;
