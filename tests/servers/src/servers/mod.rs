//! One module per server: how it is had, started, and made to fail.

#[cfg(feature = "pkcs11")]
pub mod softhsm;
