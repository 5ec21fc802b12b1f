//! What agent and key service say to each other.
//!
//! The exchange is one [`wire`] call after one full TLS 1.3 handshake ([`tls`]). The request's bytes, the
//! connection's exporter and the service's key are hashed into the [`binding::Binder`] that the node's evidence
//! must carry; the key that comes back is sealed to the node's own key ([`seal`]). [`one_shot`] keeps a gRPC client
//! on the connection it was given. [`lease`] derives the token that renews a lease, [`closing`] knows what a boot is closed
//! with, [`secret`] what a volume without a disk goes by. [`recovery`] is what a node and an operator say to each other where no
//! service answers. [`message`] turns wire
//! messages into types that cannot be half filled, with every length checked.
//!
//! This crate knows no report format, file, socket or clock. `docs/protocol.md` gives the same rules byte by byte.

pub mod binding;
pub mod closing;
pub mod lease;
pub mod message;
pub mod one_shot;
pub mod recovery;
pub mod seal;
pub mod secret;
pub mod tls;
#[cfg(feature = "trustee")]
pub mod trustee;

/// The messages as they travel, generated from `proto/*.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod wire {
    tonic::include_proto!("dawnkey.v1");
}

/// Data keys for callers in a cluster, generated from `proto/data_key.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod data_key {
    tonic::include_proto!("kms");
}

/// The KMS plugin interface of Kubernetes, generated from `proto/kubernetes.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod kubernetes {
    tonic::include_proto!("v2");
}

/// Version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest message, in bytes, that either side reads: a request with its event log and certificates.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
