//! What can be proved only by booting the built image. Run by `cargo xtask test --only vm`.
//!
//! A boot costs many seconds in emulation, so boots are shared: a [`story::Story`] is a fixed
//! sequence of them, told once, and each test asserts one thing about it.
#![cfg(feature = "vm")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod adopt;
mod azure;
mod boot_chain;
mod crypttab;
mod cuts;
mod debian;
mod devices;
mod faults;
mod guest;
mod initramfs_files;
mod integrity;
mod kernel_reports;
mod kills;
mod kinds;
mod lies;
mod life;
mod measured;
mod no_dhcp;
mod ready;
mod recovery;
mod refusals;
mod replay;
mod running_system;
mod story;
mod tee_unlock;
mod tpm;
mod unlock;
mod wipe_kills;
mod worlds;
