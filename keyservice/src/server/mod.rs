//! The listeners: attested TLS for nodes, mutual TLS for operators, health and metrics on loopback.
//!
//! Each connection passes a rate limit and caps before its TLS handshake ([`limits`]), shakes hands in a task of
//! its own with a deadline (`accept`), and then speaks gRPC over a stream that carries what belongs to
//! the connection (`stream`).

mod accept;
mod admin;
mod guest;
mod health;
mod keks;
pub mod limits;
mod nodes;
mod providers;
mod recover;
mod reload;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use guest::Guest;
pub use providers::{examine, wrap_master};
pub(crate) use providers::{read as public, unwrap_master};
pub use service::{Addresses, Running, Service, StartError};
pub use stream::Operator;
pub use tls::IdentityError;
pub(crate) use tls::{Validity, problems as tls_problems, validity};
