//! Test doubles: a software TPM with its own CA, and a writer of event logs.
//!
//! No release build enables the `fake` feature; `cargo xtask tidy` checks that. Everything here panics on failure:
//! a test cannot go on without its fixture.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod log;
mod swtpm;

pub use log::LogBuilder;
pub use swtpm::{EkKind, Swtpm, SwtpmCa};
