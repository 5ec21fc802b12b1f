//! The Kubernetes KMS plugin, API version 2: `v2.KeyManagementService` over a Unix socket.
//!
//! What the API server sends is encrypted here, with AES-256-GCM under a key of the plugin's own (`seal`). That key is a
//! record in the store whose DEKs the ring wraps (`keys`), so that all replicas use the same one; an epoch of it is a
//! key id. An operator makes and rotates it. `socket` lets the configured users in and nobody else, `plugin` answers.
//!
//! Limits of the API: key id and ciphertext up to 1 kB each; annotations up to 32 kB, of which this plugin makes none.

mod keys;
mod plugin;
mod seal;
mod socket;
#[cfg(test)]
mod tests;

pub use keys::Shown;
pub use socket::{LocalPeer, SocketError};

pub(crate) use plugin::serve;

use uuid::Uuid;

/// Longest key id, ciphertext and plaintext with its tag, in bytes.
const MAX_BYTES: usize = 1024;
/// Most bytes of annotations, names and values together.
const MAX_ANNOTATIONS: usize = 32 << 10;

/// Names one epoch of one key, `dawnkey/1b4e28ba-2fa1-41d2-883f-0016d3cca427/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyId {
    key: Uuid,
    epoch: u32,
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dawnkey/{}/{}", self.key.hyphenated(), self.epoch)
    }
}

impl KeyId {
    /// Reads exactly what `Display` writes.
    fn parse(text: &str) -> Option<Self> {
        let (key, epoch) = text.strip_prefix("dawnkey/")?.split_once('/')?;
        let id = Self {
            key: key.parse().ok()?,
            epoch: epoch.parse().ok()?,
        };
        (id.to_string() == text).then_some(id)
    }
}
