//! Recovery: the messages between a node that no service answers and the operator who opens its volume.
//!
//! The roles are swapped: the node is the server, proves itself first, and takes one volume's DEK in a [`Grant`] that an
//! operator has signed. [`frame`] is how messages travel over the connection, [`text`] how they travel without one.
//! `docs/protocol.md`, "Recovery", gives the same byte by byte.

mod answer;
pub mod frame;
mod grant;
mod key;
#[cfg(feature = "qr")]
pub mod qr;
mod request;
pub mod text;
pub mod tls;

pub use answer::Answer;
pub use grant::{GRANT_BYTES, Grant, GrantError};
pub use key::{GrantKey, KeyError, KeyId, PublicKey};
pub use request::{BootId, ReceivedRecovery, RecoveryRequest, WaitingVolume, bind, text_binder};

/// ALPN protocol of a recovery connection.
pub const ALPN: &[u8] = b"dawnkey-recovery/1";
