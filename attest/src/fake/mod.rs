//! Test doubles: swtpm with its own CA and with what cloud platforms put into a TPM, a key in the shape of a TPM that
//! signs anything, a writer of event logs.
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
#[cfg(feature = "collect")]
mod platform;
#[cfg(feature = "verify")]
mod soft;
mod swtpm;

pub use log::LogBuilder;
#[cfg(feature = "collect")]
pub use platform::Provisioner;
#[cfg(feature = "verify")]
pub use soft::{AK_ATTRIBUTES, EK_ATTRIBUTES, QuoteParts, SoftTpm};
pub use swtpm::{EkKind, Swtpm, SwtpmCa};
