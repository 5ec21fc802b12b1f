//! One module per server: how it is had, started, and made to fail.

#[cfg(any(feature = "aws", feature = "s3"))]
pub mod aws;
#[cfg(feature = "azure-blob")]
pub mod azurite;
#[cfg(any(feature = "azure", feature = "gcp", feature = "transit"))]
pub mod contract;
#[cfg(feature = "gcs")]
pub mod gcs;
#[cfg(feature = "kmip")]
pub mod kmip_contract;
#[cfg(feature = "transit")]
pub mod openbao;
#[cfg(feature = "barbican")]
pub mod openstack;
#[cfg(any(feature = "kmip", feature = "transit"))]
pub mod pki;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "kmip")]
pub mod pykmip;
#[cfg(feature = "pkcs11")]
pub mod softhsm;

/// A file of mode 0600 with this text.
///
/// # Panics
/// When it cannot be written.
#[cfg(any(feature = "azure-blob", feature = "s3"))]
#[must_use]
pub fn credential(directory: &std::path::Path, text: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("credential");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}
