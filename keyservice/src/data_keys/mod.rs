//! Data keys for CSI drivers and other callers in a cluster: `GetDataKey` on a listener of its own.
//!
//! A caller is known by its client certificate, or by a service account's token that the cluster's API server has reviewed
//! (`review`). Policy says which ids it may have ([`crate::policy::DataKeyRule`]), the desk gives the key, and
//! `server` speaks.

mod cluster_id;
mod desk;
mod review;
mod server;
#[cfg(test)]
pub(crate) mod tests;

pub use cluster_id::ClusterId;
pub use review::{ReviewError, Reviewer};
pub(crate) use server::DataKeys;

/// Longest data key, in bytes.
pub(crate) const MAX_LENGTH: u32 = 1024;
/// Longest id, in bytes.
const MAX_ID: usize = 200;

/// Whether a text has only what ids have.
pub(crate) fn is_id_text(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    text.len() <= MAX_ID && text.bytes().all(allowed)
}

/// Who asks: proven by its connection or by the cluster's API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    names: Vec<String>,
}

impl Caller {
    /// What it may be called in the policy file.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    #[cfg(test)]
    pub(crate) fn for_test(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
        }
    }
}
