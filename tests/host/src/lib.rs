//! Agent against key service on one machine, without a VM: everything is real but device-mapper.
//!
//! [`world`] starts a key service with its store, policy and TLS, makes software TPMs with endorsement certificates, and
//! runs the agent's flow against them. Only the last step is not taken: headers are really written to disk files, but
//! nothing is mapped. `tests/qemu` does that in a machine. [`storm`] is many nodes at once, [`kms`] a KMS that takes its time,
//! [`kbs`] a Key Broker Service of Trustee.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)] // a test tool: what fails shall end the test with its reason

pub mod kbs;
pub mod kms;
pub mod storm;
pub mod world;
