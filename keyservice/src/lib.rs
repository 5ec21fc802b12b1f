//! The key service: request in, verdict out.
//!
//! A node's evidence comes in over attested TLS ([`server`]) and is verified into a proof ([`evidence`]).
//! [`policy`] turns the proof into an [`approval::Approval`] for one volume, the pure core [`release`]
//! decides by generation, lease and owner, and [`kek::KeyRing`] gives the DEK for the approval. [`desk`] has the
//! order of these steps. [`recovery`] judges nodes that wait for an operator. The stores (`dawnkey-store`) and the providers of [`kek`] are the two ports to the outside; [`audit`] keeps one
//! record of every verdict.
//!
//! This crate knows no device and no boot order. `docs/policy.md` and `docs/audit.md` are for its operators.

pub mod approval;
pub mod audit;
pub mod check;
pub mod config;
pub mod data_keys;
pub mod desk;
pub mod evidence;
pub mod kek;
pub mod keys;
pub mod kubernetes;
pub mod master;
pub mod metrics;
pub mod nodes;
pub mod policy;
pub mod records;
pub mod recovery;
pub mod release;
pub mod report;
pub mod server;
pub mod volume;
pub mod watched_store;
